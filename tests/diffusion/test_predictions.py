import pytest
import torch
from diffusers import DDPMScheduler, FlowMatchEulerDiscreteScheduler

from accord.diffusion.noising import add_noise
from accord.diffusion.predictions import (
    denoising_error,
    error_factor,
    to_clean,
    to_noise,
    to_velocity,
    training_target,
)
from accord.diffusion.schedules import RectifiedFlow, VariancePreserving
from accord.errors import ModelError

DDPM = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
SCHEDULES = {
    "epsilon": VariancePreserving(DDPM.alphas_cumprod),
    "v_prediction": VariancePreserving(DDPM.alphas_cumprod),
}
SCHEDULES["flow"] = RectifiedFlow()
KINDS = list(SCHEDULES)
TIMESTEPS = torch.tensor([20.0, 300.0, 600.0, 950.0])


def latents(seed: int) -> torch.Tensor:
    return torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


def levels(kind: str) -> tuple[torch.Tensor, torch.Tensor]:
    return SCHEDULES[kind].alpha(TIMESTEPS), SCHEDULES[kind].sigma(TIMESTEPS)


def test_add_noise_equals_diffusers():
    clean, noise = latents(0), latents(1)
    ours = add_noise(clean, noise, *levels("epsilon"))
    torch.testing.assert_close(ours, DDPM.add_noise(clean, noise, TIMESTEPS.long()), rtol=0, atol=0)

    flow = FlowMatchEulerDiscreteScheduler()
    theirs = flow.scale_noise(clean, TIMESTEPS, noise)
    torch.testing.assert_close(add_noise(clean, noise, *levels("flow")), theirs, rtol=1e-5, atol=1e-6)


def test_velocity_target_equals_diffusers():
    clean, noise = latents(0), latents(1)
    ours = training_target("v_prediction", clean, noise, *levels("v_prediction"))
    torch.testing.assert_close(ours, DDPM.get_velocity(clean, noise, TIMESTEPS.long()), rtol=0, atol=0)


def test_flow_target_is_the_derivative_of_the_path():
    clean, noise = latents(0).double(), latents(1).double()
    step = 1e-3
    at = [add_noise(clean, noise, torch.tensor([1 - t] * 4), torch.tensor([t] * 4)) for t in (0.5, 0.5 + step)]
    one = torch.ones(4)
    torch.testing.assert_close(
        (at[1] - at[0]) / step, training_target("flow", clean, noise, one, one), rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_perfect_prediction_gives_back_noise_and_clean_latents(kind):
    clean, noise, (alpha, sigma) = latents(0), latents(1), levels(kind)
    noisy = add_noise(clean, noise, alpha, sigma)
    output = training_target(kind, clean, noise, alpha, sigma)
    torch.testing.assert_close(to_noise(kind, output, noisy, alpha, sigma), noise, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(to_clean(kind, output, noisy, alpha, sigma), clean, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(to_velocity(kind, output, noisy, alpha, sigma), noise - clean, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_conversions_round_trip_for_an_imperfect_prediction(kind):
    noisy, output = latents(2), latents(3)
    alpha, sigma = levels(kind)
    noise, clean = (to(kind, output, noisy, alpha, sigma) for to in (to_noise, to_clean))
    torch.testing.assert_close(add_noise(clean, noise, alpha, sigma), noisy, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(training_target(kind, clean, noise, alpha, sigma), output, rtol=1e-4, atol=1e-4)
    for other in KINDS:  # any kind may stand on any schedule
        translated = training_target(other, clean, noise, alpha, sigma)
        torch.testing.assert_close(to_noise(other, translated, noisy, alpha, sigma), noise, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("schedule", KINDS)
def test_error_factor_equals_the_error_of_the_converted_prediction(kind, schedule):
    clean, noise, output = latents(0).double(), latents(1).double(), latents(3).double()
    alpha, sigma = (level.double() for level in levels(schedule))
    noisy = add_noise(clean, noise, alpha, sigma)
    converted = (to_noise(kind, output, noisy, alpha, sigma) - noise).square().mean((1, 2, 3))
    native = (output - training_target(kind, clean, noise, alpha, sigma)).square().mean((1, 2, 3))
    torch.testing.assert_close(error_factor(kind, alpha, sigma) * native, converted, rtol=1e-10, atol=0)


def test_error_factor_is_one_alpha_squared_and_one_minus_t_squared():
    alpha, sigma = levels("v_prediction")
    assert error_factor("epsilon", alpha, sigma).tolist() == [1.0] * 4
    torch.testing.assert_close(error_factor("v_prediction", alpha, sigma), alpha**2)
    alpha, sigma = levels("flow")
    torch.testing.assert_close(error_factor("flow", alpha, sigma), (1 - TIMESTEPS / 1000) ** 2)


def test_denoising_error_is_a_mean_per_image_in_float32():
    output = torch.tensor([[[[1.0, 2.0]]], [[[3.0, 4.0]]]], dtype=torch.float16)
    error = denoising_error(output, torch.zeros(2, 1, 1, 2), torch.tensor([1.0, 0.5]))
    assert error.dtype == torch.float32
    assert error.tolist() == [2.5, 6.25]


def test_denoising_error_does_not_overflow_in_half_precision():
    output = torch.full((1, 1, 2, 2), 1000.0, dtype=torch.float16)  # 1000^2 is infinite in float16
    assert denoising_error(output, torch.zeros_like(output), torch.ones(1)).item() == 1e6


def test_denoising_error_of_a_row_does_not_depend_on_the_others():
    output, target, factor = latents(0), latents(1), torch.tensor([1.0, 2.0, 3.0, 4.0])
    together = denoising_error(output, target, factor)
    alone = torch.cat([denoising_error(output[i : i + 1], target[i : i + 1], factor[i : i + 1]) for i in range(4)])
    assert torch.equal(together, alone)


def test_denoising_error_refuses_unequal_shapes_that_would_broadcast():
    with pytest.raises(ModelError, match="same shape"):
        denoising_error(torch.zeros(2, 1, 1, 2), torch.zeros(1, 1, 1, 2), torch.ones(2))


def test_an_unknown_prediction_is_named():
    x, level = torch.zeros(1, 1, 1, 1), torch.ones(1)
    with pytest.raises(ModelError, match="did you mean 'epsilon'"):
        error_factor("epsilo", level, level)
    for call in (to_noise, to_clean, to_velocity, training_target):
        with pytest.raises(ModelError, match="'v_pred'"):
            call("v_pred", x, x, level, level)
