"""The noise that each image was drawn from: known for images of our own, because their seeds are stored.

Noise-tracked pairs (PNAPO, arXiv 2605.09433): with its own noise an image lies on the line to where it came from. It
costs nothing: no inversion, no further call of a denoiser. Rectified flow: `x_t = (1 - t) x_0 + t noise`; the same with
the schedule's alpha and sigma for models that were sampled deterministically. How the paper adapts beta to the gap of
rewards is not known to us.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from accord.errors import TrainingError
from accord.noise.request import NoiseRequest

if TYPE_CHECKING:
    from torch import Tensor

NO_PRIOR = (
    'noise "prior" needs images that were drawn here, whose starting noise is known, but these were imported; '
    'use another noise (method.noise = "renoise", "gaussian_shared", ...)'
)


def prior(request: NoiseRequest) -> tuple[Tensor, Tensor]:
    """Return the prior noise of chosen and of rejected, each (B, C, H, W) float32: the same at every visit.

    Raises TrainingError for images that were not drawn by this run.
    """
    if request.prior is None:
        raise TrainingError(NO_PRIOR)
    return request.prior(request.chosen_ids), request.prior(request.rejected_ids)


prior.needs_prior = True  # type: ignore[attr-defined]
