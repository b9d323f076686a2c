"""What a run file may say: one section per stage, each field with its type, default and meaning.

A run file is complete in itself: no includes, no inheritance, no import strings.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from accord import registry
from accord.errors import RegistryError, did_you_mean
from accord.outside import NAME, Definition, ExternalConfig, JudgeConfig
from accord.section import Choice, Positive, Section, Share


def _registered(kind: str, name: str) -> str:
    try:
        registry.check(kind, name)
    except RegistryError as error:
        raise ValueError(str(error)) from None
    return name


def _distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"'{name}' is named twice")
    return names


def _known_scorers(names: Iterable[str], defined: Mapping[str, Definition]) -> None:
    """Raise unless each name is registered, or defined by the run file itself."""
    known = [*registry.names("scorers"), *defined]
    for name in names:
        if name not in known:
            raise ValueError(f"no scorer is called '{name}'{did_you_mean(name, known)}")


class ModelConfig(Section):
    """The text-to-image model to align."""

    family: str = "world"
    path: str = Field("world:flow", description="hub id, diffusers folder, .safetensors file, or world:flow")
    revision: str | None = None
    dtype: Literal["float32", "bfloat16"] = "float32"  # float16 needs a loss scale, which no resumed run could repeat
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1, mps")
    config: str | None = Field(
        None,
        description="for a single .safetensors file: diffusers folder or hub id with its configurations and tokenizers",
    )

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
    imported: str = Field("", description="a folder that `accord import` filled: train on its images, draw none")


class ScoreConfig(Section):
    """The rewards to align with, and scorers that this run file defines itself."""

    external: dict[str, ExternalConfig] = Field({}, description="scorers in a process of their own, by name")
    judges: dict[str, JudgeConfig] = Field({}, description="scorers behind an endpoint, by name")
    scorers: tuple[str, ...] = ("world_alignment", "world_aesthetics", "world_taste")
    scales: dict[str, float] = Field({}, description="Bradley-Terry scale per scorer, instead of its card's")
    options: dict[str, dict[str, Any]] = Field(
        {}, description="options per scorer, also of those of [evaluate]: a local folder, dtype, device, convention"
    )
    batch_size: Positive = Field(64, description="images per call of a scorer")
    memory_gb: Annotated[float, Field(gt=0)] | None = Field(
        None, description="weights on one device at a time; scorers that do not fit together take turns; absent: all"
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
        if not value:
            raise ValueError("needs at least one scorer; `accord list scorers` shows them")
        _known_scorers(value, {**info.data.get("external", {}), **info.data.get("judges", {})})
        return _distinct(value)

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
    compile: bool = Field(False, description="torch.compile: minutes at the start, then faster; rounds otherwise")
    shard_weights: bool = Field(
        False, description="full fine-tuning in several processes: each holds a share of all weights (FSDP2)"
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
    uses_dora: bool = Field(False, description="LoRA that also learns the length of each row of the weights")
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
    def _distinct_held_out(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return _distinct(value)


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
    def has_latents(self) -> bool:
        """Say whether the training pool holds the sampler's latents beside the images."""
        return self.generate.keep_latents and not self.generate.imported

    @property
    def training_seed(self) -> int:
        """The seed of everything that training draws."""
        return self.seed if self.train.seed is None else self.train.seed

    @field_validator("evaluate")
    @classmethod
    def _known_scorers(cls, value: EvaluateConfig, info: ValidationInfo) -> EvaluateConfig:
        if "score" in info.data:  # else it has mistakes of its own, which are told first
            _known_scorers([*value.held_out, *filter(None, [value.checker])], info.data["score"].defined)
        return value

    @model_validator(mode="after")
    def _options_of_scorers(self) -> Config:
        used = [*self.score.scorers, *self.evaluate.held_out, *filter(None, [self.evaluate.checker])]
        for name in self.score.options:
            if name in self.score.defined:
                raise ValueError(f"score.options names '{name}', whose options stand where it is defined")
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
