"""Randomness as an address: a number drawn for (seed, what, id, visit) is the same whoever asks, and whenever.

Nothing here keeps a history, so a result cannot depend on batch size, on neighbours, on the number of devices
or on how often a run was interrupted.
"""

from __future__ import annotations

import hashlib

import numpy as np


def address(seed: int, *parts: str | int) -> int:
    """Return a 63-bit seed for the address `(seed, *parts)`.

    Distinct addresses give independent seeds (BLAKE2b of an unambiguous encoding); integers and strings that
    print alike are different parts. 63 bits, because torch generators take signed 64-bit seeds.
    """
    text = "\x1f".join(f"{type(part).__name__}:{len(str(part))}:{part}" for part in (int(seed), *parts))
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator(seed: int, *parts: str | int) -> np.random.Generator:
    """Return a fresh numpy generator that stands at the start of this address."""
    return np.random.Generator(np.random.PCG64(address(seed, *parts)))
