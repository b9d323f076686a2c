"""What the tiny pipelines are trained on: latents from addresses, texts by the pipeline's own encoders."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from accord.seeding import address
from accord.train.data import PairData, PairTable


@dataclass
class Latents:
    """Latents drawn from the image's id."""

    shape: tuple[int, int, int]

    def get(self, ids: Sequence[str]) -> torch.Tensor:
        return torch.stack(
            [torch.randn(self.shape, generator=torch.Generator().manual_seed(address(1, i))) for i in ids]
        )


@dataclass
class Texts:
    """The text encoders' output: a prompt's id is its text."""

    model: object

    def get(self, ids: Sequence[str]) -> dict[str, torch.Tensor]:
        return self.model.encode_prompts(list(ids))


def data_of(model: object, prompts: Sequence[str], side: int = 32) -> PairData:
    """Return one pair per prompt, PROMPT-1 over PROMPT-0 with target 1, as latents of images of these sides."""
    chosen, rejected = (tuple(f"{prompt}-{index}" for prompt in prompts) for index in (1, 0))
    table = PairTable(tuple(prompts), chosen, rejected, np.ones(len(prompts)))
    return PairData(table, Latents(model.latent_shape(side, side)), Texts(model))
