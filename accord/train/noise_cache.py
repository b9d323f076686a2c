"""Noise that was computed before training: one row for each image of each visit, because a visit is an address."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from accord.train.cache import TensorCache

NOISE = "noise"  # the name of the one tensor of a noise cache
SHARD_BYTES = 2**24


def row_id(prompt_id: str, visit: int, image_id: str) -> str:
    """Return the id of the row of an image at a visit of its prompt."""
    return f"{prompt_id}/{visit}/{image_id}"


@dataclass(frozen=True)
class NoiseCache:
    """Reads what the invert stage wrote."""

    cache: TensorCache

    def get(self, prompt_ids: Sequence[str], visits: Sequence[int], image_ids: Sequence[str]) -> Tensor:
        """Return the noise of these images at these visits, (B, C, H, W) float32."""
        rows = zip(prompt_ids, visits, image_ids, strict=True)
        return self.cache.get([row_id(*row) for row in rows])[NOISE]


def rows_per_shard(numbers: int) -> int:
    """Return how many rows of so many float32 numbers a shard holds: 1024 small ones, 64 of SDXL's latents.

    A killed run loses at most a shard, and what a row costs to invert grows with its size.
    """
    return max(1, min(1024, SHARD_BYTES // (4 * numbers)))
