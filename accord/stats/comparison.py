"""Base against tuned model under every scorer: means, paired differences, win rates, and skills, with intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from accord.errors import EvaluationError
from accord.seeding import address
from accord.stats.bootstrap import bootstrap_difference, bootstrap_mean
from accord.stats.correlation import within_prompt_correlation
from accord.stats.interval import Interval
from accord.stats.win_rate import win_rate


@dataclass(frozen=True)
class ScorerComparison:
    """One scorer's view. Intervals resample prompts; they say nothing about another training seed."""

    name: str
    role: str  # trained, held_out, checker
    win_rate: Interval | None  # None: no image could be compared
    base: Interval | None  # mean score over prompts
    tuned: Interval | None
    difference: Interval | None  # tuned minus base, paired by prompt
    ties: float | None  # share of comparisons
    num_prompts: int  # with at least one comparison
    num_unscored: int  # comparisons left out


@dataclass(frozen=True)
class SkillComparison:
    """The checker's mean over the prompts of one skill."""

    base: Interval | None
    tuned: Interval | None
    difference: Interval | None
    num_prompts: int


@dataclass(frozen=True)
class ImageComparison:
    """A statistic of the pixels."""

    base: Interval | None
    tuned: Interval | None
    difference: Interval | None


@dataclass(frozen=True)
class Comparison:
    """All that evaluation found."""

    confidence: float
    num_prompts: int
    images_per_prompt: int
    scorers: tuple[ScorerComparison, ...]
    skills: dict[str, SkillComparison]  # empty without a checker; "overall" weighs skills equally
    correlation: dict[str, Any]  # of the scorers within prompts, on the images of both models
    images: dict[str, ImageComparison]  # what the pictures look like, whatever they show

    def as_json(self) -> dict[str, Any]:
        """Return plain values; what does not exist is None."""
        return asdict(self)


@dataclass(frozen=True)
class _Bootstrap:
    """How intervals are made, so that every number of a comparison is made alike."""

    seed: int
    num_resamples: int
    level: float

    def mean(self, values: np.ndarray, what: str, weights: np.ndarray | None = None) -> Interval | None:
        """Return the mean over prompts (P,) with its interval, None if no prompt has a number."""
        if np.isnan(values).all():
            return None
        return bootstrap_mean(values, address(self.seed, "bootstrap", what), weights, self.num_resamples, self.level)

    def difference(self, tuned: np.ndarray, base: np.ndarray, what: str) -> Interval | None:
        """Return the mean of tuned minus base, each (P,), None if no prompt has both."""
        if np.isnan(tuned - base).all():
            return None
        seed = address(self.seed, "bootstrap", what)
        return bootstrap_difference(tuned, base, seed, self.num_resamples, self.level)


def compare(
    scores: Mapping[str, Mapping[str, np.ndarray]],
    roles: Mapping[str, str],
    skills: Sequence[str],
    *,
    seed: int,
    tie_epsilon: float = 0.0,
    confidence: float = 0.95,
    num_resamples: int = 10_000,
    images: Mapping[str, Mapping[str, np.ndarray]] | None = None,
) -> Comparison:
    """Return the comparison of `scores["tuned"]` with `scores["base"]`, each scorer -> (P, S), NaN where unscored.

    roles: scorer -> trained, held_out or checker. skills: the skill of each prompt (P,), "" for none.
    Images s of both models come from the same seed. images: model -> statistic of the pixels -> (P,) means over a
    prompt's images, NaN where there is none. All intervals follow from `seed`.
    Raises EvaluationError if the models were not scored on the same prompts and seeds.
    """
    bootstrap = _Bootstrap(seed, num_resamples, confidence)
    base, tuned = scores["base"], scores["tuned"]
    shapes = {table[name].shape for table in (base, tuned) for name in roles}
    if len(shapes) != 1 or next(iter(shapes))[0] != len(skills):
        raise EvaluationError(f"every scorer needs (P, S) scores of {len(skills)} prompts, found {sorted(shapes)}")
    checker = next((name for name, role in roles.items() if role == "checker"), None)
    both = np.stack([np.concatenate([base[name], tuned[name]], axis=1) for name in roles], axis=2)
    return Comparison(
        confidence=confidence,
        num_prompts=len(skills),
        images_per_prompt=next(iter(shapes))[1],
        scorers=tuple(
            _of_scorer(name, role, base[name], tuned[name], tie_epsilon, bootstrap) for name, role in roles.items()
        ),
        skills=_of_skills(base[checker], tuned[checker], skills, bootstrap) if checker else {},
        correlation={
            "scorers": list(roles),
            "matrix": [[None if math.isnan(r) else float(r) for r in row] for row in within_prompt_correlation(both)],
        },
        images=_of_images(images["base"], images["tuned"], bootstrap) if images else {},
    )


def _of_scorer(
    name: str, role: str, base: np.ndarray, tuned: np.ndarray, epsilon: float, bootstrap: _Bootstrap
) -> ScorerComparison:
    wins = win_rate(tuned, base, epsilon)
    compared = wins.num_wins + wins.num_ties + wins.num_losses
    is_both = ~np.isnan(base) & ~np.isnan(tuned)  # means and differences over the same images
    base_mean, tuned_mean = _prompt_means(base, is_both), _prompt_means(tuned, is_both)
    return ScorerComparison(
        name=name,
        role=role,
        win_rate=bootstrap.mean(wins.per_prompt, f"{name} win rate"),
        base=bootstrap.mean(base_mean, f"{name} base"),
        tuned=bootstrap.mean(tuned_mean, f"{name} tuned"),
        difference=bootstrap.difference(tuned_mean, base_mean, f"{name} difference"),
        ties=wins.num_ties / compared if compared else None,
        num_prompts=int((~np.isnan(wins.per_prompt)).sum()),
        num_unscored=wins.num_unscored,
    )


def _of_skills(
    base: np.ndarray, tuned: np.ndarray, skills: Sequence[str], bootstrap: _Bootstrap
) -> dict[str, SkillComparison]:
    """Return one row per skill in the order of their first prompt, and "overall", in which skills weigh equally."""
    is_both = ~np.isnan(base) & ~np.isnan(tuned)
    base_mean, tuned_mean = _prompt_means(base, is_both), _prompt_means(tuned, is_both)
    labels = np.array(skills)
    found = {}
    for skill in dict.fromkeys(skills):
        if skill:
            rows = labels == skill
            found[skill] = _skill(base_mean[rows], tuned_mean[rows], None, skill, bootstrap)
    if len(found) > 1:
        rows = (labels != "") & ~np.isnan(base_mean)
        sizes = {skill: int((labels[rows] == skill).sum()) for skill in found}
        weights = np.array([1 / sizes[label] for label in labels[rows]])
        found["overall"] = _skill(base_mean[rows], tuned_mean[rows], weights, "overall", bootstrap)
    return found


def _skill(
    base: np.ndarray, tuned: np.ndarray, weights: np.ndarray | None, skill: str, bootstrap: _Bootstrap
) -> SkillComparison:
    return SkillComparison(
        base=bootstrap.mean(base, f"skill {skill} base", weights),
        tuned=bootstrap.mean(tuned, f"skill {skill} tuned", weights),
        difference=bootstrap.mean(tuned - base, f"skill {skill} difference", weights),
        num_prompts=int((~np.isnan(tuned - base)).sum()),
    )


def _of_images(
    base: Mapping[str, np.ndarray], tuned: Mapping[str, np.ndarray], bootstrap: _Bootstrap
) -> dict[str, ImageComparison]:
    return {
        name: ImageComparison(
            bootstrap.mean(base[name], f"image {name} base"),
            bootstrap.mean(tuned[name], f"image {name} tuned"),
            bootstrap.difference(tuned[name], base[name], f"image {name} difference"),
        )
        for name in base
    }


def _prompt_means(scores: np.ndarray, is_used: np.ndarray) -> np.ndarray:
    """Return the mean over the used images of each prompt, (P,); NaN where there is none."""
    count = is_used.sum(axis=1)
    total = np.where(is_used, scores, 0.0).sum(axis=1)
    return np.divide(total, count, out=np.full(len(scores), np.nan), where=count > 0)
