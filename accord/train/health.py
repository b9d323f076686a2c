"""What a step's log says besides the loss: which image moves the policy, and at which noise something is learned."""

from __future__ import annotations

import torch
from torch import Tensor

from accord.types import LossOutput, PairErrors

NUM_BINS = 5
"""Equal parts of the schedule, from little noise to much; each has a fifth of the schedule, not of the visits."""

BINNED = (
    "margin",
    "accuracy",
    "error_chosen_rise",
    "error_rejected_rise",
    "saturation",
    "gradient_chosen",
    "gradient_rejected",
)
"""What is kept for each part of the schedule: of what every loss reports and `gradient_sizes` adds."""


def gradient_sizes(errors: PairErrors, output: LossOutput) -> dict[str, Tensor]:
    """Return how hard the loss pulls at the prediction of each image, (B,) each: `gradient_chosen`,
    `gradient_rejected`. Zero where the loss does not read an image's error, never NaN for finite errors.

    The gradient of an error with respect to the prediction is `2 residual / (C H W)`, so its size goes with the root
    of the error; the loss scales it by its own derivative, beta included. Their share is what to read, not their
    size. The graph, which from loss to errors is tiny, is kept for the backward pass.
    """
    both = (errors.policy_chosen, errors.policy_rejected)
    found: tuple[Tensor | None, ...] = (None, None)
    if output.per_pair.requires_grad:
        found = torch.autograd.grad(output.per_pair.sum(), both, retain_graph=True, allow_unused=True)
    sizes = [
        torch.zeros_like(error) if slope is None else slope.abs() * error.detach().sqrt()
        for slope, error in zip(found, both, strict=True)
    ]
    return {"gradient_chosen": sizes[0].detach(), "gradient_rejected": sizes[1].detach()}


def by_noise(metrics: dict[str, Tensor], fractions: Tensor) -> Tensor:
    """Return count and sums of the binned metrics for each part of the schedule, (1 + len(BINNED), NUM_BINS).

    metrics: each (B,). fractions: (B,) places of the pairs' timesteps in the schedule, in (0, 1).
    """
    place = (fractions * NUM_BINS).long().clamp_(0, NUM_BINS - 1)  # where they were drawn: not all devices have float64
    belongs = torch.nn.functional.one_hot(place, NUM_BINS).to(metrics["margin"].device, torch.float32)  # (B, NUM_BINS)
    rows = [torch.ones_like(metrics["margin"]), *(metrics[name] for name in BINNED)]
    return torch.stack(rows).float() @ belongs
