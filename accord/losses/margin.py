"""The margin of a pair: by how much more the policy prefers chosen over rejected than the reference does.

    paper                               here
    R_theta(x, c, t)                    reward of one image, `1/2 w_t (error of reference - error of policy)`
    D_theta = R(x+) - R(x-)             margin
    beta * D_theta                      what a loss sees, and nothing else of the model

Source: Diffusion-DPO (arXiv 2311.12908), equation 14, with errors as means over C, H, W. The half is the Gaussian
log-density's own; with it the published betas of Diffusion-DPO (2000 for SD1.5, 5000 for SDXL) carry over unchanged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from accord.errors import TrainingError
from accord.types import PairErrors

if TYPE_CHECKING:
    from torch import Tensor


def reward(reference: Tensor, policy: Tensor, weight: Tensor) -> Tensor:
    """Return the implicit reward of images, (B,): positive where the policy denoises better than the reference.

    reference, policy: (B,) mean squared errors. weight: (B,), w_t.
    """
    return 0.5 * weight * (reference - policy)


def margin(errors: PairErrors) -> Tensor:
    """Return reward of chosen minus reward of rejected, (B,), without beta. Exactly 0 where policy = reference.

    >>> import torch
    >>> one = torch.ones(1)
    >>> margin(PairErrors(0.25 * one, 0.75 * one, 0.5 * one, 0.5 * one, one))
    tensor([0.2500])
    """
    chosen = reward(errors.reference_chosen, errors.policy_chosen, errors.weight)
    return chosen - reward(errors.reference_rejected, errors.policy_rejected, errors.weight)


def check(errors: PairErrors, targets: Tensor) -> None:
    """Raise TrainingError unless errors, weights and targets are all (B,) and no narrower than float32."""
    for name, values in {**vars(errors), "targets": targets}.items():
        if values is None:
            continue
        if values.dim() != 1 or values.shape != targets.shape:
            raise TrainingError(f"a loss needs {name} of shape ({len(targets)},), found {tuple(values.shape)}")
        if not values.is_floating_point() or values.itemsize < 4:
            raise TrainingError(f"a loss needs {name} in float32, found {values.dtype}; convert before subtracting")


def metrics(errors: PairErrors, targets: Tensor, beta: float) -> dict[str, Tensor]:
    """Return what every loss reports, each (B,) and detached.

    margin: beta times the margin. accuracy: 1 where margin and target agree in sign, 0 where they differ, 1/2 where
    either is 0. reward_chosen, reward_rejected: without beta. error_chosen_rise, error_rejected_rise: error of the
    policy minus error of the reference; when both rise, training has started to harm the model. saturation: how much
    of a logistic loss's first push is gone, 0 at margin 0, 1 where the pair is wholly satisfied, below 0 where it is
    turned round. target: what the loss was given.
    """
    m = margin(errors).detach()
    aim = targets.detach()
    return {
        "margin": beta * m,
        "accuracy": 0.5 + 0.5 * m.sign() * aim.sign(),
        "reward_chosen": reward(errors.reference_chosen, errors.policy_chosen, errors.weight).detach(),
        "reward_rejected": reward(errors.reference_rejected, errors.policy_rejected, errors.weight).detach(),
        "error_chosen_rise": (errors.policy_chosen - errors.reference_chosen).detach(),
        "error_rejected_rise": (errors.policy_rejected - errors.reference_rejected).detach(),
        "saturation": (0.5 * aim * (beta * m)).tanh(),
        "target": aim,
    }
