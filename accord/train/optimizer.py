"""Optimisers by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

from accord.errors import MissingDependency, TrainingError, did_you_mean
from accord.train.settings import TrainSettings

FUSED_ON = ("cpu", "cuda")  # where torch has a fused AdamW: one kernel for all parameters


def adamw(parameters: Sequence[nn.Parameter], settings: TrainSettings) -> torch.optim.Optimizer:
    """Return AdamW, fused where torch has it."""
    fused = all(parameter.device.type in FUSED_ON for parameter in parameters)
    return torch.optim.AdamW(
        parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True if fused else None
    )


def adamw8bit(parameters: Sequence[nn.Parameter], settings: TrainSettings) -> torch.optim.Optimizer:
    """Return AdamW with 8-bit moments: a quarter of the memory of the optimiser's state."""
    try:
        from bitsandbytes.optim import AdamW8bit
    except ModuleNotFoundError as error:
        raise MissingDependency("optimizer 'adamw8bit' needs bitsandbytes: pip install bitsandbytes") from error
    return AdamW8bit(parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay)


OPTIMIZERS: dict[str, Callable[[Sequence[nn.Parameter], TrainSettings], torch.optim.Optimizer]] = {
    "adamw": adamw,
    "adamw8bit": adamw8bit,
}


def make_optimizer(parameters: Sequence[nn.Parameter], settings: TrainSettings) -> torch.optim.Optimizer:
    """Return the optimiser that the settings name, over these parameters."""
    if settings.optimizer not in OPTIMIZERS:
        raise TrainingError(
            f"no optimizer is called '{settings.optimizer}'{did_you_mean(settings.optimizer, OPTIMIZERS)}"
        )
    return OPTIMIZERS[settings.optimizer](parameters, settings)
