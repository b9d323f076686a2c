"""An exponential moving average of the policy's trainable parameters, in float32.

The average of the last steps is a better model than any of them: it lies in the middle of what the optimiser's noise
circles around. For LoRA it averages the two factors, not their product.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from accord.errors import TrainingError


class Ema:
    """`average <- d * average + (1 - d) * parameter` after every step, with d = min(decay, (1 + step) / (10 + step)).

    The ramp lets the average forget the untrained parameters that it starts from.
    """

    def __init__(self, parameters: Mapping[str, Tensor], decay: float) -> None:
        self.decay = decay
        self.average = {name: tensor.detach().to(torch.float32, copy=True) for name, tensor in parameters.items()}

    def update(self, step: int, parameters: Mapping[str, Tensor]) -> None:
        """Take in the parameters after `step` optimiser steps (1 is the first)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        values = [parameters[name].detach().to(torch.float32) for name in self.average]
        torch._foreach_lerp_(list(self.average.values()), values, 1 - decay)

    def load(self, average: Mapping[str, Tensor]) -> None:
        """Put back an average read from a checkpoint."""
        if average.keys() != self.average.keys():
            raise TrainingError("the stored moving average belongs to other parameters than the policy's")
        for name, tensor in average.items():
            self.average[name].copy_(tensor)

    @contextmanager
    def in_place_of(self, parameters: Mapping[str, Tensor]) -> Iterator[None]:
        """Within the block the parameters hold the average; afterwards they hold their own values again."""
        own = {name: tensor.detach().clone() for name, tensor in parameters.items()}
        try:
            for name, tensor in parameters.items():
                tensor.data.copy_(self.average[name])
            yield
        finally:
            for name, tensor in parameters.items():
                tensor.data.copy_(own[name])
