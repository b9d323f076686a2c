"""The noise that ReNoise inversion finds for an image: the second half of SmPO (arXiv 2506.02698, ICML 2025).

Mode "idea" averages two predictions at every step, the second at the new point and level, and lands exactly on level t.
Mode "code" is the authors' released loop with all its deviations, for comparison with their weights.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Literal

from accord.diffusion.inversion import invert, invert_as_smpo_code
from accord.noise.inverting import Model, noise_by_inversion
from accord.noise.request import NoiseRequest

if TYPE_CHECKING:
    from torch import Tensor


def renoise(
    request: NoiseRequest, *, mode: Literal["idea", "code"] = "idea", num_steps: int = 9, model: Model = "initial"
) -> tuple[Tensor, Tensor]:
    """Return the noise of chosen and of rejected, each (B, C, H, W) float32.

    num_steps: from the image to level t, with two predictions each; in mode "code" the points of the grid, 10 for SDXL
    and 5 for SD1.5. model: whose path; "initial" is computed once before training, "policy" is the authors' choice and
    costs its predictions at every step.
    """
    if mode == "code":
        return noise_by_inversion(request, model, partial(invert_as_smpo_code, num_steps=num_steps))
    return noise_by_inversion(request, model, partial(invert, num_steps=num_steps, correction="target"))


renoise.inverts = True  # type: ignore[attr-defined]
