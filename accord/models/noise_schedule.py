"""What a pipeline's denoiser predicts and how much noise a timestep means, read from its scheduler."""

from __future__ import annotations

import math
from typing import Any

from accord.diffusion.predictions import Prediction
from accord.diffusion.schedules import GrowingShift, RectifiedFlow, Schedule, VariancePreserving
from accord.errors import ModelError


def read_schedule(scheduler: Any, patch: int = 1) -> tuple[Prediction, Schedule]:
    """Return the prediction type and the noise schedule of a diffusers scheduler.

    A flow-matching scheduler (or one with `prediction_type = "flow_prediction"`) gives a rectified flow with its
    timestep shift; any other gives the variance-preserving schedule of its betas. patch: latents per side of a token.
    Raises ModelError for a prediction type that no training objective here knows.
    """
    config, name = scheduler.config, type(scheduler).__name__
    prediction = config.get("prediction_type", "epsilon")
    if name.startswith("FlowMatch") or prediction == "flow_prediction":
        steps = config.get("num_train_timesteps", 1000)
        if steps != 1000:
            raise ModelError(f"a flow model's timesteps must run to 1000, but those of its {name} run to {steps}")
        return "flow", flow_schedule(config, patch)
    if not hasattr(scheduler, "alphas_cumprod") or prediction not in ("epsilon", "v_prediction"):
        raise ModelError(
            f"a model must predict epsilon, v_prediction or flow over steps that diffusers gives betas for, "
            f"but its {name} says '{prediction}': it cannot be trained here"
        )
    return prediction, VariancePreserving(scheduler.alphas_cumprod)


def flow_schedule(config: Any, patch: int) -> RectifiedFlow:
    """Return the rectified flow of a flow scheduler's configuration, with its timestep shift.

    With dynamic shifting the shift grows with the size of the latents, as it does in drawing.
    """
    if not config.get("use_dynamic_shifting"):
        return RectifiedFlow(float(config.get("flow_shift") or config.get("shift") or 1.0))
    growth = GrowingShift(
        patch=patch,
        base_tokens=int(config.get("base_image_seq_len") or 256),
        max_tokens=int(config.get("max_image_seq_len") or 4096),
        base=float(config.get("base_shift", 0.5)),
        largest=float(config.get("max_shift", 1.15)),
        is_exponential=config.get("time_shift_type", "exponential") == "exponential",
    )
    return RectifiedFlow(math.exp(growth.largest) if growth.is_exponential else growth.largest, growth)
