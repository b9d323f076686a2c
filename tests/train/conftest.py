"""A small preference problem: ten prompts, a denoiser of three layers, latents drawn from addresses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor, nn

from accord.diffusion.schedules import RectifiedFlow
from accord.diffusion.timesteps import uniform
from accord.diffusion.weighting import uniform as unweighted
from accord.losses.squared import squared
from accord.noise.gaussian_independent import gaussian_independent
from accord.seeding import address
from accord.train.data import PairData, PairTable
from accord.train.loop import train
from accord.train.method import Method
from accord.train.reference import Frozen
from accord.train.settings import AdapterSettings, TrainSettings
from accord.train.state import TrainState, begin
from accord.types import StepLog

SHAPE, WIDTH = (4, 3, 3), 6
METHOD = Method(squared, gaussian_independent, unweighted, uniform, Frozen)
SETTINGS = TrainSettings(steps=12, batch_size=4, beta=20.0, learning_rate=1e-2, warmup_steps=3, ema_decay=0.9, seed=7)


class SmallDenoiser(nn.Module):
    """Acts on every pixel's channels, told the timestep and the text."""

    def __init__(self, dropout: float = 0.0, hidden: int = 16) -> None:
        super().__init__()
        self.told = nn.Linear(WIDTH + 1, hidden)
        self.inner = nn.Linear(SHAPE[0], hidden)
        self.outer = nn.Conv2d(hidden, SHAPE[0], 3, padding=1)
        self.to(memory_format=torch.channels_last)  # as UNets are on the CPU
        self.dropout = nn.Dropout(dropout)

    def forward(self, latents: Tensor, timesteps: Tensor, text: Tensor) -> Tensor:
        told = self.told(torch.cat([text, timesteps[:, None] / 1000], dim=1))
        hidden = torch.tanh(self.inner(latents.movedim(1, -1)) + told[:, None, None])
        return self.outer(self.dropout(hidden).movedim(-1, 1))


@dataclass
class SmallModel:
    """As much of a DiffusionModel as training needs."""

    denoiser: nn.Module
    prediction: str = "flow"
    schedule: Any = field(default_factory=RectifiedFlow)
    lora_targets: tuple[str, ...] = ("inner", "outer", "told")
    calls: list[int] = field(default_factory=list)  # the batch size of every prediction

    def predict(self, denoiser: nn.Module, latents: Tensor, timesteps: Tensor, conditioning: Any) -> Tensor:
        self.calls.append(len(latents))
        return denoiser(latents, timesteps, conditioning["prompt_embeds"]).float()


def drawn(identity: str, shape: tuple[int, ...]) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(address(0, identity)))


class DrawnLatents:
    """Latents drawn from the image's id; image k of a prompt is brighter the smaller k is."""

    def get(self, ids: Sequence[str]) -> Tensor:
        return torch.stack([drawn(i, SHAPE) + 1.5 - int(i.split("-")[1]) for i in ids])


class DrawnText:
    """Conditioning drawn from the prompt's id."""

    def get(self, ids: Sequence[str]) -> dict[str, Tensor]:
        return {"prompt_embeds": torch.stack([drawn(i, (WIDTH,)) for i in ids])}


@dataclass
class Run:
    """Everything that `train` is given; `begin` and `train` are those of accord with it filled in."""

    model: SmallModel
    data: PairData
    settings: TrainSettings
    adapter: AdapterSettings
    accelerator: Accelerator
    method: Method = METHOD

    def begin(self) -> TrainState:
        return begin(self.model, self.method, self.settings, self.adapter, self.accelerator)

    def train(self, state: TrainState) -> Any:
        return train(self.model, self.method, self.data, state, self.settings, self.accelerator)

    def logs(self) -> list[StepLog]:
        return list(self.train(self.begin()))


def table(num_prompts: int = 10, pairs_per_prompt: int = 3) -> PairTable:
    """Return a table in which prompt p has images p-0, p-1, ... and targets from .1 to .9."""
    rows = [(p, k) for p in range(num_prompts) for k in range(pairs_per_prompt)]
    return PairTable(
        tuple(f"p{p}" for p, _ in rows),
        tuple(f"p{p}-{k}" for p, k in rows),
        tuple(f"p{p}-{k + 1}" for p, k in rows),
        np.linspace(0.1, 0.9, len(rows)),
    )


@pytest.fixture
def make_table() -> Callable[..., PairTable]:
    return table


def make(
    mode: Any = "lora",
    dropout: float = 0.0,
    method: Method = METHOD,
    precision: str = "no",
    hidden: int = 16,
    **settings: Any,
) -> Run:
    """Return a run of the small problem, with other settings by keyword."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = SmallModel(SmallDenoiser(dropout, hidden))
    data = PairData(table(), DrawnLatents(), DrawnText())
    AcceleratorState._reset_state(reset_partial_state=True)  # accelerate keeps one precision per process
    accelerator = Accelerator(cpu=True, mixed_precision=precision)
    return Run(model, data, replace(SETTINGS, **settings), AdapterSettings(mode, 2, 4.0), accelerator, method)


@pytest.fixture
def make_run() -> Callable[..., Run]:
    return make


@pytest.fixture
def method() -> Method:
    return METHOD
