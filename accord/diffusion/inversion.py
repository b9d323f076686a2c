"""From an image back to the noise it could have come from: the latent at level t on its own deterministic path.

    DDIM inversion          predict at the old point, step                                  (arXiv 2010.02502)
    ReNoise, mode "idea"    predict, step, predict again at the new point and level, average, step from the old point
    ReNoise, mode "code"    the loop of SmPO's released code, see `invert_as_smpo_code`

One conditional pass without guidance per prediction. For a rectified flow a step is an Euler step along the velocity,
and averaging the two velocities is Heun's method. Sources: ReNoise (arXiv 2403.14602), SmPO (arXiv 2506.02698).

Every row has its own t and its own path; rows never mix.

A path begins at timestep 0, with the image itself for its latent: for a diffusion schedule that is the first level
that was trained, of sigma 0.03 for Stable Diffusion; for a flow it is the image's own end, sigma 0.

The noise that an inverted latent implies is smaller than Gaussian noise: also on the exact path, which leaves the image
without any and gathers it on the way, and more so with few steps. Nor is it the noise that an image was drawn from with
guidance, because it is found without.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from accord.diffusion.broadcast import per_row
from accord.diffusion.predictions import Prediction, to_noise
from accord.diffusion.schedules import Schedule, VariancePreserving
from accord.errors import TrainingError

if TYPE_CHECKING:
    from torch import Tensor

Predict = Callable[["Tensor", "Tensor"], "Tensor"]  # latents (B, C, H, W), timesteps (B,) -> the denoiser's output


def invert(
    predict: Predict,
    clean: Tensor,
    timesteps: Tensor,
    schedule: Schedule,
    prediction: Prediction,
    *,
    num_steps: int,
    correction: Literal["target", "source"] | None,
    jitter: Callable[[int, Tensor], Tensor] | None = None,
) -> Tensor:
    """Return the latents (B, C, H, W) at exactly level `timesteps` (B,), reached from `clean` in equal steps.

    clean: (B, C, H, W) float32, taken for the latents of timestep 0. num_steps: steps from there to t, the same number
    for every row; on a schedule of whole timesteps the levels between are rounded. correction: None for DDIM; for
    ReNoise the level that the second prediction of a step is told, `"target"` or, less exact, `"source"`.
    jitter: called with (step from 0, DDIM's standard deviation of that step (B,)), returns what is added (B, C, H, W).
    """
    import torch

    if num_steps < 1:
        raise TrainingError(f"an inversion needs at least one step, not {num_steps}")
    latents, told = clean, torch.zeros_like(timesteps)
    before = (schedule.alpha(told), schedule.sigma(told))
    for step in range(1, num_steps + 1):
        level = _level(schedule, timesteps, step / num_steps)
        after = (schedule.alpha(level), schedule.sigma(level))
        slope = _slope(prediction, predict(latents, told), latents, *before)
        moved = _move(prediction, latents, slope, before, after)
        if correction is not None:
            point, known = (level, after) if correction == "target" else (told, before)
            again = _slope(prediction, predict(moved, point), moved, *known)
            moved = _move(prediction, latents, (slope + again) / 2, before, after)
        if jitter is not None:
            moved = moved + jitter(step - 1, _spread(before, after))
        latents, told, before = moved, level, after
    return latents


def invert_as_smpo_code(
    predict: Predict, clean: Tensor, timesteps: Tensor, schedule: Schedule, prediction: Prediction, *, num_steps: int
) -> Tensor:
    """Return the latents (B, C, H, W) that SmPO's released loop takes for level `timesteps` (B,).

    Its grid is written out, since it came from one version of a library: for n steps of r = 1000 // n it is
    1 - r, 1, 1 + r, ..., so the first point is negative, which is told to the denoiser as it is and has the signal of
    timestep 0. Each grid point below t makes a step of r; the second prediction is at the new point but at the OLD
    timestep. The result lies on the grid, up to r away from t, and is taken for level t all the same.
    num_steps: 10 for SDXL and 5 for SD1.5 in their code. The loop ends early where no row goes on. Raises TrainingError
    for a schedule without 1000 timesteps, and for a grid that does not fit into them.
    """
    import torch

    if not isinstance(schedule, VariancePreserving) or len(schedule.alphas_cumprod) != 1000:
        raise TrainingError(
            'mode = "code" is a loop over the 1000 timesteps of a diffusion schedule, which this model has not; '
            'use mode = "idea"'
        )
    latents = clean
    for point in smpo_grid(num_steps):
        here = torch.full_like(timesteps, point)
        is_below = here < timesteps
        if not is_below.any():
            break
        before, after = (
            (schedule.alpha(level), schedule.sigma(level)) for level in (here.clamp_min(0), here + 1000 // num_steps)
        )
        first = to_noise(prediction, predict(latents, here), latents, *before)
        moved = _ddim(latents, first, before, after)
        again = to_noise(prediction, predict(moved, here), moved, *before)
        moved = _ddim(latents, (first + again) / 2, before, after)
        latents = torch.where(per_row(is_below, latents), moved, latents)
    return latents


def smpo_grid(num_steps: int) -> list[int]:
    """Return the grid of `invert_as_smpo_code`. Raises TrainingError unless num_steps is 2 to 500.

    >>> smpo_grid(5)
    [-199, 1, 201, 401, 601]
    """
    if not 2 <= num_steps <= 500:
        raise TrainingError(f'the grid of mode = "code" has 2 to 500 points (10 or 5 in SmPO\'s code), not {num_steps}')
    stride = 1000 // num_steps
    return [1 + (k - 1) * stride for k in range(num_steps)]


def implied_noise(latents: Tensor, clean: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """Return the noise with which `alpha clean + sigma noise` is `latents`, (B, C, H, W). alpha, sigma: (B,)."""
    return (latents - per_row(alpha, clean) * clean) / per_row(sigma, clean)


def _level(schedule: Schedule, timesteps: Tensor, share: float) -> Tensor:
    level = timesteps * share if share < 1 else timesteps
    return level.round() if isinstance(schedule, VariancePreserving) else level


def _slope(prediction: Prediction, output: Tensor, latents: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """Return what a step goes along: the velocity of a flow, else the predicted noise."""
    return output if prediction == "flow" else to_noise(prediction, output, latents, alpha, sigma)


def _move(
    prediction: Prediction, latents: Tensor, slope: Tensor, before: tuple[Tensor, Tensor], after: tuple[Tensor, Tensor]
) -> Tensor:
    if prediction == "flow":
        return latents + per_row(after[1] - before[1], latents) * slope
    return _ddim(latents, slope, before, after)


def _ddim(latents: Tensor, noise: Tensor, before: tuple[Tensor, Tensor], after: tuple[Tensor, Tensor]) -> Tensor:
    """Return `alpha_b (x - sigma_a e) / alpha_a + sigma_b e`; before and after are (alpha, sigma), each (B,)."""
    (alpha_a, sigma_a), (alpha_b, sigma_b) = (tuple(per_row(v, latents) for v in pair) for pair in (before, after))
    return alpha_b * (latents - sigma_a * noise) / alpha_a + sigma_b * noise


def _spread(before: tuple[Tensor, Tensor], after: tuple[Tensor, Tensor]) -> Tensor:
    """Return the standard deviation of DDIM's random step between the levels (eta = 1), (B,); 0 between equal ones."""
    (alpha_a, sigma_a), (alpha_b, sigma_b) = before, after
    variance = (sigma_a / sigma_b) ** 2 * (1 - (alpha_b / alpha_a) ** 2)
    return variance.nan_to_num(0.0).clamp_min(0).sqrt()
