"""All stages in order: run what is not finished, or say what would be done."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from accord.artifacts import locked, require_fresh, state_of
from accord.config import Config
from accord.engine.outside import require_outside
from accord.engine.processes import is_main, main_first
from accord.files import write_bytes
from accord.outcome import Outcome
from accord.own.use import pool_size
from accord.runfile import dump_config
from accord.stages import encode, evaluate, generate, invert, reference, report, score, select, train
from accord.types import Progress, no_progress
from accord.wording import counted

RUN_FILE = "run.toml"

STAGES: dict[str, Callable[..., Outcome | dict[str, Outcome]]] = {
    "generate": generate.generate,
    "score": score.score,
    "select": select.select,
    "encode": encode.encode,
    "invert": invert.invert,
    "reference": reference.reference,
    "train": train.train,
    "evaluate": evaluate.evaluate,
    "report": report.report,
}


@dataclass(frozen=True)
class Step:
    """What one stage would do: its state, what it reads and writes, and how much work that is."""

    stage: str
    state: str  # finished, begun, absent, waiting, stale
    reads: str
    writes: str
    work: str
    inputs: tuple[str, ...]  # the steps whose output it reads


def run_stages(
    config: Config,
    names: tuple[str, ...] = tuple(STAGES),
    redo: bool = False,
    progress_of: Callable[[str], Progress] = lambda _: no_progress,
) -> Iterator[tuple[str, Outcome]]:
    """Run these stages in order, yielding (stage, outcome) as each finishes; what has finished before is reused.

    Holds the run folder's lock, and keeps the resolved config in it as run.toml. Of several processes, all train, and
    the main one does everything else.
    """
    folder = Path(config.folder)
    with main_first(config.model.device):
        if train.NAME in names:
            train.require_shareable(config)
        if evaluate.NAME in names:
            evaluate.require_scorers(config)
        if is_main():
            _require_fresh_inputs(config, names)
            require_ready(config, names)
            if {score.NAME, evaluate.NAME} & set(names):
                require_outside(config)
    with locked(folder) if is_main() else nullcontext():
        if is_main():
            write_bytes(folder / RUN_FILE, dump_config(config).encode())
        for name in names:
            outcome = _run_stage(name, config, redo, progress_of(name))
            outcomes = outcome if isinstance(outcome, dict) else {"": outcome}
            for part, one in outcomes.items():
                yield (f"{name} {part}".strip(), one)


def require_ready(config: Config, names: Collection[str] = tuple(STAGES)) -> None:
    """Raise, before any image is drawn, what would stop these stages later: one image per prompt, missing weights.

    A scorer whose tables are finished needs no weights, and nothing is missing that the hub may be asked for.
    """
    if select.NAME in names:
        select.require_pairable(config)
    if score.NAME in names:
        score.require_ready(config, is_pool_kept=not _is_remade(config, names, (generate.NAME,)))
    if evaluate.NAME in names:
        before = (generate.NAME, select.NAME, encode.NAME, train.NAME)
        evaluate.require_ready(config, is_model_kept=not _is_remade(config, names, before))


def _is_remade(config: Config, names: Collection[str], stages: Iterable[str]) -> bool:
    """Say whether one of these stages is among `names` and has work to do."""
    made = {
        generate.NAME: (generate.settings, ()),
        select.NAME: (select.settings, select.inputs(config)),
        encode.NAME: (encode.settings, (generate.NAME, select.NAME)),
        train.NAME: (train.settings, train.inputs(config)),
    }
    wanted = {name: made[name] for name in stages if name in names}
    run = Path(config.folder)
    return any(state_of(run, name, told(config), inputs) != "finished" for name, (told, inputs) in wanted.items())


def _require_fresh_inputs(config: Config, names: tuple[str, ...]) -> None:
    """Raise StaleArtifact if a stage that is read, and is not run now, was made otherwise than the run file says.

    The page may be written of anything: it tells what was run. What training and evaluation read is asked back to the
    pairs: they need neither the training prompts nor the scorers, which may be on another machine.
    """
    read: set[str] = set()
    if {score.NAME, select.NAME} & set(names):
        read.add(generate.NAME)
    if train.NAME in names:
        read |= set(train.inputs(config))
    if evaluate.NAME in names:
        read |= {*train.inputs(config), train.NAME}
    run, steps = Path(config.folder), {each.NAME: each for each in (generate, select, encode, invert, reference, train)}
    for name, step in steps.items():
        if name in read.difference(names):
            require_fresh(run, name, step.settings(config), is_cheap=name == select.NAME)


def _run_stage(name: str, config: Config, redo: bool, progress: Progress) -> Outcome | dict[str, Outcome]:
    if name == train.NAME:
        return train.train(config, redo, progress)
    with main_first(config.model.device):
        return STAGES[name](config, redo=redo, progress=progress) if is_main() else {}


def plan(config: Config) -> list[Step]:
    """Return what `run_stages` would do now. Reads manifests and prompts, writes nothing, opens no model.

    An external scorer is started for its card, whose version decides what is stale, and ended without its model.
    """
    from accord.engine.prompts import load_prompts

    e, t = config.evaluate, config.train
    pool, images = _pool(config)
    num_evaluate = len(load_prompts(config.prompts.evaluate, config.prompts.num_evaluate).prompts)
    test = num_evaluate * e.images_per_prompt
    steps = [
        _step(config, "generate", generate.settings(config), (),
              config.generate.imported or config.prompts.train, images),
        *(_score_step(config, name, pool) for name in config.score.scorers),
        _step(config, "select", select.settings(config), select.inputs(config),
              "score/*/" if config.score.scorers else "generate/",
              (f"{config.method.calibration.name} calibration, " if config.score.scorers else "")
              + f"{config.method.pairs.name} pairs"),
        _step(config, "encode", encode.settings(config), ("generate", "select"), "generate/, select/",
              "prompt embeddings" + ("" if config.has_latents else " and latents (autoencoder)") + " of the pairs"),
        *([_step(config, "invert", invert.settings(config), invert.INPUTS, "select/, encode/",
                 f"{t.steps} x {t.batch_size} visits, {config.method.noise.name} of both images")]
          if invert.is_needed(config) else []),
        *([_step(config, "reference", reference.settings(config), reference.inputs(config),
                 ", ".join(f"{stage}/" for stage in reference.inputs(config)),
                 f"{t.steps} x {t.batch_size} visits, the reference's errors on both images")]
          if reference.is_needed(config) else []),
        _step(config, "train", train.settings(config), train.inputs(config),
              ", ".join(f"{stage}/" for stage in train.inputs(config)),
              f"{counted(t.steps, 'steps')} x {counted(t.batch_size, 'pairs')}, "
              f"{config.adapter.mode}, {config.method.loss.name} loss"),
        _step(config, "evaluate/base", evaluate.image_settings(config), (), config.prompts.evaluate,
              f"{counted(num_evaluate, 'prompts')} x {e.images_per_prompt} = {counted(test, 'images')}"),
        _step(config, "evaluate/tuned", evaluate.image_settings(config), ("train",), "train/adapter/",
              f"the same {counted(test, 'images')} with the tuned model"),
        _metrics_step(config, test),
        _step(config, "report", report.settings(config), report.INPUTS, "all of the above", "one page"),
    ]  # fmt: skip
    return _with_consequences(steps)


def _with_consequences(steps: list[Step]) -> list[Step]:
    """Return the steps in their order, where what was made from stale output is stale too, and the finished rest."""
    stale: set[str] = set()
    for step in steps:
        if step.state == "stale" or (step.state in ("finished", "begun") and stale.intersection(step.inputs)):
            stale.add(step.stage)
    told = [replace(step, state="stale") if step.stage in stale else step for step in steps]
    return [replace(step, work="nothing: finished") if step.state == "finished" else step for step in told]


def _pool(config: Config) -> tuple[int, str]:
    """Return the number of images to train on, and in words where they come from."""
    from accord.engine.prompts import load_prompts

    g = config.generate
    if g.imported:
        num_prompts, num_images = pool_size(config)
        return num_images, f"{counted(num_prompts, 'prompts')} with {counted(num_images, 'images')}, imported"
    num_prompts = len(load_prompts(config.prompts.train, config.prompts.num_train).prompts)
    num_images = num_prompts * g.images_per_prompt
    images = f"{counted(num_prompts, 'prompts')} x {g.images_per_prompt} = {counted(num_images, 'images')}"
    return num_images, f"{images}, {counted(g.num_inference_steps, 'steps')} each"


def _step(config: Config, name: str, settings: dict[str, Any], inputs: tuple[str, ...], reads: str, work: str) -> Step:
    state = state_of(Path(config.folder), name, settings, inputs)
    return Step(name, state, reads, f"{name}/", work, inputs)


def _score_step(config: Config, name: str, images: int) -> Step:
    return _step(
        config,
        score.stage_name(name),
        score.settings(config, name),
        ("generate",),
        "generate/",
        counted(images, "images"),
    )


def _metrics_step(config: Config, images: int) -> Step:
    roles = evaluate.roles(config)
    inputs = tuple(f"evaluate/scores/{model}/{name}" for model in evaluate.MODELS for name in roles)
    work = f"2 x {counted(images, 'images')} by {counted(len(roles), 'scorers')}, "
    work += f"{config.evaluate.num_resamples} bootstrap resamples"
    settings, reads = evaluate.metric_settings(config), "evaluate/base/, evaluate/tuned/"
    step = _step(config, evaluate.METRICS, settings, inputs, reads, work)
    return replace(step, inputs=tuple(f"evaluate/{model}" for model in evaluate.MODELS))
