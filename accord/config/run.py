"""A whole run: all sections, and what must agree between them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator, model_validator

from accord import registry
from accord.config.drawing import GenerateConfig, ModelConfig, PromptsConfig
from accord.config.method import METHOD_KINDS, MethodConfig
from accord.config.names import known_scorers
from accord.config.scoring import EvaluateConfig, ScoreConfig
from accord.config.training import AdapterConfig, LogConfig, TrainConfig
from accord.errors import did_you_mean
from accord.section import Positive, Section


class ReportConfig(Section):
    """The page."""

    title: str = Field("Aligned with several rewards", description="the page's heading")
    num_prompts_shown: Positive = Field(12, description="evaluation prompts whose images, base and tuned, are shown")
    num_groups_drawn: Positive = Field(3, description="training prompts whose whole group is drawn with its frontier")


class EngineConfig(Section):
    """Where generation and scoring run."""

    workers: Annotated[int, Field(ge=0)] = Field(
        0, description="processes; 0: one per GPU, or one per CPU core up to 4"
    )


class Config(Section):
    """A whole run."""

    folder: str = Field(
        "runs/world", min_length=1, description="everything the run reads and writes; relative to where you stand"
    )
    seed: Annotated[int, Field(ge=0)] = Field(0, description="decides every random number of the run")
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
            known_scorers([*value.held_out, *filter(None, [value.checker])], info.data["score"].defined)
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
    def _scorers_where_scores_decide(self) -> Config:
        for field in () if self.score.scorers else ("pairs", "target"):
            name = getattr(self.method, field).name
            if not getattr(registry.load(METHOD_KINDS[field], name), "reads_labels", False):
                raise ValueError(
                    f"score.scorers is empty, but method.{field} = '{name}' decides by scores: name scorers "
                    '(`accord list scorers`), or train on labelled pairs alone: method.pairs = "labelled", '
                    'method.target = "one"'
                )
        return self

    @model_validator(mode="after")
    def _adapter_can_be_trained(self) -> Config:
        """Refuse here what training refuses too: by then `--redo` has removed what was trained before."""
        is_full = self.adapter.mode == "full"
        if is_full and self.adapter.uses_dora:
            raise ValueError("adapter.uses_dora is for adapter.mode = 'lora'")
        if is_full and self.model.dtype == "float16":
            raise ValueError(
                "model.dtype = 'float16' is for adapter.mode = 'lora': weights that are trained themselves are kept in "
                "float32; take 'bfloat16', which computes in half precision, or 'float32'"
            )
        if self.train.shard_weights and not is_full:
            raise ValueError(
                "train.shard_weights is for adapter.mode = 'full': with LoRA every process holds the model"
            )
        return self

    @model_validator(mode="after")
    def _held_out_is_held_out(self) -> Config:
        both = sorted(set(self.score.scorers) & set(self.evaluate.held_out))
        if both:
            raise ValueError(
                f"{both[0]} is in score.scorers and in evaluate.held_out: a reward trained on is not held out"
            )
        return self
