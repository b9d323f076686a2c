"""Losses that treat the two images differently need to know which one is preferred: the sign of the target says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from accord.types import PairErrors

if TYPE_CHECKING:
    from torch import Tensor


def oriented(errors: PairErrors, targets: Tensor) -> PairErrors:
    """Return the errors with chosen and rejected exchanged where the target is below 0.

    >>> import torch
    >>> first, second, one = torch.zeros(1), torch.ones(1), torch.ones(1)
    >>> oriented(PairErrors(first, second, first, second, one), -one).policy_chosen
    tensor([1.])
    """
    turn = targets < 0

    def chosen(one: Tensor | None, two: Tensor | None) -> Tensor | None:
        return None if one is None or two is None else two.where(turn, one)

    e = errors
    return PairErrors(
        e.policy_rejected.where(turn, e.policy_chosen),
        e.policy_chosen.where(turn, e.policy_rejected),
        e.reference_rejected.where(turn, e.reference_chosen),
        e.reference_chosen.where(turn, e.reference_rejected),
        e.weight,
        chosen(e.distance_chosen, e.distance_rejected),
        chosen(e.distance_rejected, e.distance_chosen),
        e.residual_product,
    )
