"""One draw of noise for both images of a pair.

Sharing it cancels much of the noise in the margin. Source: Diffusion-DPO (Wallace et al., arXiv 2311.12908), official
code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from accord.diffusion.noise import gaussian
from accord.noise.request import NoiseRequest
from accord.seeding import address

if TYPE_CHECKING:
    from torch import Tensor


def gaussian_shared(request: NoiseRequest) -> tuple[Tensor, Tensor]:
    """Return the noise of chosen and of rejected, each (B, C, H, W) float32 on the CPU: twice the same.

    A row depends on the seed, the prompt and the number of its visit, not on which pair of the prompt was drawn.
    """
    addresses = [
        address(request.seed, "noise", prompt_id, visit)
        for prompt_id, visit in zip(request.prompt_ids, request.visits, strict=True)
    ]
    noise = gaussian(addresses, request.shape)
    return noise, noise
