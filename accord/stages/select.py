"""select: score tables -> calibrated rewards, and every valid preference pair with its margins and target.

Reads tables only: changing a rule costs no image and no scorer call.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from accord import registry
from accord.artifacts import open_stage
from accord.config import Choice, Config
from accord.errors import ConfigError, SelectionError
from accord.files import sha256
from accord.images import read_prompt_ids
from accord.manifest import load_manifest
from accord.outcome import Outcome, reused, timed
from accord.stats.correlation import within_prompt_correlation
from accord.tables import LABELS, group_images, group_scores, read_scores, write_pairs, write_rewards
from accord.types import GroupedScores, IndexPairs, Pair, PairScores, Progress, no_progress
from accord.wording import counted

NAME = "select"


def settings(config: Config) -> dict[str, Any]:
    """Return what decides this stage's output."""
    return {
        "scorers": list(config.score.scorers),
        "scales": config.score.scales,
        **config.method.model_dump(mode="json", include={"calibration", "pairs", "target"}),
        **_labels(config.method.pairs),
    }


def _labels(pairs: Choice) -> dict[str, str]:
    """Return the digest of the file that the rule reads, if it reads one: other labels are other settings."""
    file = pairs.options.get("file")
    return {"labels": sha256(Path(file))} if isinstance(file, str) and Path(file).is_file() else {}


def _with_labels(pairs: Choice, run: Path) -> Choice:
    """Return the rule with the labels that were imported with the images, if it reads labels and names no file."""
    imported = run / "generate" / LABELS
    if not getattr(registry.load("selectors", pairs.name), "reads_labels", False) or pairs.options.get("file"):
        return pairs
    return Choice(name=pairs.name, options={**pairs.options, "file": str(imported)}) if imported.is_file() else pairs


def inputs(config: Config) -> tuple[str, ...]:
    """Return the stages this one reads: the scores, or without a scorer the images and their labels."""
    return tuple(f"score/{name}" for name in config.score.scorers) or ("generate",)


def require_pairable(config: Config) -> None:
    """Raise ConfigError if the run draws one image per prompt, of which no pair can be made."""
    if config.generate.images_per_prompt < 2 and not config.generate.imported:
        raise ConfigError(
            "a pair is two images of one prompt, but generate.images_per_prompt is 1: set it to 2 or more, or run "
            "`accord generate` and `accord score` alone, which need no pairs"
        )


def select(config: Config, redo: bool = False, progress: Progress = no_progress) -> Outcome:
    """Choose pairs. Writes `select/rewards.parquet` and `select/pairs.parquet`.

    Raises SelectionError if no prompt has a valid pair.
    """
    run = Path(config.folder)
    stage = open_stage(run, NAME, settings(config), inputs(config), redo, is_cheap=True)
    if stage.is_finished:
        return reused(stage.folder)
    with timed(stage.folder):
        scores, scales = _pool(config), card_scales(config)
        rewards, used = _calibrated(config.method.calibration, scores.values, scales)
        found = plugin("selectors", _with_labels(config.method.pairs, run))(rewards, scores)
        if len(found.prompt) == 0:
            raise SelectionError(
                f"no prompt has a valid pair under '{config.method.pairs.name}' ({_reasons(found)}): "
                "generate more images per prompt, use fewer scorers, or choose other pairs (method.pairs)"
            )
        targets = plugin("targets", config.method.target)(pair_scores(scores, rewards, found))
        _require_preferences(targets, config)
        usable = targets != 0  # a target of zero says nothing about which image is better
        found, targets = turned(found, targets < 0), np.abs(targets)
        both = pair_scores(scores, rewards, found)
        write_rewards(stage.folder / "rewards.parquet", scores, rewards)
        write_pairs(stage.folder / "pairs.parquet", _pairs(scores, found, both, targets, usable, config))
    facts = {
        **_facts(scores, rewards, both, usable),
        "scales": dict(zip(scores.scorers, used.tolist(), strict=True)),
        "ranges": dict(zip(scores.scorers, score_ranges(scores.values).tolist(), strict=True)),  # as measured
        "share_without_preference": float((~usable).mean()),
    }
    return Outcome(stage.finish(_counts(scores, found, usable), facts), stage.folder, was_reused=False)


def _pool(config: Config) -> GroupedScores:
    """Return all images with all their scores, which may be none."""
    run = Path(config.folder)
    if not config.score.scorers:
        return group_images(read_prompt_ids(run / "generate"))
    return group_scores({name: read_scores(run / "score" / name) for name in config.score.scorers})


def _require_preferences(targets: np.ndarray, config: Config) -> None:
    """Raise SelectionError unless every pair has a target and some pair one other than 0."""
    rule = config.method.target.name
    if np.isnan(targets).any():
        raise SelectionError(
            f"target '{rule}' has no value for {int(np.isnan(targets).sum())} of {len(targets)} pairs; "
            "run `accord score` again, or leave out the scorer that could not score them"
        )
    if not targets.any():
        raise SelectionError(
            f"target '{rule}' prefers neither image in any of {len(targets)} pairs; use another target or another rule "
            "for ties (method.target)"
        )


def turned(pairs: IndexPairs, turn: np.ndarray) -> IndexPairs:
    """Return the pairs with chosen and rejected exchanged where `turn` (M,) is True.

    Where the target prefers the rejected image: so no target is negative in the files, and "chosen" means chosen
    whatever the rule that found the pair.
    """
    return replace(
        pairs,
        chosen=np.where(turn, pairs.rejected, pairs.chosen),
        rejected=np.where(turn, pairs.chosen, pairs.rejected),
        labels=None if pairs.labels is None else np.where(turn, -pairs.labels, pairs.labels),
    )


def plugin(kind: str, choice: Choice) -> Any:
    """Return the chosen function with its options filled in."""
    from functools import partial

    options = registry.check_options(kind, choice.name, choice.options)
    return partial(registry.load(kind, choice.name), **options)


def card_scales(config: Config) -> np.ndarray:
    """Return the Bradley-Terry scale of each scorer (K,): the run file's, else its card's."""
    scales = []
    for name in config.score.scorers:
        manifest = load_manifest(Path(config.folder) / "score" / name)
        assert manifest is not None  # open_stage has checked the inputs
        scales.append(config.score.scales.get(name, manifest.facts["card"]["bradley_terry_scale"]))
    return np.array(scales, dtype=np.float64)


def _calibrated(choice: Choice, scores: np.ndarray, scales: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return rewards (P, N, K) and the scales (K,) that were used, which `scale = "auto"` finds from the scores."""
    from accord.calibrate.scales import auto_scales

    if not scores.shape[2]:
        return scores, scales
    used = auto_scales(scores, scales) if choice.options.get("scale") == "auto" else scales
    return plugin("calibrations", choice)(scores, scales), used


def pair_scores(scores: GroupedScores, rewards: np.ndarray, pairs: IndexPairs) -> PairScores:
    """Return scores and rewards of both images of each pair, and what else a target rule may look at."""
    chosen, rejected = (pairs.prompt, pairs.chosen), (pairs.prompt, pairs.rejected)
    triples = zip(pairs.prompt.tolist(), scores.image_ids[chosen], scores.image_ids[rejected], strict=True)
    return PairScores(
        scores.scorers,
        scores.values[chosen],
        scores.values[rejected],
        rewards[chosen],
        rewards[rejected],
        score_ranges(scores.values),
        pairs.labels,
        tuple((scores.prompt_ids[p], str(first), str(second)) for p, first, second in triples),
    )


def score_ranges(scores: np.ndarray) -> np.ndarray:
    """Return the 0.1 and 99.9 percentiles of each scorer's scores, (K, 2). scores: (P, N, K), NaN: not scored."""
    return np.nanpercentile(scores, [0.1, 99.9], axis=(0, 1)).T if scores.shape[2] else np.empty((0, 2))


def _pairs(
    scores: GroupedScores, found: IndexPairs, both: PairScores, targets: np.ndarray, usable: np.ndarray, config: Config
) -> list[Pair]:
    """Return the pairs in the order of prompt and image ids."""
    margins = both.rewards_chosen - both.rewards_rejected
    pairs = [
        Pair(
            scores.prompt_ids[found.prompt[m]],
            str(scores.image_ids[found.prompt[m], found.chosen[m]]),
            str(scores.image_ids[found.prompt[m], found.rejected[m]]),
            tuple(margins[m].tolist()),
            float(targets[m]),
            config.method.pairs.name,
        )
        for m in np.nonzero(usable)[0]
    ]
    return sorted(pairs, key=lambda pair: (pair.prompt_id, pair.chosen_id, pair.rejected_id))


def _counts(scores: GroupedScores, found: IndexPairs, usable: np.ndarray) -> dict[str, Any]:
    is_image = scores.image_ids != ""
    return {
        "prompts": len(scores.prompt_ids),
        "images": int(is_image.sum()),
        "images_unscored": int((np.isnan(scores.values).any(axis=2) & is_image).sum()),
        "prompts_with_pairs": len(np.unique(found.prompt[usable])),
        "pairs": int(usable.sum()),
        "pairs_without_preference": int((~usable).sum()),
        "dropped": {**found.dropped, **_without_preference(found, usable)},
    }


def _without_preference(found: IndexPairs, usable: np.ndarray) -> dict[str, int]:
    """Return the number of prompts whose pairs all have a target of 0, by reason."""
    lost = len(np.unique(found.prompt)) - len(np.unique(found.prompt[usable]))
    return {"no pair with a preference": lost} if lost else {}


def _facts(scores: GroupedScores, rewards: np.ndarray, both: PairScores, usable: np.ndarray) -> dict[str, Any]:
    """Return what to look at before training: scales, margins, correlations, and how far the rewards agree on pairs."""
    margins = (both.rewards_chosen - both.rewards_rejected)[usable]
    with np.errstate(invalid="ignore"):
        spread = np.nanmax(rewards, axis=1, initial=-np.inf) - np.nanmin(rewards, axis=1, initial=np.inf)
    spread = np.where(np.isfinite(spread), spread, np.nan)
    better = both.scores_chosen[usable] > both.scores_rejected[usable]
    by_name = lambda values: dict(zip(scores.scorers, (_number(v) for v in values), strict=True))  # noqa: E731
    return {
        "scorers": list(scores.scorers),
        "mean_best_worst_margin": by_name(np.nanmean(spread, axis=0)),
        "mean_margin": by_name(margins.mean(axis=0)),
        "agreement": by_name(better.mean(axis=0)),
        "all_agree": float(better.all(axis=1).mean()) if scores.scorers else None,
        "correlation": [[_number(v) for v in row] for row in within_prompt_correlation(scores.values)],
    }


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _reasons(found: IndexPairs) -> str:
    told = [f"{counted(number, 'prompts')}: {reason}" for reason, number in found.dropped.items()]
    return ", ".join(told) or "no prompts"
