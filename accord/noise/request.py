"""What a choice of noise may look at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from accord.diffusion.predictions import Prediction
    from accord.diffusion.schedules import Schedule

Predict = Callable[["Tensor", "Tensor"], "Tensor"]
"""`predict(latents, timesteps)`: a denoiser's raw output for latents (2B, C, H, W), those of the chosen images above
those of the rejected ones, at timesteps (2B,): one conditional pass without guidance and without gradient."""


@dataclass(frozen=True)
class NoiseRequest:
    """B training visits that need noise for both images of their pair.

    A rule that only draws reads the seed and the ids; a rule that inverts also reads the latents and a denoiser. What
    the caller has no use for is None: then a rule that needs it says so.
    """

    seed: int  # of the run
    prompt_ids: tuple[str, ...]  # (B,)
    chosen_ids: tuple[str, ...]  # (B,)
    rejected_ids: tuple[str, ...]  # (B,)
    visits: tuple[int, ...]  # (B,) how often this prompt was visited before
    timesteps: Tensor  # (B,) float32, shared by the pair
    shape: tuple[int, int, int]  # C, H, W
    chosen: Tensor  # (B, C, H, W) clean latents
    rejected: Tensor  # (B, C, H, W)
    schedule: Schedule | None = None
    prediction: Prediction | None = None
    initial: Predict | None = None  # the denoiser as it was before training
    policy: Predict | None = None  # the denoiser as it is now
    prior: Callable[[Sequence[str]], Tensor] | None = (
        None  # image ids (B,) -> the noise each was drawn from (B, C, H, W)
    )
