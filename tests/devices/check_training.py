"""Every part of a method, and what a checkpoint holds, on a device that is not the CPU."""

import itertools

import numpy as np
import pytest
import torch
from conftest import make
from two_devices import DEVICE, IS_REAL, NAME, at_home, on_both

from accord import registry
from accord.config import Choice, MethodConfig
from accord.diffusion.schedules import VariancePreserving
from accord.train.checkpoint import load_checkpoint, save_checkpoint
from accord.train.method import load_method

OPTIONS = {"refreshed": {"every": 1}, "renoise": {"num_steps": 2}, "ddim_inversion": {"num_steps": 2}}
KINDS = {
    "loss": "losses", "noise": "noises", "reference": "references", "weighting": "weightings",
    "timesteps": "timestep_samplings",
}  # fmt: skip
CHOICES = [(kind, name) for kind, names in KINDS.items() for name in registry.names(names)]


def method_of(**choices):
    return load_method(
        MethodConfig(**{k: Choice(name=name, options=OPTIONS.get(name, {})) for k, name in choices.items()})
    )


def numbers(logs):
    return [[log.loss, log.gradient_norm, log.metrics["margin"], log.metrics.get("distance", 0.0)] for log in logs]


@pytest.mark.parametrize(("kind", "name"), CHOICES)
def test_every_choice_trains_alike(kind, name):
    choices = {"loss": "logistic", "noise": "gaussian_shared"} | {kind: name}
    if name == "none":
        choices["loss"] = "mapo"

    def work(device):
        run = make(steps=3, beta=2.0, method=method_of(**choices))
        run.data = type(run.data)(
            run.data.table, run.data.latents, run.data.conditioning, lambda ids: torch.ones(len(ids), 4, 3, 3)
        )
        return numbers(run.logs())

    here, there = on_both(work)
    np.testing.assert_allclose(there, here, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "noise",
    [
        {"name": "ddim_inversion", "num_steps": 2, "noise_level": 0.5, "model": "policy"},
        {"name": "renoise", "num_steps": 2, "model": "policy"},
        {"name": "renoise", "num_steps": 5, "mode": "code"},
    ],
)
def test_a_model_of_the_noise_is_inverted_alike(noise):
    def work(device):
        told = MethodConfig(loss="logistic", noise=noise)
        run = make(steps=3, beta=2.0, method=load_method(told))
        run.model.prediction, run.model.schedule = "epsilon", VariancePreserving(torch.linspace(0.99, 0.01, 1000))
        return numbers(run.logs())

    here, there = on_both(work)
    np.testing.assert_allclose(there, here, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("mode", "reference"), [("lora", "refreshed"), ("full", "frozen"), ("full", "ema")])
def test_a_run_goes_on_where_it_stopped(mode, reference, tmp_path):
    def work(device):
        run = make(mode, steps=4, gradient_accumulation=2, method=method_of(loss="logistic", reference=reference))
        state = run.begin()
        logs = list(itertools.islice(run.train(state), 2))
        save_checkpoint(tmp_path / device, state, {})
        again = make(mode, steps=4, gradient_accumulation=2, method=run.method)
        state = again.begin()
        load_checkpoint(tmp_path / device, state, {})
        assert {parameter.device.type for parameter in state.parameters.values()} == {device}
        return numbers([*logs, *again.train(state)])

    here, there = on_both(work)
    assert len(here) == 4
    np.testing.assert_allclose(there, here, rtol=1e-4, atol=1e-6)


def test_what_is_compared_lies_on_the_other_device():
    def work(device):
        run = make(steps=1)
        batches = []
        predict = run.model.predict
        run.model.predict = lambda denoiser, latents, *rest: (
            batches.append(latents.device) or predict(denoiser, latents, *rest)
        )
        run.logs()
        return set(batches)

    assert on_both(work) == ({torch.device("cpu")}, {DEVICE})


@pytest.mark.skipif(IS_REAL, reason="a GPU does not count")
@pytest.mark.parametrize(
    ("noise", "reference"),
    [*((noise, "frozen") for noise in registry.names("noises")), ("renoise", "refreshed"), ("renoise", "ema")],
)
def test_a_step_waits_for_the_device_once(noise, reference):
    """Each wait leaves a GPU without work; one is needed for the numbers of the log."""
    from other_device import WAITED

    with at_home(NAME):
        run = make(steps=4, method=method_of(loss="logistic", noise=noise, reference=reference))
        run.data = type(run.data)(
            run.data.table, run.data.latents, run.data.conditioning, lambda ids: torch.ones(len(ids), 4, 3, 3)
        )
        steps = run.train(run.begin())
        next(steps)  # which also asks whether policy and reference agree
        WAITED.clear()
        next(steps)
    assert len(WAITED) == 1, WAITED
