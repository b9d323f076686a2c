"""B images with their prompts, as several scorers see them: whatever two of them need is made once.

A scorer that wants to share has `score_batch(batch)` besides `score`, and says with `preprocessing` what it makes of
an image; worker threads then do that while a network runs. A scorer without these is called with `score`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

import numpy as np

from accord.errors import ScoringError
from accord.types import ScorerCard

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")

Preprocessing = Callable[[np.ndarray], np.ndarray]
"""uint8 RGB (H, W, 3) to the float32 array that a network reads. Hashable: equal ones are computed once."""


class Batch:
    """B images and their prompts, with a memory for what scorers make of them."""

    def __init__(
        self,
        images: Sequence[np.ndarray | None],
        prompts: Sequence[str],
        prepared: Mapping[Preprocessing, Sequence[Any]] | None = None,
        texts: dict[Hashable, dict[str, Tensor]] | None = None,
    ) -> None:
        """Hold uint8 RGB images (H, W, 3), or None where `prepared` has all that is asked of an image.

        prepared: preprocessing -> one array per image, or the exception that it raised. texts: what is known of texts
        already, shared by the batches of a shard.
        """
        if len(images) != len(prompts):
            raise ScoringError(f"a batch has one prompt per image, found {len(images)} images, {len(prompts)} prompts")
        self.images = images
        self.prompts = tuple(prompts)
        self._prepared = dict(prepared or {})
        self._texts = {} if texts is None else texts
        self._known: dict[Hashable, Any] = {}

    def __len__(self) -> int:
        return len(self.prompts)

    @property
    def pictures(self) -> list[np.ndarray]:
        """The images themselves, uint8 (H, W, 3), for what no preprocessing covers."""
        return [_present(image) for image in self.images]

    def prepared(self, preprocessing: Preprocessing) -> list[np.ndarray]:
        """Return what a preprocessing makes of each image. Raises what it raises."""
        if preprocessing not in self._prepared:
            self._prepared[preprocessing] = [preprocessing(image) for image in self.pictures]
        found = self._prepared[preprocessing]
        for each in found:
            if isinstance(each, Exception):
                raise each
        return list(found)

    def pixels(self, preprocessing: Preprocessing) -> Tensor:
        """Return the prepared images as one float32 tensor (B, C, H, W), for preprocessings of one size."""
        import torch

        return self.once(("pixels", preprocessing), lambda: torch.from_numpy(np.stack(self.prepared(preprocessing))))

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return what `make` made the first time. The key says all that decides it: network, preprocessing, what."""
        if key not in self._known:
            self._known[key] = make()
        return self._known[key]

    def texts(self, key: Hashable, encode: Callable[[list[str]], Tensor]) -> Tensor:
        """Return one row per image, (B, ...), of what `encode` makes of prompts. Each text is encoded once per shard.

        `encode` takes T different texts and returns (T, ...). The key names the encoder.
        """
        import torch

        known = self._texts.setdefault(key, {})
        new = [text for text in dict.fromkeys(self.prompts) if text not in known]
        if new:
            known.update(zip(new, encode(new), strict=True))
        return torch.stack([known[text] for text in self.prompts])

    def part(self, rows: Sequence[int]) -> Batch:
        """Return some of the rows as a batch of their own; only texts are shared with it."""
        prepared = {how: [found[i] for i in rows] for how, found in self._prepared.items()}
        return Batch([self.images[i] for i in rows], [self.prompts[i] for i in rows], prepared, self._texts)


@runtime_checkable
class BatchScorer(Protocol):
    """A scorer that shares its work with others. Its `score(images, prompts)` is `score_batch(Batch(images, prompts))`.

    `preprocessing` is what the network reads of an image. `score_batch` returns (B,) float64 as `score` does.
    """

    card: ScorerCard
    preprocessing: Preprocessing

    def score_batch(self, batch: Batch) -> np.ndarray:
        """Return one score per image, (B,) float64."""
        ...


def _present(image: np.ndarray | None) -> np.ndarray:
    assert image is not None, "an image without pixels comes with all its preprocessings"
    return image
