"""What a comparison file may say: what all arms share, how beta is chosen, the arms, and the tables of the result."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError, field_validator, model_validator

from accord.config import (
    AdapterConfig,
    Config,
    EngineConfig,
    EvaluateConfig,
    GenerateConfig,
    ModelConfig,
    Positive,
    PromptsConfig,
    ScoreConfig,
    Section,
    TrainConfig,
)
from accord.errors import ConfigError, RegistryError, did_you_mean
from accord.recipes.choices import recipe_beta, recipe_method
from accord.runfile import read_toml, validated

Factors = tuple[Annotated[float, Field(gt=0)], ...]
Seed = Annotated[int, Field(ge=0)]


class SharedRun(Section):
    """The sections of a run file that all arms have in common."""

    seed: Seed = 0
    model: ModelConfig = ModelConfig()
    prompts: PromptsConfig = PromptsConfig()
    generate: GenerateConfig = GenerateConfig()
    score: ScoreConfig = ScoreConfig()
    train: TrainConfig = TrainConfig()
    adapter: AdapterConfig = AdapterConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    engine: EngineConfig = EngineConfig()


class SweepConfig(Section):
    """How beta and learning rate of each group of arms are chosen: the same trials for all, on prompts of their own."""

    prompts: str = Field("world:validate", description="never the prompts that the comparison is made on")
    num_prompts: Positive | None = None
    betas: Factors = Field((0.25, 1.0, 4.0), description="factors of the recipe's beta")
    learning_rates: Factors = Field((1.0,), description="factors of run.train.learning_rate")
    seed: Seed = Field(1000, description="training seed of the trials; none of the comparison's seeds")


class ArmConfig(Section):
    """One method: a recipe with changes, or the average of other arms' results."""

    recipe: str = ""
    scorers: tuple[str, ...] = Field((), description="the rewards it trains on; all of run.score.scorers if empty")
    method: dict[str, Any] = Field({}, description="choices that replace the recipe's")
    train: dict[str, Any] = Field({}, description="values of the train section that are fixed by hand")
    sweep: str | None = Field(
        None, description='arms of one group share its trials; absent: a group of its own; "": none'
    )
    steps: tuple[Positive, ...] = Field((), description="budgets, each a run of its own; the last is the main one")
    soup: tuple[str, ...] = Field((), description="average these arms' results, seed by seed")

    @model_validator(mode="after")
    def _recipe_or_soup(self) -> ArmConfig:
        if bool(self.recipe) == bool(self.soup):
            raise ValueError("an arm has either a recipe or a soup")
        if self.soup and (self.scorers or self.method or self.train or self.steps or self.sweep):
            raise ValueError("a soup takes its settings from its arms; give it nothing else")
        return self


class TableConfig(Section):
    """Arms that stand together in the result."""

    title: str
    arms: tuple[str, ...]
    against: str = Field("", description="an arm that every other is also compared with directly")


class CompareConfig(Section):
    """A whole comparison."""

    folder: str
    seeds: tuple[Seed, ...] = (1, 2, 3)
    run: SharedRun = SharedRun()
    sweep: SweepConfig | None = None
    arms: dict[str, ArmConfig]
    tables: dict[str, TableConfig] = Field({}, description="arms that stand together in the results")

    @field_validator("seeds")
    @classmethod
    def _distinct_seeds(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if not value or len(set(value)) < len(value):
            raise ValueError("needs at least one seed, and no seed twice")
        return value

    @model_validator(mode="after")
    def _names_exist(self) -> CompareConfig:
        for name, arm in self.arms.items():
            for part in arm.soup:
                if part not in self.arms or self.arms[part].soup:
                    raise ValueError(
                        f"arms.{name}.soup names '{part}', which is no trained arm{did_you_mean(part, self.arms)}"
                    )
            for scorer in arm.scorers:
                if scorer not in self.run.score.scorers:
                    raise ValueError(
                        f"arms.{name}.scorers names '{scorer}', which is not among run.score.scorers"
                        f"{did_you_mean(scorer, self.run.score.scorers)}"
                    )
        for name, table in self.tables.items():
            for arm_name in (*table.arms, *((table.against,) if table.against else ())):
                if arm_name not in self.arms:
                    raise ValueError(f"tables.{name} names the arm '{arm_name}'{did_you_mean(arm_name, self.arms)}")
        return self

    @model_validator(mode="after")
    def _sweep_is_apart(self) -> CompareConfig:
        if self.sweep is None:
            return self
        if self.sweep.prompts == self.run.prompts.evaluate:
            raise ValueError(
                f"sweep.prompts are the evaluation prompts ({self.sweep.prompts}): "
                "settings would be chosen on the prompts that they are compared on"
            )
        if self.sweep.seed in self.seeds:
            raise ValueError(f"sweep.seed {self.sweep.seed} is one of the seeds; trials need a seed of their own")
        return self

    @model_validator(mode="after")
    def _arms_can_run(self) -> CompareConfig:
        for name, arm in self.arms.items():
            try:
                arm_config(self, name, folder="-", seed=0)
            except (RegistryError, ConfigError, ValidationError) as error:
                raise ValueError(f"arms.{name}: {_first(error)}") from error
            if arm.soup and len({self.steps_of(part)[-1] for part in arm.soup}) > 1:
                raise ValueError(f"arms.{name}.soup: its arms are trained for different numbers of steps")
        return self

    def steps_of(self, arm: str) -> tuple[int, ...]:
        """Return the budgets of an arm, the main one last."""
        found = self.arms[arm]
        if found.soup:
            return self.steps_of(found.soup[0])[-1:]
        return found.steps or (int(found.train.get("steps", self.run.train.steps)),)

    def group_of(self, arm: str) -> str:
        """Return the sweep group of an arm; "" if nothing of it is chosen by trials."""
        found = self.arms[arm]
        if self.sweep is None or found.soup:
            return ""
        return arm if found.sweep is None else found.sweep

    def groups(self) -> dict[str, str]:
        """Return group -> the arm that its trials are made with, the first of the group."""
        found: dict[str, str] = {}
        for arm in self.arms:
            if self.group_of(arm):
                found.setdefault(self.group_of(arm), arm)
        return found


def arm_config(
    config: CompareConfig,
    arm: str,
    folder: str,
    seed: int,
    steps: int | None = None,
    beta: float | None = None,
    learning_rate: float | None = None,
    trial: bool = False,
) -> Config:
    """Return the run of an arm. beta, learning_rate: what the trials chose; values fixed by hand go before them.

    A trial is judged on the sweep's prompts. Rewards that an arm does not train on are held out.
    """
    told, run = config.arms[arm], config.run
    values = run.model_dump(mode="json")
    trained = list(told.scorers or run.score.scorers)
    if not told.soup:
        values["method"] = {**recipe_method(told.recipe, run.model.family), **told.method}
        values["train"]["beta"] = beta or recipe_beta(told.recipe, run.model.family)
    values["train"]["learning_rate"] = learning_rate or run.train.learning_rate
    values["train"] |= {**told.train, "steps": steps or config.steps_of(arm)[-1], "seed": seed}
    values["score"]["scorers"] = trained
    values["score"]["scales"] = {name: s for name, s in run.score.scales.items() if name in trained}
    others = [name for name in run.score.scorers if name not in trained]
    values["evaluate"]["held_out"] = [*others, *run.evaluate.held_out]
    values["engine"]["workers"] = 1
    if trial and config.sweep is not None:
        values["prompts"] |= {"evaluate": config.sweep.prompts, "num_evaluate": config.sweep.num_prompts}
    return Config(folder=folder, log={"trackers": ()}, **values)  # type: ignore[arg-type]


def load_comparison(path: Path, overrides: Sequence[str] = ()) -> CompareConfig:
    """Read a comparison file. Raises ConfigError with every mistake in it."""
    if not path.is_file():
        raise ConfigError(f"there is no comparison file '{path}'")
    return validated(CompareConfig, read_toml(path, overrides), str(path))


def _first(error: Exception) -> str:
    return error.errors()[0]["msg"].removeprefix("Value error, ") if isinstance(error, ValidationError) else str(error)
