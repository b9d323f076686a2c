"""Numbers per row, stretched over images."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def per_row(values: Tensor, like: Tensor) -> Tensor:
    """Return values (B,) as (B, 1, ..., 1) on the device of `like` (B, ...), ready to multiply with it."""
    return values.to(like.device).reshape(-1, *(1,) * (like.dim() - 1))
