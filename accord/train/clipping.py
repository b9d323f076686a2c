"""Gradient clipping: the norm of all gradients, and a pass over them only where it is too large."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

EPSILON = 1e-6  # torch's own


def gradient_norm(parameters: Iterable[nn.Parameter]) -> Tensor:
    """Return the Euclidean norm of all gradients as one vector, a scalar; shared out where the gradients are."""
    return torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])


def clip(parameters: Iterable[nn.Parameter], norm: Tensor, value: float, max_norm: float) -> None:
    """Scale the gradients by `min(1, max_norm / (norm + 1e-6))`, in place.

    norm: of `gradient_norm`. value: the same as a number, which the step's log has already waited for. torch's own
    clipping multiplies by 1 where nothing is to be scaled, so as not to wait: for full fine-tuning another reading and
    writing of all gradients, which this leaves out.
    """
    if not value + EPSILON < max_norm:
        torch.nn.utils.clip_grads_with_norm_(parameters, max_norm, norm)
