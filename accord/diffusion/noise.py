"""Gaussian noise that belongs to an address, not to a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def gaussian(addresses: Sequence[int], shape: Sequence[int]) -> Tensor:
    """Return standard normal noise (B, *shape), float32 on the CPU: row b depends on addresses[b] and shape alone.

    addresses: B seeds, 0 to 2^63 - 1, as `accord.seeding.address` gives them.

    >>> pair, alone = gaussian([1, 2], (4, 8, 8)), gaussian([2], (4, 8, 8))
    >>> bool((pair[1] == alone[0]).all())
    True
    """
    import torch

    rows = torch.empty((len(addresses), *shape), dtype=torch.float32)
    for row, seed in zip(rows, addresses, strict=True):
        # Drawn on the CPU: generators of other devices give other numbers for the same seed.
        row.copy_(torch.randn(tuple(shape), generator=torch.Generator("cpu").manual_seed(seed)))
    return rows
