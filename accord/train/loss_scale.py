"""What keeps the gradients of float16 weights from rounding to 0: the loss is multiplied, the gradients divided again.

float16 has nothing between 0 and 6e-8, where many gradients of activations lie, and ends at 65504, so the scale must
not be too large. Source: Micikevicius et al., arXiv 1710.03740, section 3.2, with the constants of torch's GradScaler.
That one leaves out a step whose gradients overflow. Here a step is an address, so the same step is made again with half
the scale: none is skipped, and a resumed run does what an uninterrupted one does. Scales are powers of two: scaling
rounds nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn

GROW_AFTER = 2000  # good steps in a row


@dataclass
class LossScale:
    """The scale of the next backward pass; 1 for weights that are not float16, and then for ever."""

    is_needed: bool
    value: float = 1.0
    good_steps: int = 0  # since the value last changed

    @classmethod
    def of(cls, policy: nn.Module) -> LossScale:
        """Return the scale that training of this policy begins with."""
        is_needed = any(parameter.dtype is torch.float16 for parameter in policy.parameters())
        return cls(is_needed, 2.0**16 if is_needed else 1.0)

    @torch.no_grad()
    def undo(self, parameters: Iterable[nn.Parameter]) -> None:
        """Divide the gradients by the scale."""
        if self.value != 1:
            torch._foreach_mul_([p.grad for p in parameters if p.grad is not None], 1 / self.value)

    def was_too_large(self, loss: float, gradient_norm: float) -> bool:
        """Say whether the step should be made again: a finite loss has no finite gradient. The scale is then halved.

        False at scale 1, where scaling is not the reason.
        """
        if self.value == 1 or not math.isfinite(loss) or math.isfinite(gradient_norm):
            return False
        self.value, self.good_steps = self.value / 2, 0
        return True

    def after_step(self) -> None:
        """Take note of a good step; after GROW_AFTER of them the scale doubles."""
        self.good_steps += 1
        if self.is_needed and self.good_steps == GROW_AFTER:
            self.value, self.good_steps = self.value * 2, 0
