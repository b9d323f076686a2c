"""What the page is made of: plain frozen records, read from a run folder by the `read_*` files of this package.

A number that does not exist is NaN, a part whose stage has not finished is None.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

Role = Literal["trained", "held_out", "checker"]


@dataclass(frozen=True)
class Estimate:
    """A number with the ends of its confidence interval, all in the same unit; NaN where it is not known."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class ScorerResult:
    """Base against tuned under one scorer."""

    name: str
    role: Role
    win_rate: Estimate  # 0..1, tuned over base at the same prompt and seed, a tie counts one half
    base: Estimate  # mean raw score
    tuned: Estimate
    difference: Estimate  # tuned minus base, paired
    ties: float  # share of the comparisons, 0..1
    num_prompts: int
    num_unscored: int  # comparisons left out


@dataclass(frozen=True)
class SkillResult:
    """Share of pictures that the checker accepts, for the prompts of one skill, 0..1."""

    name: str
    base: Estimate
    tuned: Estimate
    difference: Estimate
    num_prompts: int


@dataclass(frozen=True)
class ImageResult:
    """A statistic of the pixels of base and tuned images."""

    name: str
    base: Estimate
    tuned: Estimate
    difference: Estimate  # tuned minus base, paired by prompt


@dataclass(frozen=True)
class Correlation:
    """How far scorers agree about images of the same prompt."""

    scorers: tuple[str, ...]
    matrix: np.ndarray  # (K, K) in [-1, 1], NaN where a scorer never varies


@dataclass(frozen=True)
class Evaluation:
    """What got better and what got worse."""

    confidence: float
    num_prompts: int
    images_per_prompt: int
    scorers: tuple[ScorerResult, ...]
    skills: tuple[SkillResult, ...]
    correlation: Correlation | None
    images: tuple[ImageResult, ...] = ()


@dataclass(frozen=True)
class Picture:
    """An image as the page embeds it."""

    uri: str  # data URI; "" if the stored bytes are no image
    width: int  # pixels of the stored image, which the page may have reduced
    height: int
    is_small: bool  # shown enlarged, pixel by pixel
    problem: str = ""  # why there is no image


@dataclass(frozen=True)
class Duel:
    """The images that base and tuned model drew for the same prompt and seed."""

    prompt: str
    tags: tuple[str, ...]
    seed: int | None
    base: Picture
    tuned: Picture
    scores: tuple[tuple[str, float, float], ...]  # scorer, score of base, score of tuned


@dataclass(frozen=True)
class GroupImage:
    """One image of the training pool."""

    picture: Picture
    rewards: tuple[float, ...]  # (K,) calibrated, 0..1
    is_upper: bool  # dominated by no image of its prompt
    is_lower: bool  # dominates no image of its prompt


@dataclass(frozen=True)
class Group:
    """All images of one prompt, the best mean reward first, and the pairs formed of them."""

    prompt: str
    scorers: tuple[str, ...]  # (K,)
    images: tuple[GroupImage, ...]  # (N,)
    pairs: tuple[tuple[int, int, float], ...]  # position of chosen, of rejected, target


@dataclass(frozen=True)
class ScorerSelection:
    """What selection found about one scorer of the training pool."""

    name: str
    scale: float  # Bradley-Terry scale that was used
    spread: float  # mean over prompts of best minus worst calibrated reward
    margin: float  # mean over pairs of the calibrated reward of chosen minus rejected
    agreement: float  # share of pairs in which this scorer prefers the chosen image


@dataclass(frozen=True)
class Selection:
    """How pairs came out of the scores."""

    num_prompts: int
    num_prompts_with_pairs: int
    num_pairs: int
    scorers: tuple[ScorerSelection, ...]
    all_agree: float  # share of pairs in which every scorer prefers the chosen image
    correlation: Correlation
    mean_target: float  # over prompts of the mean over its pairs: what a visit of training expects


@dataclass(frozen=True)
class Training:
    """The log of the optimisation."""

    steps: np.ndarray  # (S,) int
    curves: Mapping[str, np.ndarray]  # name -> (S,) float64, NaN where a step has no such number; also by noise level
    num_pairs_seen: int | None
    num_parameters_trained: int | None
    num_parameters_total: int | None
    by_noise: Mapping[str, np.ndarray] = field(default_factory=dict)  # count and sums of each step, (S, parts)


@dataclass(frozen=True)
class LeftOut:
    """One count of something that took no part, with its reason."""

    stage: str
    what: str
    count: int
    total: int | None  # out of how many, if that is known


@dataclass(frozen=True)
class MadeWith:
    """What was run: everything needed to do it again."""

    model: Mapping[str, str]  # fingerprint of the base model
    choices: tuple[tuple[str, str], ...]  # the method: kind of choice -> what was chosen, with its options
    settings: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]  # stage -> its settings
    versions: Mapping[str, str]
    cards: tuple[Mapping[str, Any], ...]  # ScorerCard of each scorer as plain values


@dataclass(frozen=True)
class ReportData:
    """Everything on the page."""

    title: str
    evaluation: Evaluation | None
    duels: tuple[Duel, ...]
    selection: Selection | None
    groups: tuple[Group, ...]
    training: Training | None
    left_out: tuple[LeftOut, ...]
    made_with: MadeWith
