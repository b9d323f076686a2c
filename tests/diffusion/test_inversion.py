"""Inversion on a Gaussian toy, where the exact answer is known, and the authors' loop, number by number."""

import itertools

import numpy as np
import pytest
import torch

from accord.diffusion.inversion import implied_noise, invert, invert_as_smpo_code, smpo_grid
from accord.diffusion.noising import add_noise
from accord.diffusion.predictions import training_target
from accord.diffusion.schedules import RectifiedFlow, VariancePreserving
from accord.errors import TrainingError

BETAS = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
STABLE_DIFFUSION = VariancePreserving(torch.cumprod(1 - BETAS, 0).float())


def gaussian_denoiser(schedule, prediction, s):
    """Return the exact denoiser of data N(0, s^2): the expected noise and image given x_t are linear in x_t."""

    def predict(latents, timesteps):
        known = timesteps.clamp_min(0)
        alpha, sigma = schedule.alpha(known).double(), schedule.sigma(known).double()
        variance = alpha**2 * s**2 + sigma**2
        column = (slice(None), None, None, None)
        noise, clean = latents * (sigma / variance)[column], latents * (alpha * s**2 / variance)[column]
        return training_target(prediction, clean, noise, alpha, sigma)

    return predict


def exact(schedule, timesteps, s):
    """Return the exact probability-flow latent of an image at 1, for data N(0, s^2)."""
    alpha, sigma = schedule.alpha(timesteps).double(), schedule.sigma(timesteps).double()
    return (alpha**2 * s**2 + sigma**2).sqrt() / s


def ratio(schedule, prediction, s, timesteps, **options):
    timesteps = torch.tensor(timesteps)
    ones = torch.ones(len(timesteps), 1, 1, 1, dtype=torch.float64)
    found = invert(gaussian_denoiser(schedule, prediction, s), ones, timesteps, schedule, prediction, **options)
    return (found.flatten() / exact(schedule, timesteps, s)).tolist()


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize(
    ("correction", "s", "expected"),
    [
        (None, 0.5, [0.965, 0.879, 0.807]),
        ("source", 0.5, [0.967, 0.904, 0.852]),
        ("target", 0.5, [0.997, 0.983, 0.955]),
        (None, 0.9, [0.987, 0.935, 0.877]),
        ("source", 0.9, [0.987, 0.936, 0.878]),
    ],
)
def test_the_toy_table_of_nine_steps(prediction, correction, s, expected):
    found = ratio(STABLE_DIFFUSION, prediction, s, [150.0, 500.0, 850.0], num_steps=9, correction=correction)
    assert found == pytest.approx(expected, abs=6e-4)


def test_steps_of_a_diffusion_schedule_end_on_the_level_and_are_told_whole_timesteps():
    told = []

    def predict(latents, timesteps):
        told.append(timesteps.tolist())
        return torch.zeros_like(latents)

    ones, timesteps = torch.ones(2, 1, 1, 1), torch.tensor([500.0, 7.0])
    latents = invert(predict, ones, timesteps, STABLE_DIFFUSION, "epsilon", num_steps=3, correction="target")
    assert told == [[0, 0], [167, 2], [167, 2], [333, 5], [333, 5], [500, 7]]
    alpha = STABLE_DIFFUSION.alpha(timesteps) / STABLE_DIFFUSION.alpha(torch.zeros(2))
    torch.testing.assert_close(latents.flatten(), alpha)


@pytest.mark.parametrize(("correction", "order"), [(None, 1), ("target", 2)])
def test_a_flow_converges_to_the_exact_path_with_the_order_of_its_rule(correction, order):
    errors = []
    for steps in (10, 20, 40):
        found = ratio(RectifiedFlow(), "flow", 0.5, [700.0], num_steps=steps, correction=correction)
        errors.append(abs(found[0] - 1))
    for coarse, fine in itertools.pairwise(errors):
        assert np.log2(coarse / fine) == pytest.approx(order, abs=0.25)


def test_the_implied_noise_grows_on_the_way_and_is_smaller_with_few_steps():
    """For data N(0, 1) on a flow the exact path is sqrt((1 - t)^2 + t^2) times the image."""
    timesteps = torch.tensor([100.0, 500.0, 900.0])
    t, ones = timesteps.double() / 1000, torch.ones(3, 1, 1, 1, dtype=torch.float64)
    sizes = {}
    for steps in (3, 9, 400):
        predict = gaussian_denoiser(RectifiedFlow(), "flow", 1.0)
        latents = invert(predict, ones, timesteps, RectifiedFlow(), "flow", num_steps=steps, correction=None)
        sizes[steps] = implied_noise(latents, ones, 1 - t, t).flatten()
    torch.testing.assert_close(sizes[400], (((1 - t) ** 2 + t**2).sqrt() - (1 - t)) / t, rtol=0, atol=0.01)
    assert (sizes[400].diff() > 0).all()
    assert sizes[400][0] < 0.1
    assert (sizes[3] < sizes[9]).all()
    assert (sizes[9] < sizes[400]).all()


def test_noise_of_a_forward_noised_latent_is_that_noise():
    generator = torch.Generator().manual_seed(0)
    clean, noise = (torch.randn(3, 4, 8, 8, generator=generator) for _ in range(2))
    timesteps = torch.tensor([20.0, 400.0, 999.0])
    alpha, sigma = STABLE_DIFFUSION.alpha(timesteps), STABLE_DIFFUSION.sigma(timesteps)
    found = implied_noise(add_noise(clean, noise, alpha, sigma), clean, alpha, sigma)
    torch.testing.assert_close(found, noise, rtol=0, atol=2e-5)


@pytest.mark.parametrize("schedule", [STABLE_DIFFUSION, RectifiedFlow()])
@pytest.mark.parametrize("correction", [None, "target"])
def test_the_implied_noise_leads_back_to_the_inverted_latent(schedule, correction):
    prediction = "flow" if isinstance(schedule, RectifiedFlow) else "epsilon"
    clean, timesteps = torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(0)), torch.tensor([300.0, 900.0])
    exact_denoiser = gaussian_denoiser(schedule, prediction, 0.7)
    predict = lambda x, t: exact_denoiser(x, t).float()  # noqa: E731
    latents = invert(predict, clean, timesteps, schedule, prediction, num_steps=5, correction=correction)
    alpha, sigma = schedule.alpha(timesteps), schedule.sigma(timesteps)
    noise = implied_noise(latents, clean, alpha, sigma)
    torch.testing.assert_close(add_noise(clean, noise, alpha, sigma), latents, rtol=1e-5, atol=1e-5)


def test_rows_have_their_own_level_and_do_not_mix():
    clean = torch.randn(3, 1, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    timesteps = torch.tensor([0.0, 333.0, 999.0])
    predict = gaussian_denoiser(STABLE_DIFFUSION, "epsilon", 0.7)
    for whole, function, options in (
        (None, invert, {"num_steps": 7, "correction": "target"}),
        (None, invert_as_smpo_code, {"num_steps": 10}),
    ):
        whole = function(predict, clean, timesteps, STABLE_DIFFUSION, "epsilon", **options)
        for row in range(3):
            one = slice(row, row + 1)
            alone = function(predict, clean[one], timesteps[one], STABLE_DIFFUSION, "epsilon", **options)
            assert torch.equal(alone, whole[one])


# --- the authors' loop ------------------------------------------------------------------------------------------------


def test_the_grids_are_those_of_the_pinned_library():
    assert smpo_grid(10) == [-99, 1, 101, 201, 301, 401, 501, 601, 701, 801]
    assert smpo_grid(5) == [-199, 1, 201, 401, 601]


@pytest.mark.parametrize(("num_steps", "mean"), [(10, 6.382), (5, 3.792)])
def test_the_loop_runs_as_often_as_in_the_authors_code(num_steps, mean):
    """One row at a time, as in their code: two predictions per iteration, none after a row's last."""
    calls = []

    def nothing(latents, timesteps):
        calls.append(len(latents))
        return torch.zeros_like(latents)

    for t in range(1000):
        invert_as_smpo_code(
            nothing, torch.ones(1, 1, 1, 1), torch.tensor([float(t)]), STABLE_DIFFUSION, "epsilon", num_steps=num_steps
        )
    assert len(calls) / 2000 == mean


@pytest.mark.parametrize(("num_steps", "mean", "low", "high"), [(10, 39.7, -98, 99), (5, 59.9, -198, 199)])
def test_the_level_reached_is_that_of_the_grid(num_steps, mean, low, high):
    """Reads the level off the latents themselves: a denoiser of no noise scales the image by alpha alone."""
    timesteps = torch.arange(1000).float()
    clean = torch.ones(1000, 1, 1, 1, dtype=torch.float64)
    nothing = lambda latents, timesteps: torch.zeros_like(latents)  # noqa: E731
    latents = invert_as_smpo_code(nothing, clean, timesteps, STABLE_DIFFUSION, "epsilon", num_steps=num_steps)
    alphas = STABLE_DIFFUSION.alpha(timesteps).double()
    late = (latents.flatten()[:, None] - (alphas / alphas[0])[None]).abs().argmin(1) - timesteps
    assert late.mean().item() == pytest.approx(mean, abs=1e-5)
    assert (late.min().item(), late.max().item()) == (low, high)
    assert (late == 0).sum().item() == num_steps  # 1 % of the timesteps, or half of that


def test_the_loop_equals_a_literal_transcription():
    predict, clean = gaussian_denoiser(STABLE_DIFFUSION, "epsilon", 0.6), 0.7
    cumprod = STABLE_DIFFUSION.alphas_cumprod.sqrt().double(), (1 - STABLE_DIFFUSION.alphas_cumprod).sqrt().double()
    for t in (0, 150, 777):
        x = torch.full((1, 1, 1, 1), clean, dtype=torch.float64)
        found = invert_as_smpo_code(predict, x, torch.tensor([float(t)]), STABLE_DIFFUSION, "epsilon", num_steps=10)
        g = -99
        while g < t and g <= 801:
            a, b = max(g, 0), g + 100

            def step(x, e, a=a, b=b):
                return cumprod[0][b] * (x - cumprod[1][a] * e) / cumprod[0][a] + cumprod[1][b] * e

            at = torch.tensor([float(g)])
            e0 = predict(x, at)
            e1 = predict(step(x, e0), at)
            x = step(x, (e0 + e1) / 2)
            g += 100
        torch.testing.assert_close(found, x, rtol=1e-5, atol=1e-6)


def test_the_denoiser_is_told_the_negative_first_timestep():
    told = []

    def predict(latents, timesteps):
        told.append(timesteps.tolist())
        return torch.zeros_like(latents)

    invert_as_smpo_code(
        predict, torch.ones(1, 1, 1, 1), torch.tensor([500.0]), STABLE_DIFFUSION, "epsilon", num_steps=5
    )
    assert told[:4] == [[-199.0], [-199.0], [1.0], [1.0]]


def test_flows_and_other_schedules_have_no_such_loop():
    with pytest.raises(TrainingError, match="1000 timesteps"):
        invert_as_smpo_code(
            lambda x, t: x, torch.ones(1, 1, 1, 1), torch.tensor([500.0]), RectifiedFlow(), "flow", num_steps=5
        )


@pytest.mark.parametrize("num_steps", [-1, 0, 1, 501])
def test_a_grid_fits_into_the_timesteps(num_steps):
    with pytest.raises(TrainingError, match=f"2 to 500 points.*not {num_steps}"):
        smpo_grid(num_steps)


@pytest.mark.parametrize("num_steps", [2, 3, 9, 20, 499, 500])
def test_no_step_of_a_grid_leaves_the_schedule(num_steps):
    latents = invert_as_smpo_code(
        gaussian_denoiser(STABLE_DIFFUSION, "epsilon", 0.7),
        torch.ones(1, 1, 1, 1, dtype=torch.float64),
        torch.tensor([999.0]),
        STABLE_DIFFUSION,
        "epsilon",
        num_steps=num_steps,
    )
    assert latents.isfinite().all()


def test_an_inversion_has_steps():
    with pytest.raises(TrainingError, match="at least one step"):
        ratio(RectifiedFlow(), "flow", 0.5, [500.0], num_steps=0, correction=None)
