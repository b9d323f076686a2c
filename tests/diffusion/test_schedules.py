import math

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler, FlowMatchEulerDiscreteScheduler
from hypothesis import given
from hypothesis import strategies as st

from accord.diffusion.schedules import RectifiedFlow, VariancePreserving
from accord.diffusion.weighting import sigmoid
from accord.errors import ModelError


def stable_diffusion() -> tuple[DDPMScheduler, VariancePreserving]:
    theirs = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", num_train_timesteps=1000)
    return theirs, VariancePreserving(theirs.alphas_cumprod)


def test_variance_preserving_equals_ddpm_at_every_timestep():
    theirs, ours = stable_diffusion()
    t = torch.arange(1000)
    torch.testing.assert_close(ours.alpha(t.float()), theirs.alphas_cumprod**0.5, rtol=0, atol=0)
    torch.testing.assert_close(ours.sigma(t.float()), (1 - theirs.alphas_cumprod) ** 0.5, rtol=0, atol=0)


def test_variance_preserving_preserves_variance():
    _, schedule = stable_diffusion()
    t = torch.arange(1000.0)
    torch.testing.assert_close(schedule.alpha(t) ** 2 + schedule.sigma(t) ** 2, torch.ones(1000))


def test_variance_preserving_draws_every_timestep_equally_often():
    _, schedule = stable_diffusion()
    t = schedule.timestep((torch.arange(5000, dtype=torch.float64) + 0.5) / 5000)
    assert t.dtype == torch.float32
    assert torch.equal(torch.bincount(t.long()), torch.full((1000,), 5))


@given(st.floats(0, 1, exclude_min=True, exclude_max=True), st.integers(1, 5000))
def test_variance_preserving_stays_on_its_table(fraction, length):
    t = VariancePreserving(torch.linspace(0.99, 0.01, length)).timestep(torch.tensor([fraction], dtype=torch.float64))
    assert 0 <= t.item() <= length - 1
    assert t.item() == math.floor(t.item())


@pytest.mark.parametrize("t", [0.5, -1.0, 1000.0])
def test_variance_preserving_refuses_timesteps_it_has_not(t):
    with pytest.raises(ModelError, match="whole timesteps 0 to 999"):
        stable_diffusion()[1].alpha(torch.tensor([t]))


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_rectified_flow_equals_flow_match_sigmas(shift):
    theirs = FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=shift)
    fractions = torch.arange(1000, 0, -1, dtype=torch.float64) / 1000
    ours = RectifiedFlow(shift)
    t = ours.timestep(fractions[1:])  # fraction 1 itself is pure noise, and never drawn
    # diffusers rounds to float32 after each of several operations, we once: up to 3 units in the last place
    torch.testing.assert_close(t, theirs.timesteps[1:], rtol=4e-7, atol=0)
    torch.testing.assert_close(ours.sigma(t), theirs.sigmas[1:1000], rtol=4e-7, atol=0)
    torch.testing.assert_close(ours.sigma(theirs.timesteps), theirs.sigmas[:1000], rtol=4e-7, atol=0)


def test_rectified_flow_is_straight():
    schedule, t = RectifiedFlow(shift=3.0), torch.tensor([0.0, 250.0, 1000.0])
    assert schedule.alpha(t).tolist() == [1.0, 0.75, 0.0]
    assert schedule.sigma(t).tolist() == [0.0, 0.25, 1.0]


@given(st.floats(0.1, 20), st.floats(1e-6, 1 - 1e-6), st.floats(1e-6, 1 - 1e-6))
def test_rectified_flow_keeps_the_order_of_fractions(shift, one, other):
    low, high = sorted((one, other))
    t = RectifiedFlow(shift).timestep(torch.tensor([low, high], dtype=torch.float64))
    assert 0 <= t[0] <= t[1] <= 1000


@pytest.mark.parametrize("t", [-0.5, 1000.5, float("nan")])
def test_rectified_flow_refuses_timesteps_beyond_its_ends(t):
    with pytest.raises(ModelError, match="between 0 and 1000"):
        RectifiedFlow().sigma(torch.tensor([t]))


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, float("nan")])
@pytest.mark.parametrize("schedule", [RectifiedFlow(), VariancePreserving(torch.tensor([0.9, 0.1]))])
def test_fractions_lie_strictly_inside(schedule, fraction):
    with pytest.raises(ModelError, match="strictly between 0 and 1"):
        schedule.timestep(torch.tensor([fraction]))


@pytest.mark.parametrize("schedule", [RectifiedFlow(), stable_diffusion()[1]])
def test_log_snr_is_the_log_of_the_ratio_of_squares(schedule):
    t = torch.arange(1.0, 999.0)
    ratio = (schedule.alpha(t).double() / schedule.sigma(t).double()) ** 2
    torch.testing.assert_close(schedule.log_snr(t), ratio.log().float(), rtol=1e-4, atol=1e-6)
    assert (schedule.log_snr(t).diff() < 0).all()


def test_log_snr_of_sdxl_equals_the_published_figures():
    _, schedule = stable_diffusion()
    log_snr = schedule.log_snr(torch.arange(1000.0))
    assert round(log_snr[0].item(), 2) == 7.07
    assert round(log_snr[-1].item(), 2) == -5.36
    assert int((log_snr - 1.5).abs().argmin()) == 157
    assert int(log_snr.abs().argmin()) == 354


def test_sigmoid_weight_of_sdxl_equals_the_published_figures():
    _, schedule = stable_diffusion()
    weight = sigmoid(schedule.log_snr(torch.tensor([0.0, 50, 100, 200, 300, 500, 700])))
    np.testing.assert_allclose(weight, [0.004, 0.19, 0.35, 0.59, 0.76, 0.92, 0.98], atol=0.005)
    assert (sigmoid(schedule.log_snr(torch.arange(157.0))) < 0.5).all()  # at least halved on the least noisy 15 %


def test_sigmoid_weight_without_bias_is_sigma_squared():
    _, schedule = stable_diffusion()
    t = torch.arange(1000.0)
    torch.testing.assert_close(sigmoid(schedule.log_snr(t), bias=0.0), schedule.sigma(t) ** 2, rtol=1e-4, atol=1e-7)


def test_sigmoid_weight_of_a_flow_equals_the_published_figures():
    t = torch.tensor([0.1, 0.2, 0.32, 0.5, 0.7, 0.9])
    schedule = RectifiedFlow()
    weight = sigmoid(schedule.log_snr(1000 * t))
    np.testing.assert_allclose(weight, t**2 / (t**2 + math.exp(-1.5) * (1 - t) ** 2), rtol=1e-5)
    epsilon_weight = schedule.alpha(1000 * t) ** 2 * weight
    np.testing.assert_allclose(epsilon_weight, [0.042, 0.140, 0.230, 0.204, 0.086, 0.010], atol=6e-4)
