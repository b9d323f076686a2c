"""Which rewards to align with, and how the result is judged."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, ValidationInfo, field_validator, model_validator

from accord import registry
from accord.config.names import distinct, known_scorers
from accord.errors import did_you_mean
from accord.outside import NAME, Definition, ExternalConfig, JudgeConfig
from accord.section import Positive, Section


class ScoreConfig(Section):
    """The rewards to align with, and scorers that this run file defines itself."""

    external: dict[str, ExternalConfig] = Field({}, description="scorers in a process of their own, by name")
    judges: dict[str, JudgeConfig] = Field({}, description="scorers behind an endpoint, by name")
    scorers: tuple[str, ...] = Field(
        ("world_alignment", "world_aesthetics", "world_taste"),
        description="the rewards to align with (`accord list scorers`); none: labelled pairs decide alone",
    )
    scales: dict[str, Annotated[float, Field(gt=0)]] = Field(
        {}, description="Bradley-Terry scale per scorer, above 0, instead of its card's"
    )
    options: dict[str, dict[str, Any]] = Field(
        {}, description="options per scorer, also of those of [evaluate]: a local folder, dtype, device, convention"
    )
    batch_size: Positive = Field(64, description="images per call of a scorer")
    memory_gb: Annotated[float, Field(gt=0)] | None = Field(
        None,
        description="of weights on the device at a time; scorers that do not fit together take turns, those with a "
        "`device` of their own do not count; absent: no limit",
    )

    @field_validator("external", "judges")
    @classmethod
    def _names_are_free(cls, value: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        for name in value:
            if not NAME.fullmatch(name):
                raise ValueError(f"'{name}' cannot be a scorer's name: letters, digits, dot, dash and underscore")
            if name in registry.names("scorers") or name in info.data.get("external", {}):
                raise ValueError(f"'{name}' is a scorer already; choose another name")
        return value

    @field_validator("scorers")
    @classmethod
    def _known_scorers(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        known_scorers(value, {**info.data.get("external", {}), **info.data.get("judges", {})})
        return distinct(value)

    @property
    def defined(self) -> dict[str, Definition]:
        """Scorers that the run file defines itself, by name."""
        return {**self.external, **self.judges}

    @model_validator(mode="after")
    def _scales_of_scorers(self) -> ScoreConfig:
        for name in self.scales:
            if name not in self.scorers:
                raise ValueError(
                    f"scales names '{name}', which is not among score.scorers{did_you_mean(name, self.scorers)}"
                )
        return self


class EvaluateConfig(Section):
    """Base against tuned: same prompts, same seeds, same sampler."""

    images_per_prompt: Positive = Field(2, description="images of each evaluation prompt, by each model")
    held_out: tuple[str, ...] = Field(
        ("world_heldout", "world_judge"), description="scorers that were never trained on"
    )
    checker: str = Field(
        "world_checker", description="a scorer of 0 or 1 whose mean per skill is reported; empty: none"
    )
    tie_epsilon: Annotated[float, Field(ge=0)] = Field(
        0.0, description="scores this close count as a tie, one half each"
    )
    confidence: Annotated[float, Field(gt=0, lt=1)] = Field(0.95, description="of every interval, 0.95 for 95 %")
    num_resamples: Positive = Field(10_000, description="bootstrap resamples of the prompts behind every interval")

    @field_validator("held_out")
    @classmethod
    def _distinct_held_out(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return distinct(value)
