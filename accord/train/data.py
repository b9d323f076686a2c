"""Which pair is trained on when: every visit is a pure function of its index, and nothing else.

    visit index i (step * batch_size + place in the batch)
      -> epoch = i // P, place = i % P; prompt = the epoch's permutation of the prompts, at that place
      -> visit number of that prompt = epoch
      -> one of the prompt's pairs, uniformly, and a number in [0, 1) for the timestep: addressed by (prompt, visit)

So data order needs no loader state: a run resumed at any step, on any number of processes, sees the same visits, and
two methods that train on the same prompt meet the same timestep and noise at the same visit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from accord.errors import TrainingError
from accord.seeding import generator
from accord.types import Conditioning, Pair, PairBatch


@dataclass(frozen=True, eq=False)  # arrays have no single truth value
class PairTable:
    """M pairs. The order of the rows has no meaning: visits are drawn from the rows sorted by their ids."""

    prompt_ids: tuple[str, ...]  # (M,)
    chosen_ids: tuple[str, ...]  # (M,)
    rejected_ids: tuple[str, ...]  # (M,)
    targets: np.ndarray  # (M,) float64, finite

    def __post_init__(self) -> None:
        """Refuse a table that cannot be trained on."""
        lengths = {len(self.prompt_ids), len(self.chosen_ids), len(self.rejected_ids), len(self.targets)}
        if lengths == {0} or len(lengths) > 1:
            raise TrainingError(
                f"training needs at least one pair and columns of equal length, found {sorted(lengths)}"
            )
        bad = np.flatnonzero(~np.isfinite(self.targets))
        if len(bad):
            row = bad[0]
            raise TrainingError(
                f"{len(bad)} target(s) are not finite, first {self.chosen_ids[row]} over {self.rejected_ids[row]} "
                f"of prompt {self.prompt_ids[row]}; run select again"
            )
        same = [
            chosen for chosen, rejected in zip(self.chosen_ids, self.rejected_ids, strict=True) if chosen == rejected
        ]
        if same:
            raise TrainingError(f"image {same[0]} is preferred over itself ({len(same)} such pairs); run select again")

    @classmethod
    def from_pairs(cls, pairs: Iterable[Pair]) -> PairTable:
        """Return the table of these pairs."""
        rows = list(pairs)
        return cls(
            tuple(pair.prompt_id for pair in rows),
            tuple(pair.chosen_id for pair in rows),
            tuple(pair.rejected_id for pair in rows),
            np.array([pair.target for pair in rows], dtype=np.float64),
        )

    @cached_property
    def rows_of(self) -> dict[str, tuple[int, ...]]:
        """Prompt id -> its rows sorted by (chosen id, rejected id); prompts in the order of their ids."""
        groups: dict[str, list[int]] = {}
        for row in np.lexsort((self.rejected_ids, self.chosen_ids, self.prompt_ids)).tolist():
            groups.setdefault(self.prompt_ids[row], []).append(row)
        return {prompt: tuple(rows) for prompt, rows in groups.items()}

    @cached_property
    def prompts(self) -> tuple[str, ...]:
        """(P,) the prompts that have a pair, in the order of their ids."""
        return tuple(self.rows_of)

    def fingerprint(self) -> str:
        """Return a hash of all pairs and targets that does not depend on their order."""
        digest = hashlib.blake2b(digest_size=16)
        for row in (row for rows in self.rows_of.values() for row in rows):
            fields = (
                self.prompt_ids[row],
                self.chosen_ids[row],
                self.rejected_ids[row],
                float(self.targets[row]).hex(),
            )
            digest.update(repr(fields).encode())
        return digest.hexdigest()


class Visit(NamedTuple):
    """One visit of a prompt: which of its pairs, and where its timestep lies."""

    prompt_id: str
    number: int  # how often the prompt was visited before
    row: int  # of the pair table
    draw: float  # in [0, 1), uniform; the timestep sampling maps it to a place in the schedule


@dataclass(frozen=True)
class Visits:
    """An endless sequence of visits: `visits[i]` is the same whenever and by whomever it is asked for."""

    table: PairTable
    seed: int

    def __getitem__(self, index: int) -> Visit:
        """Return visit `index` (0 is the first of the run)."""
        prompts = self.table.prompts
        epoch, place = divmod(index, len(prompts))
        prompt = prompts[_order(self.seed, epoch, len(prompts))[place]]
        rows = self.table.rows_of[prompt]
        row = rows[int(generator(self.seed, "pair", prompt, epoch).integers(len(rows)))]
        return Visit(prompt, epoch, row, float(generator(self.seed, "timestep", prompt, epoch).random()))

    def between(self, start: int, stop: int) -> tuple[Visit, ...]:
        """Return visits start, start + 1, ..., stop - 1."""
        return tuple(self[index] for index in range(start, stop))


@lru_cache(maxsize=4)  # a batch touches two epochs at most, unless there are fewer prompts than pairs in a batch
def _order(seed: int, epoch: int, num_prompts: int) -> np.ndarray:
    """Return the epoch's order of the prompts, (P,) int64."""
    return generator(seed, "order", epoch).permutation(num_prompts)


class LatentStore(Protocol):
    """Where clean latents come from."""

    def get(self, ids: Sequence[str]) -> Tensor:
        """Return the latents of these images, (B, C, H, W), as the denoiser sees them."""
        ...


class ConditioningStore(Protocol):
    """Where the text encoders' output comes from, stored once per prompt."""

    def get(self, ids: Sequence[str]) -> Conditioning:
        """Return the conditioning of these prompts, each tensor (B, ...)."""
        ...


class NoiseStore(Protocol):
    """Where noise comes from that was computed before training, such as that of an inversion."""

    def get(self, prompt_ids: Sequence[str], visits: Sequence[int], image_ids: Sequence[str]) -> Tensor:
        """Return the noise of these images at these visits of their prompts, (B, C, H, W) float32."""
        ...


@dataclass(frozen=True)
class PairData:
    """Everything the loop reads: the pairs, and the stores that hold their tensors."""

    table: PairTable
    latents: LatentStore
    conditioning: ConditioningStore
    prior: Callable[[Sequence[str]], Tensor] | None = None  # image ids (B,) -> the noise each was drawn from
    noise: NoiseStore | None = None  # if the method's noise was computed beforehand


def make_batch(data: PairData, visits: Sequence[Visit], device: torch.device) -> PairBatch:
    """Return the batch of these visits on `device`; latents as float32, conditioning in the dtype it was stored in."""
    table = data.table
    rows = [visit.row for visit in visits]
    chosen_ids = tuple(table.chosen_ids[row] for row in rows)
    rejected_ids = tuple(table.rejected_ids[row] for row in rows)
    chosen, rejected = data.latents.get(chosen_ids + rejected_ids).to(device, torch.float32).chunk(2)
    conditioning = data.conditioning.get([visit.prompt_id for visit in visits])
    return PairBatch(
        prompt_ids=tuple(visit.prompt_id for visit in visits),
        chosen_ids=chosen_ids,
        rejected_ids=rejected_ids,
        visits=tuple(visit.number for visit in visits),
        chosen=chosen,
        rejected=rejected,
        conditioning={name: tensor.to(device) for name, tensor in conditioning.items()},
        targets=torch.as_tensor(table.targets[rows], dtype=torch.float32).to(device),
    )
