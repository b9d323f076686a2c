"""The methods of a scorer that leaves its work to one object: what several scorers of one arithmetic have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from accord.scorers.batch import Batch
from accord.scorers.clip_network import as_array

if TYPE_CHECKING:
    from torch import Tensor


class Arithmetic(Protocol):
    """How images and prompts become scores."""

    def of_batch(self, batch: Batch) -> Tensor:
        """Return (B,)."""
        ...

    def of_tensors(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Return (B,) for float images (B, 3, H, W) in 0..1, with gradients."""
        ...


class Delegating(Protocol):
    """A scorer that takes the three functions below for its methods."""

    @property
    def _score(self) -> Arithmetic: ...


def score(self: Delegating, images: Sequence[np.ndarray], prompts: Sequence[str]) -> np.ndarray:
    """Return (B,) float64."""
    return score_batch(self, Batch(images, prompts))


def score_batch(self: Delegating, batch: Batch) -> np.ndarray:
    """Return (B,) float64, sharing what the batch has prepared with the other scorers."""
    return as_array(self._score.of_batch(batch))


def differentiable_scores(self: Delegating, images: Tensor, prompts: Sequence[str]) -> Tensor:
    """Return (B,) for float images (B, 3, H, W) in 0..1, with gradients; resized on tensors, so approximate."""
    return self._score.of_tensors(images, prompts)
