"""How far the policy has moved from the model that training started from.

With a reference that moves the margin no longer shows it. In weights: `||W - W_0|| / ||W_0||`, Frobenius norms over all
layers that are trained.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from accord.train.adapters import has_adapter, trainable


class Distance:
    """The relative distance of the policy's weights from those it had when this was made, which is before training.

    For LoRA from the factors, without forming a product: `||B A||^2 = trace((B^T B) (A A^T))`. For full fine-tuning a
    copy of the weights is kept in main memory.
    """

    def __init__(self, policy: nn.Module) -> None:
        self._policy = policy
        self._start: dict[str, Tensor] = {}
        if has_adapter(policy):
            squares = [_weight(layer.get_base_layer()).square().sum() for layer in _layers(policy)]
        else:
            self._start = {name: p.detach().to("cpu", copy=True) for name, p in trainable(policy).items()}
            squares = [tensor.float().square().sum() for tensor in self._start.values()]
        self._norm = torch.stack(squares).sum().sqrt().item()

    @torch.no_grad()
    def value(self) -> float:
        """Return the distance now: 0 at the start, 0.01 where weights changed by one percent."""
        if self._start:
            current = trainable(self._policy)
            moved = [(current[n].detach().to("cpu") - start).float().square().sum() for n, start in self._start.items()]
        else:
            moved = [_squared_norm(layer) for layer in _layers(self._policy)]
        return torch.stack(moved).sum().sqrt().item() / self._norm


def _layers(policy: nn.Module) -> Iterator[LoraLayer]:
    return (module for module in policy.modules() if isinstance(module, LoraLayer))


def _squared_norm(layer: LoraLayer) -> Tensor:
    """Return the squared Frobenius norm of the layer's scaled product; a convolution's factors are flat matrices."""
    a = _weight(layer.lora_A["default"]).flatten(1)  # (r, in)
    b = _weight(layer.lora_B["default"]).flatten(1)  # (out, r)
    return layer.scaling["default"] ** 2 * ((b.T @ b) * (a @ a.T)).sum()


def _weight(layer: nn.Module) -> Tensor:
    weight = layer.weight
    assert isinstance(weight, Tensor)
    return weight.float()
