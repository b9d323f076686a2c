"""Learning rates over time, as a share 0..1 of the highest one. `step` counts from 0 to `steps` - 1."""

import math


def warm_cosine(step: int, steps: int) -> float:
    """Linear rise over 100 steps, or the first tenth of a short run, then half a cosine down to 0."""
    return _rise(step, steps, 100) * 0.5 * (1.0 + math.cos(math.pi * step / steps))


def late_linear(step: int, steps: int) -> float:
    """Linear rise over 50 steps, constant, and from 40 % of the way linearly down to 0."""
    return _rise(step, steps, 50) * min(1.0, (1.0 - step / steps) / 0.6)


def _rise(step: int, steps: int, over: int) -> float:
    return min(1.0, (step + 1) / max(1, min(over, steps // 10)))
