"""What a run file may say: one section per stage, each field with its type, default and meaning.

A run file is complete in itself: no includes, no inheritance, no import strings.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_serializer, model_validator

from accord import registry
from accord.errors import RegistryError, did_you_mean

Positive = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, lt=1)]


def _registered(kind: str, name: str) -> str:
    try:
        registry.check(kind, name)
    except RegistryError as error:
        raise ValueError(str(error)) from None
    return name


def _distinct_scorers(names: tuple[str, ...], at_least_one: bool) -> tuple[str, ...]:
    if at_least_one and not names:
        raise ValueError("needs at least one scorer; `accord list scorers` shows them")
    for name in names:
        _registered("scorers", name)
        if names.count(name) > 1:
            raise ValueError(f"'{name}' is named twice")
    return names


class Section(BaseModel):
    """A section of the run file: unknown keys are refused, and nothing changes after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Choice(Section):
    """A named plug-in with its options: `"frozen"`, or `{ name = "ema", decay = 0.99 }`."""

    name: str
    options: dict[str, Any] = {}

    @model_validator(mode="before")
    @classmethod
    def _from_short_form(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"name": value}
        if isinstance(value, dict) and "options" not in value and "name" in value:
            return {"name": value["name"], "options": {k: v for k, v in value.items() if k != "name"}}
        return value

    @model_serializer
    def _to_short_form(self) -> Any:
        return {"name": self.name, **self.options} if self.options else self.name


class ModelConfig(Section):
    """The text-to-image model to align."""

    family: str = "world"
    path: str = Field("world:flow", description="hub id, local diffusers folder, or world:flow for the embedded world")
    revision: str | None = None
    dtype: Literal["float32", "bfloat16"] = "float32"  # float16 needs a loss scale, which no resumed run could repeat
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1, mps")

    @field_validator("family")
    @classmethod
    def _known_family(cls, value: str) -> str:
        return _registered("families", value)


class PromptsConfig(Section):
    """`world:train`, or a file: .txt with one prompt a line, or .csv, .jsonl or .parquet with a column text."""

    train: str = "world:train"
    evaluate: str = "world:evaluate"
    num_train: Positive | None = Field(None, description="use the first so many prompts; all if absent")
    num_evaluate: Positive | None = None


class GenerateConfig(Section):
    """How images are drawn. The same settings draw the training pool and the evaluation images."""

    images_per_prompt: Positive = 16
    num_inference_steps: Positive = 12
    guidance_scale: Annotated[float, Field(ge=0)] = 3.0
    height: Positive = 32
    width: Positive = 32
    negative_prompt: str = ""
    batch_size: Positive = Field(32, description="images per call of the model")
    images_per_shard: Positive = Field(
        64, description="the unit that a killed run may lose; whole prompts, at least one"
    )
    image_format: Literal["png", "jpeg", "webp"] = "png"
    keep_latents: bool = Field(True, description="store the sampler's final latents, so that training needs no VAE")


class ScoreConfig(Section):
    """The rewards to align with."""

    scorers: tuple[str, ...] = ("world_alignment", "world_aesthetics", "world_taste")
    scales: dict[str, float] = Field({}, description="Bradley-Terry scale per scorer, instead of its card's")
    options: dict[str, dict[str, Any]] = Field(
        {}, description="options per scorer, also of those of [evaluate]: a local folder, dtype, device, convention"
    )
    batch_size: Positive = Field(64, description="images per call of a scorer")
    memory_gb: Annotated[float, Field(gt=0)] | None = Field(
        None, description="weights on one device at a time; scorers that do not fit together take turns; absent: all"
    )

    @field_validator("scorers")
    @classmethod
    def _known_scorers(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return _distinct_scorers(value, at_least_one=True)

    @model_validator(mode="after")
    def _scales_of_scorers(self) -> ScoreConfig:
        for name in self.scales:
            if name not in self.scorers:
                raise ValueError(
                    f"scales names '{name}', which is not among score.scorers{did_you_mean(name, self.scorers)}"
                )
        return self


class MethodConfig(Section):
    """A method is five choices (pairs, target, loss, noise, reference), on calibrated rewards."""

    recipe: str = Field("", description="the recipe these choices were written from; for the reader only")
    calibration: Choice = Choice(name="win_rate")
    pairs: Choice = Choice(name="frontier")
    target: Choice = Choice(name="win_rate_gap")
    loss: Choice = Choice(name="squared")
    noise: Choice = Choice(name="gaussian_independent")
    reference: Choice = Choice(name="frozen")
    weighting: Choice = Choice(name="uniform")
    timesteps: Choice = Choice(name="uniform")
    error_space: Literal["epsilon", "native"] = "epsilon"

    @model_validator(mode="after")
    def _known_choices(self) -> MethodConfig:
        for field, kind in METHOD_KINDS.items():
            _registered(kind, getattr(self, field).name)
        return self


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


class TrainConfig(Section):
    """The optimisation."""

    steps: Positive = 200
    batch_size: Positive = Field(16, description="pairs per optimiser step, over all processes")
    gradient_accumulation: Positive = Field(1, description="forward passes per optimiser step")
    beta: Annotated[float, Field(gt=0)] = 100.0
    learning_rate: Annotated[float, Field(gt=0)] = 1e-4
    warmup_steps: Annotated[int, Field(ge=0)] = 10
    decay: Literal["constant", "linear", "cosine"] = "linear"
    optimizer: Literal["adamw", "adamw8bit"] = "adamw"
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    ema_decay: Share = Field(0.0, description="0: no moving average of the policy")
    cache_reference: bool = Field(
        False, description="compute the frozen reference's errors once, before training, which then asks no reference"
    )
    checkpoint_every: Positive = 50
    seed: Annotated[int, Field(ge=0)] | None = Field(
        None, description="of the order of pairs, timesteps, noise and adapter; the run's seed if absent"
    )

    @model_validator(mode="after")
    def _batch_divides(self) -> TrainConfig:
        if self.batch_size % self.gradient_accumulation:
            raise ValueError(
                f"batch_size {self.batch_size} is not a multiple of gradient_accumulation {self.gradient_accumulation}"
            )
        return self


class AdapterConfig(Section):
    """What is trained: a LoRA beside the frozen denoiser, or the whole denoiser."""

    mode: Literal["lora", "full"] = "lora"
    rank: Positive = 16
    alpha: Annotated[float, Field(gt=0)] = 16.0
    targets: tuple[str, ...] = Field((), description="module names; empty: the family's own")
    uses_gradient_checkpointing: bool = Field(False, description="compute activations twice: slower, far less memory")


class LogConfig(Section):
    """Where training is recorded besides train/log.jsonl."""

    trackers: tuple[Literal["tensorboard", "wandb"], ...] = ("tensorboard",)
    every: Positive = 1


class EvaluateConfig(Section):
    """Base against tuned: same prompts, same seeds, same sampler."""

    images_per_prompt: Positive = 2
    held_out: tuple[str, ...] = Field(
        ("world_heldout", "world_judge"), description="scorers that were never trained on"
    )
    checker: str = Field(
        "world_checker", description="a scorer of 0 or 1 whose mean per skill is reported; empty: none"
    )
    tie_epsilon: Annotated[float, Field(ge=0)] = Field(
        0.0, description="scores this close count as a tie, one half each"
    )
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95
    num_resamples: Positive = 10_000

    @field_validator("held_out")
    @classmethod
    def _known_held_out(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return _distinct_scorers(value, at_least_one=False)

    @field_validator("checker")
    @classmethod
    def _known_checker(cls, value: str) -> str:
        return _registered("scorers", value) if value else value


class ReportConfig(Section):
    """The page."""

    title: str = "Aligned with several rewards"
    num_prompts_shown: Positive = 12
    num_groups_drawn: Positive = 3


class EngineConfig(Section):
    """Where generation and scoring run."""

    workers: Annotated[int, Field(ge=0)] = Field(
        0, description="processes; 0: one per GPU, or one per CPU core up to 4"
    )


class Config(Section):
    """A whole run."""

    folder: str = Field("runs/world", description="everything the run reads and writes; relative to where you stand")
    seed: Annotated[int, Field(ge=0)] = 0
    model: ModelConfig = ModelConfig()
    prompts: PromptsConfig = PromptsConfig()
    generate: GenerateConfig = GenerateConfig()
    score: ScoreConfig = ScoreConfig()
    method: MethodConfig = MethodConfig()
    train: TrainConfig = TrainConfig()
    adapter: AdapterConfig = AdapterConfig()
    log: LogConfig = LogConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    report: ReportConfig = ReportConfig()
    engine: EngineConfig = EngineConfig()

    @property
    def training_seed(self) -> int:
        """The seed of everything that training draws."""
        return self.seed if self.train.seed is None else self.train.seed

    @model_validator(mode="after")
    def _options_of_scorers(self) -> Config:
        used = [*self.score.scorers, *self.evaluate.held_out, *filter(None, [self.evaluate.checker])]
        for name in self.score.options:
            if name not in used:
                raise ValueError(f"score.options names '{name}', which this run does not use{did_you_mean(name, used)}")
        return self

    @model_validator(mode="after")
    def _held_out_is_held_out(self) -> Config:
        both = sorted(set(self.score.scorers) & set(self.evaluate.held_out))
        if both:
            raise ValueError(
                f"{both[0]} is in score.scorers and in evaluate.held_out: a reward trained on is not held out"
            )
        return self
