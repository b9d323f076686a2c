"""Every loss on every noise against every reference: a method is a choice in each place, and any combination trains."""

import itertools
import math

import pytest
import torch

from accord import registry
from accord.config import METHOD_KINDS, Choice, MethodConfig
from accord.train.method import load_method

LOSSES, NOISES, REFERENCES = (list(registry.names(kind)) for kind in ("losses", "noises", "references"))
OPTIONS = {"refreshed": {"every": 1}, "renoise": {"num_steps": 2}, "ddim_inversion": {"num_steps": 2}}
OTHERS = itertools.cycle(itertools.product(registry.names("weightings"), registry.names("timestep_samplings")))


def choice(name):
    return Choice(name=name, options=OPTIONS.get(name, {}))


def allowed(loss, reference):
    """Say whether the combination is one: only some losses do without a reference."""
    return reference != "none" or not getattr(registry.load("losses", loss), "needs_reference", True)


COMBINATIONS = [
    (loss, noise, reference)
    for loss, noise, reference in itertools.product(LOSSES, NOISES, REFERENCES)
    if allowed(loss, reference)
]


@pytest.mark.parametrize(("loss", "noise", "reference"), COMBINATIONS)
def test_a_combination_trains(make_run, loss, noise, reference):
    weighting, timesteps = next(OTHERS)
    chosen = MethodConfig(
        loss=choice(loss), noise=choice(noise), reference=choice(reference), weighting=weighting, timesteps=timesteps
    )
    run = make_run(steps=2, beta=2.0, method=load_method(chosen))
    run.data = type(run.data)(
        run.data.table, run.data.latents, run.data.conditioning, lambda ids: torch.ones(len(ids), 4, 3, 3)
    )
    state = run.begin()
    before = {name: parameter.detach().clone() for name, parameter in state.parameters.items()}
    logs = list(run.train(state))
    assert logs[0].metrics["margin"] == 0
    assert all(math.isfinite(log.loss) and math.isfinite(log.gradient_norm) for log in logs)
    assert any(not torch.equal(before[name], parameter) for name, parameter in state.parameters.items())


def test_the_kinds_of_a_method_are_all_here():
    assert set(METHOD_KINDS) == {
        "calibration", "pairs", "target", "loss", "noise", "reference", "weighting", "timesteps"
    }  # fmt: skip
