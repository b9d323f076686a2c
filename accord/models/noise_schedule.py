"""What a pipeline's denoiser predicts and how much noise a timestep means, read from its scheduler."""

from __future__ import annotations

import math
from typing import Any

from accord.diffusion.predictions import Prediction
from accord.diffusion.schedules import RectifiedFlow, Schedule, VariancePreserving
from accord.errors import ModelError


def read_schedule(scheduler: Any) -> tuple[Prediction, Schedule]:
    """Return the prediction type and the noise schedule of a diffusers scheduler.

    A flow-matching scheduler (or one with `prediction_type = "flow_prediction"`) gives a rectified flow with its
    timestep shift; any other gives the variance-preserving schedule of its betas.
    Raises ModelError for a prediction type that no training objective here knows.
    """
    config, name = scheduler.config, type(scheduler).__name__
    prediction = config.get("prediction_type", "epsilon")
    if name.startswith("FlowMatch") or prediction == "flow_prediction":
        steps = config.get("num_train_timesteps", 1000)
        if steps != 1000:
            raise ModelError(f"a flow model's timesteps must run to 1000, but those of its {name} run to {steps}")
        return "flow", RectifiedFlow(flow_shift(config))
    if not hasattr(scheduler, "alphas_cumprod") or prediction not in ("epsilon", "v_prediction"):
        raise ModelError(
            f"a model must predict epsilon, v_prediction or flow over steps that diffusers gives betas for, "
            f"but its {name} says '{prediction}': it cannot be trained here"
        )
    return prediction, VariancePreserving(scheduler.alphas_cumprod)


def flow_shift(config: Any) -> float:
    """Return the timestep shift of a flow scheduler's configuration.

    With dynamic shifting the shift depends on the image's size; the one of the largest size of the configuration
    (1024 pixels for FLUX) is taken, exp(max_shift), the worst case for how much noise hides the layout.
    """
    if config.get("use_dynamic_shifting"):
        largest = float(config.get("max_shift", 1.15))
        return math.exp(largest) if config.get("time_shift_type", "exponential") == "exponential" else largest
    return float(config.get("flow_shift") or config.get("shift") or 1.0)
