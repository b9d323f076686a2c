"""Our schedule and prediction type mean what the pipeline's own scheduler means."""

import copy
import math

import diffusers
import pytest
import torch
from diffusers.pipelines.flux.pipeline_flux import calculate_shift

from accord.diffusion.noising import add_noise
from accord.diffusion.predictions import training_target
from accord.diffusion.schedules import RectifiedFlow, VariancePreserving
from accord.errors import ModelError
from accord.models.noise_schedule import read_schedule

EXPECTED = {
    "world": ("flow", RectifiedFlow),
    "sd15": ("epsilon", VariancePreserving),
    "sd21": ("v_prediction", VariancePreserving),
    "sdxl": ("epsilon", VariancePreserving),
    "sd3": ("flow", RectifiedFlow),
    "flux": ("flow", RectifiedFlow),
    "sana": ("flow", RectifiedFlow),
}


@pytest.fixture(params=EXPECTED)
def family(request) -> str:
    return request.param


def test_prediction_and_schedule_come_from_the_scheduler(family, shared):
    model = shared(family)
    prediction, schedule = EXPECTED[family]
    assert model.prediction == prediction
    assert isinstance(model.schedule, schedule)


@pytest.mark.parametrize(("name", "shift"), [("world", 3.0), ("sd3", 3.0), ("sana", 3.0), ("flux", math.exp(1.15))])
def test_shift_is_the_schedulers(name, shift, shared):
    assert shared(name).schedule.shift == pytest.approx(shift)


@pytest.mark.parametrize("name", ["sd15", "sd21", "sdxl"])
def test_noising_equals_the_schedulers(name, shared):
    model = shared(name)
    clean, noise = torch.randn(2, 3, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    timesteps = torch.tensor([1, 400, 999])
    alpha, sigma = model.schedule.alpha(timesteps.float()), model.schedule.sigma(timesteps.float())
    scheduler = diffusers.DDPMScheduler.from_config(model.opened.pipe.scheduler.config)  # Euler noises x / alpha
    torch.testing.assert_close(add_noise(clean, noise, alpha, sigma), scheduler.add_noise(clean, noise, timesteps))
    if name == "sd21":
        target = training_target("v_prediction", clean, noise, alpha, sigma)
        torch.testing.assert_close(target, scheduler.get_velocity(clean, noise, timesteps))


FRACTIONS = torch.tensor([0.95, 0.6, 0.3, 0.05], dtype=torch.float64)


def test_the_shift_of_flux_grows_with_the_size_as_in_its_pipeline(shared):
    schedule = shared("flux").schedule
    for height, width in ((128, 128), (64, 64), (104, 152), (16, 32)):
        mu = calculate_shift((height // 2) * (width // 2))
        assert schedule.at_size(height, width).shift == pytest.approx(math.exp(mu))
    assert shared("sd3").schedule.at_size(16, 32) == shared("sd3").schedule


@pytest.mark.parametrize(("name", "options"), [("sd3", {}), ("flux", {"mu": 1.15})])
def test_timesteps_and_noising_equal_the_flow_schedulers(name, options, shared):
    """The same shift in training as in sampling; FLUX's is that of its largest size unless a size is told."""
    model = shared(name)
    scheduler = copy.deepcopy(model.opened.pipe.scheduler)
    scheduler.set_timesteps(sigmas=FRACTIONS.numpy(), **options)
    timesteps = model.schedule.timestep(FRACTIONS)
    torch.testing.assert_close(timesteps, scheduler.timesteps)
    clean, noise = torch.randn(2, 4, 16, 8, 8, generator=torch.Generator().manual_seed(0))
    alpha, sigma = model.schedule.alpha(timesteps), model.schedule.sigma(timesteps)
    expected = scheduler.scale_noise(clean, scheduler.timesteps, noise)
    torch.testing.assert_close(add_noise(clean, noise, alpha, sigma), expected)


@pytest.mark.parametrize("name", ["world", "sana"])
def test_timesteps_and_noising_equal_those_of_a_flow_in_dpm_solver(name, shared):
    """Its sigmas are the shifted fractions 1, 1 - 1/N, ... of a rectified flow, its noising that of one."""
    model = shared(name)
    scheduler = copy.deepcopy(model.opened.pipe.scheduler)
    scheduler.set_timesteps(5)
    fractions = torch.linspace(0.999, 0, 6, dtype=torch.float64)[:-1]  # it begins at 999 of 1000
    sigma = scheduler.sigmas[:-1]
    torch.testing.assert_close(model.schedule.sigma(model.schedule.timestep(fractions)), sigma, rtol=1e-4, atol=1e-4)
    clean, noise = torch.randn(2, 5, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    expected = scheduler.add_noise(clean, noise, scheduler.timesteps)
    torch.testing.assert_close(add_noise(clean, noise, 1 - sigma, sigma), expected)


def test_the_sampler_of_a_perfect_denoiser_arrives_at_the_clean_latents(family, shared):
    """A denoiser that answers the training target leads the pipeline's own sampler from the noise to the image.

    DDIM and PNDM of Stable Diffusion stop at the first timestep instead of 0, hence the tolerance.
    """
    model = shared(family)
    scheduler = copy.deepcopy(model.opened.pipe.scheduler)
    scheduler.set_timesteps(6, **({"mu": 0.8} if family == "flux" else {}))
    clean, noise = torch.randn(2, 2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    start = scheduler.timesteps[:1].float().expand(2)
    alpha, sigma = model.schedule.alpha(start), model.schedule.sigma(start)
    sample = add_noise(clean, noise, alpha, sigma)
    if family == "sdxl":  # Euler works on x / alpha
        sample = sample / alpha.view(-1, 1, 1, 1)
    for timestep in scheduler.timesteps:
        now = timestep.float().round(decimals=3).expand(2)
        target = training_target(model.prediction, clean, noise, model.schedule.alpha(now), model.schedule.sigma(now))
        sample = scheduler.step(target, timestep, sample, return_dict=False)[0]
    assert (sample - clean).abs().mean() < 0.04


def test_zero_terminal_snr_is_kept():
    scheduler = diffusers.DDIMScheduler(rescale_betas_zero_snr=True, prediction_type="v_prediction")
    _, schedule = read_schedule(scheduler)
    assert schedule.alpha(torch.tensor([999.0])).item() == pytest.approx(0.0, abs=1e-6)


def test_a_prediction_that_cannot_be_trained_is_refused():
    with pytest.raises(ModelError, match="DDIMScheduler says 'sample'"):
        read_schedule(diffusers.DDIMScheduler(prediction_type="sample"))


def test_a_scheduler_without_betas_is_refused():
    with pytest.raises(ModelError, match="EDMEulerScheduler"):
        read_schedule(diffusers.EDMEulerScheduler())


def test_a_flow_with_other_timesteps_is_refused():
    with pytest.raises(ModelError, match="run to 500"):
        read_schedule(diffusers.FlowMatchEulerDiscreteScheduler(num_train_timesteps=500))


def test_a_linear_dynamic_shift():
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(
        use_dynamic_shifting=True, time_shift_type="linear", max_shift=2.0
    )
    schedule = read_schedule(scheduler, patch=2)[1]
    assert schedule.shift == 2.0
    assert schedule.at_size(32, 32).shift == 0.5  # 256 tokens
