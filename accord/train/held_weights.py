"""A second set of the policy's trainable weights: for LoRA a second adapter of a few megabytes, else a copy of all.

The set is kept outside the module and takes its parameters' place for a forward pass, so nothing of it can be trained,
exported, averaged or exchanged between processes, and both are computed by the same kernels: equal weights give equal
predictions, bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from accord.errors import TrainingError
from accord.train.adapters import trainable


class HeldWeights:
    """Weights that can take the policy's place for a forward pass."""

    def __init__(self, policy: nn.Module) -> None:
        self.policy = policy
        self.weights = {name: parameter.detach().clone() for name, parameter in trainable(policy).items()}

    @torch.no_grad()
    def follow(self, policy: nn.Module, share: float = 1.0) -> None:
        """Move this share of the way to the policy's weights; 1 makes them equal, bit for bit."""
        current: list[Tensor] = list(trainable(policy).values())
        held = list(self.weights.values())
        if share == 1:
            torch._foreach_copy_(held, current)
        else:
            torch._foreach_lerp_(held, current, share)

    @contextmanager
    def in_place(self) -> Iterator[nn.Module]:
        """Give the policy's module with these weights; its own are back afterwards. No gradient is recorded inside."""
        current = trainable(self.policy)
        own = {name: parameter.data for name, parameter in current.items()}
        try:
            for name, parameter in current.items():
                parameter.data = self.weights[name]
            with torch.no_grad():
                yield self.policy
        finally:
            for name, parameter in current.items():
                parameter.data = own[name]

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Put back weights read from a checkpoint. Raises TrainingError if they are another policy's."""
        if weights.keys() != self.weights.keys():
            raise TrainingError("the stored reference belongs to other parameters than the policy's")
        for name, tensor in weights.items():
            self.weights[name].copy_(tensor)
