"""The nouns: what stages, plug-ins and the training loop hand to each other.

Shape letters, the same everywhere: P prompts, N images per prompt, K scorers, M pairs, B pairs in a batch,
C H W latent channels, height and width, L text tokens, D width.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

if TYPE_CHECKING:  # torch takes a second to import, and most commands never need it
    from torch import Tensor


# --- prompts, images, scores -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Prompt:
    """A text to draw. `tags` are `key:value` strings, for example `skill:counting`."""

    id: str
    text: str
    source: str
    tags: tuple[str, ...] = ()

    @staticmethod
    def make(text: str, source: str, tags: Sequence[str] = ()) -> Prompt:
        """Return the prompt whose id is the hash of text and source: the same text has the same id in every run."""
        digest = hashlib.blake2b(f"{source}\x1f{text}".encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
        return Prompt(digest, text, source, tuple(tags))

    def tag(self, key: str) -> str | None:
        """Return the value of the tag `key:value`, or None."""
        return next((tag[len(key) + 1 :] for tag in self.tags if tag.startswith(key + ":")), None)


@dataclass(frozen=True)
class ScorerCard:
    """What a user must know about a scorer before trusting its number. Higher is always better.

    `scale` names the convention of the number and its usual range in words.
    `bradley_terry_scale` is the s for which sigmoid(s * (score_a - score_b)) is the probability that a is preferred.
    `low`, `high` bound the score where it is bounded, else None.
    `licence` is that of the original code, `licence_of_weights` that of the checkpoint ('': no weights of its own).
    `note` is printed whenever the scorer is used: non-commercial or unstated terms.
    `checkpoint`, `revision`: where the official weights are. `memory_gb`: of the weights in 16 bits; float32 is twice.
    `network` names what it shares with the scorers of the same network, which counts once ('': nothing).
    """

    name: str
    version: str
    summary: str
    scale: str
    bradley_terry_scale: float
    uses_prompt: bool
    licence: str
    citation: str
    low: float | None = None
    high: float | None = None
    differentiable: bool = False
    is_commercial_use_allowed: bool = True
    licence_of_weights: str = ""
    note: str = ""
    checkpoint: str = ""
    revision: str = ""
    memory_gb: float = 0.0
    network: str = ""


@runtime_checkable
class Scorer(Protocol):
    """A reward model: a card, and one score per image.

    `score(images, prompts)`: images are uint8 RGB arrays (H, W, 3), possibly of different sizes, prompts one text
    per image; returns (B,) float64. A row's score never depends on the other rows. A row that cannot be scored is NaN.
    Images of one prompt arrive next to each other, so a text need be encoded once per run of equal prompts.
    """

    card: ScorerCard

    def score(self, images: Sequence[np.ndarray], prompts: Sequence[str]) -> np.ndarray:
        """Return one score per image, (B,) float64."""
        ...


@dataclass(frozen=True)
class RowScore:
    """One image's score, or NaN with the reason. `reply`: what was said instead of a score, kept beside the table."""

    row: int  # position among the images of the call
    score: float
    reason: str = ""
    reply: str = ""


@runtime_checkable
class RowScorer(Protocol):
    """A scorer outside this process: it gives scores one at a time, so that none is lost when it dies half way.

    `score_rows` yields every row once, in any order; a row that fails says why. What it raises stops the run.
    """

    card: ScorerCard

    def score_rows(self, images: Sequence[np.ndarray], prompts: Sequence[str]) -> Iterator[RowScore]:
        """Yield one RowScore per image, as soon as it is known."""
        ...


@dataclass(frozen=True)
class GroupedScores:
    """Raw scores of all images of all prompts. Groups smaller than N are padded with NaN and the image id ''."""

    prompt_ids: tuple[str, ...]  # (P,)
    image_ids: np.ndarray  # (P, N) str, sorted within a prompt
    scorers: tuple[str, ...]  # (K,)
    values: np.ndarray  # (P, N, K) float64, NaN: not scored


# --- pairs -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class IndexPairs:
    """Pairs as positions in a (P, N, K) array; what a selection rule returns."""

    prompt: np.ndarray  # (M,) int64
    chosen: np.ndarray  # (M,) int64, position within the prompt's images
    rejected: np.ndarray  # (M,) int64
    dropped: Mapping[str, int] = field(default_factory=dict)  # reason -> number of prompts without any pair
    labels: np.ndarray | None = None  # (M,) a person's verdict: 1 chosen, -1 rejected, 0 a tie; NaN: nobody asked


@dataclass(frozen=True)
class PairScores:
    """The scores (raw) and rewards (calibrated) of both images of M pairs; what a target rule reads."""

    scorers: tuple[str, ...]  # (K,)
    scores_chosen: np.ndarray  # (M, K) float64
    scores_rejected: np.ndarray  # (M, K)
    rewards_chosen: np.ndarray  # (M, K) float64
    rewards_rejected: np.ndarray  # (M, K)
    ranges: np.ndarray | None = None  # (K, 2) float64, the 0.1 and 99.9 percentiles of each scorer's scores in the run
    labels: np.ndarray | None = None  # (M,) a person's verdict: 1 chosen, -1 rejected, 0 a tie; NaN: nobody asked
    ids: tuple[tuple[str, str, str], ...] | None = None  # (M,) prompt, chosen and rejected image

    def swapped(self) -> PairScores:
        """Return the same pairs with chosen and rejected exchanged."""
        return PairScores(
            self.scorers,
            self.scores_rejected,
            self.scores_chosen,
            self.rewards_rejected,
            self.rewards_chosen,
            self.ranges,
            None if self.labels is None else -self.labels,
            None if self.ids is None else tuple((prompt, second, first) for prompt, first, second in self.ids),
        )


@dataclass(frozen=True)
class Pair:
    """A preference: of two images of one prompt, `chosen` over `rejected`, by the rule `rule`."""

    prompt_id: str
    chosen_id: str
    rejected_id: str
    margins: tuple[float, ...]  # (K,) calibrated reward of chosen minus rejected, one per scorer
    target: float
    rule: str


# --- training ----------------------------------------------------------------------------------------------------

Conditioning = Mapping[str, "Tensor"]
"""Everything the denoiser is told besides latents and timestep, as named tensors whose first axis is the batch."""


@dataclass(frozen=True)
class PairBatch:
    """B visits: one pair each, with the latents of both images and what conditions the denoiser."""

    prompt_ids: tuple[str, ...]  # (B,)
    chosen_ids: tuple[str, ...]  # (B,)
    rejected_ids: tuple[str, ...]  # (B,)
    visits: tuple[int, ...]  # (B,) how often this prompt was visited before
    chosen: Tensor  # (B, C, H, W) clean latents, as the denoiser sees them (scaled)
    rejected: Tensor  # (B, C, H, W)
    conditioning: Conditioning  # each (B, ...)
    targets: Tensor  # (B,) float32


@dataclass(frozen=True)
class PairErrors:
    """Mean squared denoising error over C, H, W of each image, float32, in the noise (epsilon) space."""

    policy_chosen: Tensor  # (B,)
    policy_rejected: Tensor  # (B,)
    reference_chosen: Tensor  # (B,)
    reference_rejected: Tensor  # (B,)
    weight: Tensor  # (B,) w_t of the pair's timestep
    distance_chosen: Tensor | None = None  # (B,) mean squared difference of policy's and reference's prediction
    distance_rejected: Tensor | None = None  # (B,) None where the reference's errors were computed beforehand
    residual_product: Tensor | None = None  # (B,) mean product of the policy's residuals on the two images, detached


@dataclass(frozen=True)
class LossOutput:
    """What a loss returns: the scalar to minimise, the same per pair, and named per-pair metrics (detached)."""

    loss: Tensor  # ()
    per_pair: Tensor  # (B,)
    metrics: Mapping[str, Tensor]  # each (B,)


@dataclass(frozen=True)
class StepLog:
    """One optimiser step, as the training loop yields it. All numbers are means over the step's pairs."""

    step: int  # 1 after the first optimiser step
    loss: float
    metrics: Mapping[str, float]
    learning_rate: float
    gradient_norm: float
    seconds: float
    by_noise: Mapping[str, tuple[float, ...]] = field(default_factory=dict)  # per fifth of the schedule: count and sums


Progress = Callable[[int, int, str], None]
"""`progress(done, total, what)`: told by long work how far it is; the caller draws the bar. Total 0: nobody knows."""


def no_progress(done: int, total: int, what: str) -> None:
    """Ignore progress: the default of every function that reports it."""
