"""What a choice of noise may look at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class NoiseRequest:
    """B training visits that need noise for both images of their pair.

    A rule that only draws reads the seed and the ids; a rule that inverts also reads the latents and the denoiser.
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
    predict: Callable[[Tensor, Tensor], Tensor] | None = None  # reference's output for (latents, timesteps)
