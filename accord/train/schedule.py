"""The learning rate as a function of the step: nothing to save, nothing to restore."""

from __future__ import annotations

import math
from collections.abc import Callable

from accord.train.settings import TrainSettings

DECAYS: dict[str, Callable[[float], float]] = {
    "constant": lambda progress: 1.0,
    "linear": lambda progress: 1.0 - progress,
    "cosine": lambda progress: 0.5 * (1.0 + math.cos(math.pi * progress)),
}


def learning_rate(step: int, settings: TrainSettings) -> float:
    """Return the learning rate of optimiser step `step` (0 is the first).

    It rises linearly over `warmup_steps` steps to its peak, then follows `decay` towards 0, which it would reach one
    step after the last: no step is spent at rate 0.
    """
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    progress = (step - settings.warmup_steps) / (settings.steps - settings.warmup_steps)
    return settings.learning_rate * DECAYS[settings.decay](progress)
