"""Weights of float16: gradients that would round to 0 or overflow do neither, and no step is skipped."""

import math

import pytest
import torch
from test_every_family import trained
from test_training_checkpoint import IDENTITY, assert_same, everything, numbers

from accord.errors import TrainingError
from accord.train.checkpoint import load_checkpoint, save_checkpoint
from accord.train.loss_scale import GROW_AFTER, LossScale


def half(make_run, mode="lora", **settings):
    """Return the small problem with weights of float16."""
    run = make_run(mode, **settings)
    run.model.denoiser.half()
    predict = run.model.predict
    run.model.predict = lambda denoiser, latents, timesteps, text: predict(
        denoiser, latents.half(), timesteps.half(), {name: tensor.half() for name, tensor in text.items()}
    )
    return run


def test_gradients_that_float16_cannot_hold_are_those_of_float32(make_run):
    """This beta gives activations gradients near 1e-9, below float16's smallest number."""
    exact, run, bare = (made(make_run, steps=1, beta=1e-7) for made in (lambda make, **s: make(**s), half, half))
    [expected], [log] = exact.logs(), run.logs()
    assert log.gradient_norm == pytest.approx(expected.gradient_norm, rel=0.02)
    assert log.loss == pytest.approx(expected.loss, rel=0.01)
    assert log.metrics["margin"] == 0
    state = bare.begin()
    state.loss_scale = LossScale(is_needed=True, value=1.0)
    assert next(bare.train(state)).gradient_norm < 0.9 * expected.gradient_norm  # without the scale they are lost


def test_a_step_that_overflows_is_made_again_not_skipped(make_run):
    run, plain = (half(make_run, steps=3) for _ in range(2))
    state, other = run.begin(), plain.begin()
    state.loss_scale.value = 2.0**40
    other.loss_scale.value = 2.0**4
    for log, expected in zip(run.train(state), plain.train(other), strict=True):
        assert log.loss == pytest.approx(expected.loss, rel=1e-3)
        assert log.gradient_norm == pytest.approx(expected.gradient_norm, rel=0.02)
    assert 1 < state.loss_scale.value < 2.0**40
    assert state.loss_scale.good_steps == 3
    assert len(run.model.calls) > len(plain.model.calls)


def test_the_scale_halves_doubles_and_knows_when_it_is_not_the_reason():
    scale = LossScale(is_needed=True, value=4.0, good_steps=7)
    assert not scale.was_too_large(0.5, 1.0)
    assert not scale.was_too_large(math.nan, math.nan)  # a loss that is not finite has another reason
    assert scale.was_too_large(0.5, math.inf)
    assert (scale.value, scale.good_steps) == (2.0, 0)
    assert scale.was_too_large(0.5, math.nan)
    assert not scale.was_too_large(0.5, math.nan)  # at 1 there is nothing left to halve
    for _ in range(GROW_AFTER):
        scale.after_step()
    assert (scale.value, scale.good_steps) == (2.0, 0)
    for weights in (torch.nn.Linear(1, 1), torch.nn.Linear(1, 1).bfloat16()):
        other = LossScale.of(weights)
        for _ in range(GROW_AFTER):
            other.after_step()
        assert other.value == 1


def test_a_run_continues_with_the_scale_it_had(make_run, tmp_path):
    def begun():
        run = half(make_run, steps=6)
        return run, run.begin()

    run, state = begun()
    state.loss_scale.value = 2.0**40
    logs = []
    for log in run.train(state):
        logs.append(numbers(log))
        if log.step == 3:
            save_checkpoint(tmp_path, state, IDENTITY)
    again, resumed = begun()
    load_checkpoint(tmp_path, resumed, IDENTITY)
    assert [numbers(log) for log in again.train(resumed)] == logs[3:]
    assert resumed.loss_scale == state.loss_scale
    assert_same(everything(resumed), everything(state))


@pytest.mark.parametrize("name", ["sd15", "sd3"])
def test_real_denoisers_train_in_float16(tmp_path, name):
    _, state, (first, second) = trained(name, tmp_path / "base", "lora", "float16")
    assert first.metrics["margin"] == 0
    assert second.metrics["margin"] != 0
    assert all(parameter.dtype is torch.float32 for parameter in state.parameters.values())
    assert state.loss_scale.value == 2.0**16


def test_training_all_weights_in_float16_is_refused(make_run):
    with pytest.raises(TrainingError, match=r"'float16' is for adapter.mode = 'lora'.*take 'bfloat16'"):
        half(make_run, "full").begin()
