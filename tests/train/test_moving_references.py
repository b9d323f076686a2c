"""References that move, and how far the policy gets from its beginning."""

import itertools
from dataclasses import replace
from functools import partial

import peft
import pytest
import torch

from accord.errors import TrainingError
from accord.losses.logistic import logistic
from accord.losses.mapo import mapo
from accord.train.adapters import adapter_state, trainable, wrap
from accord.train.checkpoint import load_checkpoint, save_checkpoint
from accord.train.distance import Distance
from accord.train.ema_reference import EmaReference
from accord.train.no_reference import NoReference
from accord.train.refreshed import Refreshed
from accord.train.settings import AdapterSettings

MODES = pytest.mark.parametrize("mode", ["lora", "full"])


def weights(state):
    return {name: parameter.detach().clone() for name, parameter in state.parameters.items()}


def run_with(make_run, method, reference, mode, **options):
    return make_run(mode, method=replace(method, reference=reference), **options)


@MODES
def test_a_refresh_that_never_comes_is_the_frozen_run_bit_for_bit(make_run, method, mode):
    results = []
    for reference in (method.reference, partial(Refreshed, every=1000)):
        run = run_with(make_run, method, reference, mode, steps=6)
        state = run.begin()
        logs = [(log.loss, dict(log.metrics)) for log in run.train(state)]
        results.append((logs, weights(state)))
    assert results[0][0] == results[1][0]
    assert all(torch.equal(results[0][1][name], tensor) for name, tensor in results[1][1].items())


@MODES
def test_straight_after_a_refresh_every_margin_is_0(make_run, method, mode):
    run = run_with(make_run, replace(method, loss=logistic), partial(Refreshed, every=3), mode, steps=7)
    logs = run.logs()
    for log in logs:
        is_fresh = log.step in (1, 4, 7)
        assert (log.metrics["margin"] == 0) is is_fresh
        if is_fresh:
            assert log.loss == pytest.approx(0.6931472, abs=1e-6)


@MODES
@pytest.mark.parametrize("reference", [partial(Refreshed, every=2), partial(EmaReference, decay=0.5)])
@pytest.mark.parametrize("stop", [1, 2, 3])
def test_a_run_with_a_moving_reference_resumes_bit_for_bit(make_run, method, tmp_path, mode, reference, stop):
    whole = run_with(make_run, method, reference, mode, steps=5)
    expected = [log.loss for log in whole.logs()]
    first = run_with(make_run, method, reference, mode, steps=5)
    state = first.begin()
    losses = [log.loss for log in itertools.islice(first.train(state), stop)]
    save_checkpoint(tmp_path, state, {})
    second = run_with(make_run, method, reference, mode, steps=5)
    state = second.begin()
    load_checkpoint(tmp_path, state, {})
    assert losses + [log.loss for log in second.train(state)] == expected


@MODES
def test_an_average_lies_between_beginning_and_policy(make_run, method, mode):
    """Decay 1 never moves, decay 0 is a refresh after every step."""
    by_decay = {}
    for decay in (0.0, 0.5, 1.0):
        run = run_with(make_run, method, partial(EmaReference, decay=decay), mode, steps=6)
        by_decay[decay] = [log.metrics["margin"] for log in run.logs()]
    frozen = [log.metrics["margin"] for log in run_with(make_run, method, method.reference, mode, steps=6).logs()]
    assert by_decay[1.0] == pytest.approx(frozen, abs=1e-5)
    assert by_decay[0.0] == [0.0] * 6
    assert by_decay[0.5] != pytest.approx(frozen, abs=1e-5)


def test_the_reference_is_no_part_of_what_is_trained_or_exported(make_run, method):
    names = []
    for reference in (method.reference, partial(Refreshed, every=1), EmaReference):
        run = run_with(make_run, method, reference, "lora", steps=2)
        state = run.begin()
        list(run.train(state))
        names.append((list(trainable(state.policy)), sorted(adapter_state(state.policy))))
    assert names[0] == names[1] == names[2]


@pytest.mark.parametrize(("make", "options"), [(Refreshed, {"every": 0}), (EmaReference, {"decay": 1.5})])
def test_options_that_mean_nothing_are_refused(make_run, make, options):
    with pytest.raises(TrainingError):
        make(make_run().model.denoiser, **options)


def test_without_a_reference_the_denoiser_is_called_once_per_step(make_run, method):
    run = make_run(steps=3, method=replace(method, loss=mapo, reference=NoReference))
    logs = run.logs()
    assert len(run.model.calls) == 3
    assert [log.metrics["margin"] for log in logs] == [0, 0, 0]
    assert logs[0].loss != logs[-1].loss


@MODES
def test_the_distance_is_that_of_the_merged_weights(make_run, mode):
    run = make_run()
    denoiser = run.model.denoiser
    start = {name: p.detach().clone() for name, p in denoiser.named_parameters()}
    policy = wrap(denoiser, AdapterSettings(mode, 2, 3.0), run.model.lora_targets, seed=0)
    distance = Distance(policy)
    assert distance.value() == 0
    for parameter in trainable(policy).values():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    found = distance.value()
    merged = dict((policy.merge_and_unload() if isinstance(policy, peft.PeftModel) else policy).named_parameters())
    names = [n for n in start if mode == "full" or n.endswith("weight")]
    moved = sum((merged[n] - start[n]).double().square().sum() for n in names).sqrt().detach()
    norm = sum(start[n].double().square().sum() for n in names).sqrt()
    assert found == pytest.approx((moved / norm).item(), rel=1e-4)
