"""What is learned from the rewards."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from accord.config.names import registered
from accord.section import Choice, Section

METHOD_KINDS = {
    "calibration": "calibrations",
    "pairs": "selectors",
    "target": "targets",
    "loss": "losses",
    "noise": "noises",
    "reference": "references",
    "weighting": "weightings",
    "timesteps": "timestep_samplings",
}
"""Field of `[method]` -> the kind of plug-in that it names."""


class MethodConfig(Section):
    """A method is five choices (pairs, target, loss, noise, reference), on calibrated rewards."""

    recipe: str = Field("", description="the recipe these choices were written from; for the reader only")
    calibration: Choice = Field(Choice(name="win_rate"), description="how scores of several scorers become comparable")
    pairs: Choice = Field(Choice(name="frontier"), description="which two images of a prompt are compared")
    target: Choice = Field(Choice(name="win_rate_gap"), description="the one number that a pair is to reach")
    loss: Choice = Field(Choice(name="squared"), description="how far the margin is from the target")
    noise: Choice = Field(Choice(name="gaussian_independent"), description="how the noisy latents of a pair are made")
    reference: Choice = Field(Choice(name="frozen"), description="what the policy is measured against")
    weighting: Choice = Field(Choice(name="uniform"), description="how much the error of each timestep counts")
    timesteps: Choice = Field(Choice(name="uniform"), description="how the timesteps of training are drawn")
    error_space: Literal["epsilon", "native"] = Field(
        "epsilon", description="errors of v and flow models: as errors of the noise, which is exact, or as they are"
    )

    @model_validator(mode="after")
    def _known_choices(self) -> MethodConfig:
        for field, kind in METHOD_KINDS.items():
            registered(kind, getattr(self, field).name)
        return self
