"""One optimiser for the small models: Muon for the named hidden weights, AdamW for all others."""

import torch
from torch import Tensor, nn

from accord.world.muon import muon_direction, owners
from accord.world.parallel import add_up, rank, workers


class MixedOptimizer:
    """Steps the weights of `model`; those called in `muon_names` by Muon, the rest by AdamW.

    Each worker orthogonalises its share of the Muon weights and the steps are then exchanged, so that the weights of
    all workers stay equal.
    """

    def __init__(self, model: nn.Module, muon_names: frozenset[str], betas: tuple[float, float] = (0.9, 0.99)) -> None:
        weights = dict(model.named_parameters())
        self.hidden = {name: weight for name, weight in weights.items() if name in muon_names}
        self.others = {name: weight for name, weight in weights.items() if name not in muon_names}
        owner = owners(list(self.hidden.values()), workers())
        mine = [name for name, who in zip(self.hidden, owner, strict=True) if who == rank()]
        self.momentum = {name: torch.zeros_like(self.hidden[name]) for name in mine}
        self.adamw = torch.optim.AdamW(list(self.others.values()), lr=0.0, betas=betas, weight_decay=0.0, foreach=True)

    @torch.no_grad()
    def step(self, muon_lr: float, adamw_lr: float) -> None:
        """Apply the present gradients, which must be the same on all workers."""
        steps = {}
        for name, weight in self.hidden.items():
            assert weight.grad is not None
            mine = name in self.momentum
            steps[name] = muon_direction(weight.grad, self.momentum[name]) if mine else torch.zeros_like(weight)
        if steps:
            add_up(list(steps.values()))
            torch._foreach_add_(list(self.hidden.values()), list(steps.values()), alpha=-muon_lr)
        for group in self.adamw.param_groups:
            group["lr"] = adamw_lr
        self.adamw.step()

    def state(self) -> dict[str, Tensor]:
        """Everything needed to go on exactly, by name; differs between workers."""
        tensors = {f"muon/{name}": momentum for name, momentum in self.momentum.items()}
        for name, weight in self.others.items():
            for key, value in self.adamw.state[weight].items():
                tensors[f"adamw/{key}/{name}"] = value
        return tensors

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Go on from what `state` returned in a run with the same number of workers."""
        for name, momentum in self.momentum.items():
            momentum.copy_(tensors[f"muon/{name}"])
        for name, weight in self.others.items():
            saved = {key: tensors[f"adamw/{key}/{name}"] for key in ("step", "exp_avg", "exp_avg_sq")}
            like = {key: torch.empty_like(weight) for key in ("exp_avg", "exp_avg_sq")}  # the weight's memory order
            self.adamw.state[weight] = {"step": saved["step"], **{key: like[key].copy_(saved[key]) for key in like}}
