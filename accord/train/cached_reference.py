"""The frozen reference's errors, computed once before training: the reference itself is then never called.

Pair, timestep and noise of a visit follow from its number, so what an unchanging denoiser makes of it is known before
the first step. Training then costs one forward pass per pair of images, and full fine-tuning keeps no second model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

from accord import registry
from accord.config import MethodConfig
from accord.errors import ConfigError
from accord.train.cache import TensorCache
from accord.train.denoising import Denoised
from accord.train.noise_cache import is_cacheable
from accord.train.reference import Measure
from accord.types import PairBatch

ERRORS = "errors"  # the name of the one tensor of a cache of errors
ROWS_PER_SHARD = 256
"""Visits that a killed run loses at most; a row is two numbers, so that the forward passes are what it costs."""


def visit_ids(batch: PairBatch) -> list[str]:
    """Return the ids of the rows of these visits, (B,)."""
    columns = (batch.prompt_ids, batch.visits, batch.chosen_ids, batch.rejected_ids)
    return [f"{prompt}/{visit}/{chosen}/{rejected}" for prompt, visit, chosen, rejected in zip(*columns, strict=True)]


class ErrorStore(Protocol):
    """Where errors come from that were computed before training."""

    def get(self, batch: PairBatch) -> Tensor:
        """Return the reference's errors on these visits, (2B,) float32, chosen first, then rejected."""
        ...


@dataclass(frozen=True)
class ErrorCache:
    """Reads what the reference stage wrote: a row (2,) per visit, the errors of chosen and of rejected."""

    cache: TensorCache

    def get(self, batch: PairBatch) -> Tensor:
        """Return the reference's errors on these visits, (2B,) float32. Raises MissingArtifact for an unknown one."""
        return self.cache.get(visit_ids(batch))[ERRORS].mT.flatten()


class CachedReference:
    """The frozen reference, known by its errors alone. Losses that read its predictions cannot use it."""

    def __init__(self, policy: nn.Module, *, errors: ErrorStore) -> None:
        """Need nothing of the policy: no copy is made."""
        self._errors = errors

    def denoise(self, batch: PairBatch, measure: Measure) -> Denoised:
        """Return the errors of this batch, without residuals. Calls no denoiser."""
        return Denoised(self._errors.get(batch).to(batch.chosen.device), None)

    def after_step(self, step: int, policy: nn.Module) -> None:
        """Stay as it is."""

    def state(self) -> dict[str, Tensor]:
        """Return nothing: the errors are in the run folder."""
        return {}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Need nothing."""


def require_cacheable(method: MethodConfig) -> None:
    """Raise ConfigError unless the reference's errors are the same at every time and are all that the loss reads."""
    if method.reference.name != "frozen":
        raise ConfigError(
            f"train.cache_reference needs method.reference 'frozen', not '{method.reference.name}': only the errors "
            "of a model that stays as it is can be computed beforehand"
        )
    if getattr(registry.load("losses", method.loss.name), "needs_predictions", False):
        raise ConfigError(
            f"the loss '{method.loss.name}' reads the reference's predictions, of which train.cache_reference keeps "
            "only the errors; turn it off"
        )
    inverts = getattr(registry.load("noises", method.noise.name), "inverts", False)
    if inverts and not is_cacheable(method.noise):
        raise ConfigError(
            f"noise '{method.noise.name}' inverts along the policy and changes as it learns, so no error can be "
            'computed beforehand: take its option model = "initial", or turn train.cache_reference off'
        )
