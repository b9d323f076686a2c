"""Lists of the parameters of official checkpoints: read, and made into tiny random checkpoints of the same names.

A list has one line per parameter, `blocks.[0-23].norm1.weight 1024`: the name, with the numbers of equal layers in
brackets, and the shape with commas.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

Shape = tuple[int, ...]


def official_shapes(text: str, layers: int | None = None) -> dict[str, Shape]:
    """Return name -> shape of a list; of numbered layers the first `layers` only, if given."""
    found: dict[str, Shape] = {}
    for line in text.splitlines():
        name, _, sizes = line.partition(" ")
        shape = tuple(int(size) for size in sizes.split(",")) if sizes else ()
        numbers = re.search(r"\[(\d+)-(\d+)\]", name)
        if numbers is None:
            found[name] = shape
            continue
        last = int(numbers[2]) if layers is None else min(int(numbers[2]), layers - 1)
        for number in range(int(numbers[1]), last + 1):
            found[name.replace(numbers[0], str(number))] = shape
    return found


def official_meta(text: str) -> dict[str, Tensor]:
    """Return name -> tensor without memory, in full size."""
    import torch

    return {name: torch.empty(shape, device="meta") for name, shape in official_shapes(text).items()}


def tiny_state(
    text: str, sizes: Mapping[str, Mapping[int, int]], layers: int = 2, seed: int = 0, gain: float = 1.5
) -> dict[str, Tensor]:
    """Return a random checkpoint with the official names, small: norms near 1, matrices of `gain` over root fan-in.

    sizes: prefix of names -> official size of an axis -> the size here. The longest prefix that fits decides.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    found = {}
    for name, shape in official_shapes(text, layers).items():
        prefix = max((prefix for prefix in sizes if name.startswith(prefix)), key=len, default="")
        small = tuple(sizes.get(prefix, {}).get(size, size) for size in shape)
        values = torch.randn(small, generator=generator)
        if name.endswith("position_ids"):
            found[name] = torch.arange(small[-1]).expand(small).clone()
        elif len(small) > 1:
            found[name] = gain * values / math.sqrt(math.prod(small[1:]))
        else:
            is_norm = re.search(r"norm\w*\.weight$|ln_q\.weight$", name, re.IGNORECASE) is not None
            found[name] = is_norm + 0.2 * values
    return found
