"""How far the policy has moved from the model that training started from.

With a reference that moves the margin no longer shows it. In weights: `||W - W_0|| / ||W_0||`, Frobenius norms over all
layers that are trained.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from accord.train.adapters import has_adapter, trainable
from accord.train.sharding import local, sum_of_shares


class Distance:
    """The relative distance of the policy's weights from those it had when this was made, which is before training.

    For LoRA from the factors, without forming a product; for DoRA with it, a layer at a time. For full fine-tuning a
    copy of the weights is kept in main memory, and every look at the distance moves it to the policy's device, a tensor
    at a time.
    """

    def __init__(self, policy: nn.Module) -> None:
        self._policy = policy
        self._start: dict[str, Tensor] = {}
        if has_adapter(policy):
            squares = [_square(_weight(layer.get_base_layer())) for _, layer in _layers(policy)]
        else:
            self._start = {name: local(p.detach()).to("cpu", copy=True) for name, p in trainable(policy).items()}
            squares = [_square(tensor) for tensor in self._start.values()]
        self._norm = self._root_of_sum(squares)

    @torch.no_grad()
    def value(self, weights: Mapping[str, Tensor] | None = None) -> float:
        """Return the distance now: 0 at the start, 0.01 where weights changed by one percent.

        weights: others of the policy's trainable parameters by name, such as those of a moving average.
        """
        found = trainable(self._policy) if weights is None else weights
        if self._start:
            moved = [_square(local(found[n].detach()) - start.to(found[n].device)) for n, start in self._start.items()]
        else:
            moved = [_moved(layer, name, found) for name, layer in _layers(self._policy)]
        return self._root_of_sum(moved) / self._norm

    def _root_of_sum(self, squares: list[Tensor]) -> float:
        """Return the root of the sum of scalars over all processes' shares; the device is waited for once."""
        device = next(self._policy.parameters()).device
        squared = sum_of_shares(torch.stack([square.to(device) for square in squares]), self._policy)
        return sum(squared.tolist()) ** 0.5


def product_square(b: Tensor, a: Tensor) -> Tensor:
    """Return the squared Frobenius norm of LoRA's product, `||B A||^2 = trace((B^T B) (A A^T))`, a float64 scalar.

    b: (out, r) or (out, r / G, 1, 1). a: (r, in) or (r, in, h, w). At each place of its kernel a convolution's product
    is that of matrices, so the kernel's places count as inputs; with G groups, each has its own r / G rows of a.
    Sums are in float64, where the device has it: the trace is small where columns of B and rows of A nearly cancel.
    """
    precise = torch.float32 if b.device.type == "mps" else torch.float64
    inner = b.shape[1]
    groups = a.shape[0] // inner
    rows = a.detach().to(precise).reshape(groups, inner, -1)
    columns = b.detach().to(precise).reshape(groups, -1, inner)
    square = ((columns.mT @ columns) * (rows @ rows.mT)).sum()
    return square.clamp(min=0)  # a sum of squares: below 0 by rounding only


def _moved(layer: LoraLayer, name: str, found: Mapping[str, Tensor]) -> Tensor:
    """Return the squared Frobenius norm of what an adapter has changed in its layer's weights."""
    b, a = found[f"{name}.lora_B.default.weight"], found[f"{name}.lora_A.default.weight"]
    magnitude = found.get(f"{name}.lora_magnitude_vector.default.weight")
    if magnitude is None:
        return layer.scaling["default"] ** 2 * product_square(b, a)
    start = _weight(layer.get_base_layer()).float().flatten(1)
    turned = start + layer.scaling["default"] * (b.flatten(1) @ a.flatten(1))
    return _square(magnitude.reshape(-1, 1) / turned.norm(dim=1, keepdim=True) * turned - start)


def _layers(policy: nn.Module) -> Iterator[tuple[str, LoraLayer]]:
    return ((name, module) for name, module in policy.named_modules() if isinstance(module, LoraLayer))


def _weight(layer: nn.Module) -> Tensor:
    assert isinstance(layer.weight, Tensor)
    return layer.weight.detach()


def _square(tensor: Tensor) -> Tensor:
    return tensor.float().square().sum()
