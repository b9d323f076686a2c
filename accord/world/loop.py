"""The training loop that the VAE and the denoiser of the world share."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from accord.errors import TrainingError
from accord.world.checkpoint import Mark, load_checkpoint, save_checkpoint
from accord.world.optimizer import MixedOptimizer
from accord.world.parallel import add_up, average_gradients, rank, workers


@dataclass(frozen=True)
class Recipe:
    """How to train. `rate` maps (step, steps) to the share 0..1 of the two highest learning rates."""

    steps: int
    batch: int  # examples per worker and step
    adamw_lr: float
    rate: Callable[[int, int], float]
    ema: float  # decay of the moving average of the weights
    muon_lr: float = 0.0
    log_every: int = 20  # steps
    save_every: int = 200  # steps, a multiple of log_every

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 1 or self.save_every % self.log_every:
            raise TrainingError(f"steps and batch must be positive and save_every a multiple of log_every: {self}")


@dataclass(frozen=True)
class StepLog:
    """One line of a curve: means over the steps since the last one."""

    step: int
    samples: int
    seconds: float
    loss: float
    lr: float  # the share of the highest learning rate, 0..1


class Average:
    """Exponential moving average of the weights of `model`; young averages forget faster."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.live = dict(model.named_parameters())
        self.kept = {name: weight.detach().clone() for name, weight in self.live.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        keep = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self.kept.values()), [w.detach() for w in self.live.values()], 1.0 - keep)

    @torch.no_grad()
    def put_into_model(self) -> None:
        for name, weight in self.live.items():
            weight.copy_(self.kept[name])


def training_steps(
    model: nn.Module, loss_at: Callable[[int], Tensor], recipe: Recipe, folder: Path, muon_names: frozenset[str]
) -> Iterator[StepLog]:
    """Train `model`, yield one StepLog every `log_every` steps, and leave the averaged weights in the model.

    `loss_at(step)` is the mean loss of this worker's batch; its randomness must depend on the step and the worker
    only. A folder with a checkpoint goes on from there, to the same weights as an uninterrupted run.
    """
    optimizer, average = MixedOptimizer(model, muon_names), Average(model, recipe.ema)
    begun = _restore(model, optimizer, average, folder)
    clock = time.monotonic() - begun.seconds
    weights = list(model.parameters())
    losses = torch.zeros(())
    for step in range(begun.step, recipe.steps):
        loss = loss_at(step)
        loss.backward()
        average_gradients(weights)
        nn.utils.clip_grad_norm_(weights, 1.0)
        rate = recipe.rate(step, recipe.steps)
        optimizer.step(muon_lr=recipe.muon_lr * rate, adamw_lr=recipe.adamw_lr * rate)
        model.zero_grad(set_to_none=True)
        average.update(step)
        losses += loss.detach()
        done = step + 1
        if done % recipe.log_every == 0:
            add_up([losses])
            value = float(losses) / workers() / recipe.log_every
            if not value < float("inf"):
                raise TrainingError(f"the loss became {value} at step {done}; lower the learning rate")
            losses.zero_()
            yield StepLog(done, done * recipe.batch * workers(), round(time.monotonic() - clock, 2), value, rate)
        if done % recipe.save_every == 0 or done == recipe.steps:
            save_checkpoint(folder, Mark(done, time.monotonic() - clock), _tensors(model, optimizer, average))
    average.put_into_model()


def _tensors(model: nn.Module, optimizer: MixedOptimizer, average: Average) -> dict[str, Tensor]:
    return {
        **{f"weight/{name}": weight.detach() for name, weight in model.named_parameters()},
        **{f"average/{name}": weight for name, weight in average.kept.items()},
        **optimizer.state(),
    }


@torch.no_grad()
def _restore(model: nn.Module, optimizer: MixedOptimizer, average: Average, folder: Path) -> Mark:
    found = load_checkpoint(folder)
    if found is None:
        return Mark(0, 0.0)
    mark, tensors = found
    for name, weight in model.named_parameters():
        weight.copy_(tensors[f"weight/{name}"])
        average.kept[name].copy_(tensors[f"average/{name}"])
    optimizer.load(tensors)
    return mark


def write_curve(logs: Iterator[StepLog], file: Path, say: Callable[[str], None]) -> None:
    """Append `logs` to `file` as JSON lines on the first worker; later lines of a broken-off run are replaced."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    for log in logs:  # on every worker: asking for the next line is what trains
        if rank() == 0:
            lines = [line for line in lines if json.loads(line)["step"] < log.step]
            lines.append(json.dumps(asdict(log)))
            part = file.with_suffix(".part")
            part.write_text("\n".join(lines) + "\n", encoding="utf-8")
            part.rename(file)
            say(f"{file.stem} step {log.step} samples {log.samples} {log.seconds:.0f} s loss {log.loss:.4f}")
