"""A safeguard for the preferred image: what a step does to the rejected one must not make the chosen one worse.

Preference losses push the error of the rejected image up. Where the two images' gradients point the same way, this
pushes the error of the chosen image up too, and a growing margin hides it. Diffusion-SDPO (arXiv 2511.03317) scales the
gradient of the rejected image down just so far that, to first order, the error of the chosen one does not rise.

    g_w, g_l   gradients of the two errors with respect to the predictions: 2 residual / (C H W)
    a step against  g_w - lambda g_l  changes err_w by  -(<g_w, g_w> - lambda <g_w, g_l>)
    which is at most  -mu <g_w, g_w>  for  lambda <= (1 - mu) <g_w, g_w> / <g_w, g_l>,
    or for any lambda up to 1 where <g_w, g_l> is not above 0

    here                                the authors' code
    scale of the gradient               lambda, at most 1
    strength                            1 / (1 - mu):  1 is mu 0, 2.5 is mu 0.6 (theirs for SDXL), 10 is mu 0.9 (SD1.5)
    one scale for each pair             one for all pairs of a device's micro-batch
    logistic, squared, hinge            Diffusion-DPO (logistic), DSPO, DMPO

The inner products are taken between predictions, not between parameters, which costs nothing; they stand for those of
the parameters as far as the two images share their way through the network.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from accord.errors import TrainingError
from accord.types import PairErrors

if TYPE_CHECKING:
    from torch import Tensor


def guarded(errors: PairErrors, targets: Tensor, strength: float) -> PairErrors:
    """Return the same errors, with the gradient of the less preferred image scaled by at most 1, pair by pair.

    strength: 0 leaves everything as it is; 1 keeps the first-order change of the preferred image's error at or below 0;
    above 1 keeps it falling, by scaling to 1/strength of the largest safe factor; between 0 and 1 lets it rise a
    little. Valid for losses that push with equal force at both images, as those of the margin do.
    Raises TrainingError if the product of the residuals is not known, or the strength is below 0.
    """
    if strength == 0:
        return errors
    if strength < 0:
        raise TrainingError(f"safeguard must be 0 (off) or above, not {strength}")
    if errors.residual_product is None:
        raise TrainingError("the safeguard needs the product of the two images' residuals, which this trainer has not")
    turn = targets < 0
    preferred = errors.policy_rejected.where(turn, errors.policy_chosen)
    scale = safe_scale(preferred.detach(), errors.residual_product, strength)
    return replace(
        errors,
        policy_chosen=_scaled(errors.policy_chosen, scale.where(turn, 1.0)),
        policy_rejected=_scaled(errors.policy_rejected, (~turn).float() * scale + turn.float()),
    )


def safe_scale(preferred_error: Tensor, product: Tensor, strength: float = 1.0) -> Tensor:
    """Return the factor of the less preferred image's gradient, (B,) in [0, 1]; 0 where the preferred error is 0.

    preferred_error: (B,), mean square of the preferred image's residual. product: (B,), mean product of both residuals.

    >>> import torch
    >>> safe_scale(torch.tensor([0.5, 0.5, 0.5]), torch.tensor([-1.0, 0.25, 1.0]))
    tensor([1.0000, 1.0000, 0.5000])
    """
    import torch

    limit = preferred_error / (strength * product.clamp_min(torch.finfo(product.dtype).tiny))
    return torch.where(product > 0, limit.clamp(max=1.0), torch.ones_like(limit))


def _scaled(error: Tensor, scale: Tensor) -> Tensor:
    """Return the error, its gradient multiplied by the scale."""
    return error.detach() + scale * (error - error.detach())
