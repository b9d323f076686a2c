"""A draw of noise for each image of a pair. Source: CaPO (arXiv 2502.02588): the expectation is over two noises."""

from __future__ import annotations

from typing import TYPE_CHECKING

from accord.diffusion.noise import gaussian
from accord.noise.request import NoiseRequest
from accord.seeding import address

if TYPE_CHECKING:
    from torch import Tensor


def gaussian_independent(request: NoiseRequest) -> tuple[Tensor, Tensor]:
    """Return the noise of chosen and of rejected, each (B, C, H, W) float32 on the CPU, independent of each other.

    A row depends on the seed, the prompt, the number of its visit and the image.
    """
    return _draw(request, request.chosen_ids), _draw(request, request.rejected_ids)


def _draw(request: NoiseRequest, image_ids: tuple[str, ...]) -> Tensor:
    addresses = [
        address(request.seed, "noise", prompt_id, visit, image_id)
        for prompt_id, visit, image_id in zip(request.prompt_ids, request.visits, image_ids, strict=True)
    ]
    return gaussian(addresses, request.shape)
