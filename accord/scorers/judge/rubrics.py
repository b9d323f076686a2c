"""What a judge is asked, and how its answer becomes a score. One entry per rubric; `{prompt}` is the image's prompt.

    unified_reward  1 to 5, read from the text behind "Final Score:"                   UnifiedReward, arXiv 2503.05236
    yes_no          P("yes") of the first token: VQAScore on a served model            arXiv 2404.01291, equation 1
    five_levels     sum over the five words of value * P(word) / sum of P(word)        Q-Align, arXiv 2312.17090

The question of `unified_reward` is what its models were trained on and must stay as it is, word for word.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from accord.scorers.judge.answer import Answer, Unreadable, expectation, word_masses

LEVELS = {"excellent": 5.0, "good": 4.0, "fair": 3.0, "poor": 2.0, "bad": 1.0}
_FINAL = re.compile(r"final score\W*?(\d+(?:\.\d+)?)", re.IGNORECASE)
_VERDICT = re.compile(r"(image 1 is better)|(image 2 is better)|(both images are equally good)", re.IGNORECASE)


@dataclass(frozen=True)
class Rubric:
    """A question and its reading. `answer_tokens`: how long the answer may be; `wants_logprobs`: of the first token."""

    question: str
    read: Callable[[Answer], float]
    answer_tokens: int
    wants_logprobs: bool
    summary: str
    scale: str
    bradley_terry_scale: float
    low: float
    high: float
    citation: str


def read_final_score(answer: Answer) -> float:
    """Return the last number from 1 to 5 behind "Final Score:". Raises Unreadable without one."""
    found = _FINAL.findall(answer.text)
    if not found:
        raise Unreadable("the answer has no 'Final Score:' with a number")
    if not 1 <= float(found[-1]) <= 5:
        raise Unreadable("the final score is not from 1 to 5")
    return float(found[-1])


def read_yes(answer: Answer) -> float:
    """Return the probability of "yes" as first token, all its spellings together."""
    return word_masses(answer, ("yes", "no"))["yes"]


def read_levels(answer: Answer) -> float:
    """Return the expected level, 1 to 5."""
    return expectation(word_masses(answer, LEVELS), LEVELS)


def read_verdict(answer: Answer) -> float:
    """Return 1 if the first image is better, 0 if the second, 1/2 if both are equal; the last verdict counts."""
    found = _VERDICT.findall(answer.text)
    if not found:
        raise Unreadable("the answer names neither image as better, nor both as equally good")
    first, second, _ = found[-1]
    return 1.0 if first else 0.0 if second else 0.5


_CRITERIA = (
    "1. Alignment with the Caption: Assess how well {which} image aligns with the provided caption. Consider the "
    "accuracy of depicted objects, their relationships, and attributes as described in the caption.\n"
    "2. Overall Image Quality: Examine the visual quality of {which} image, including clarity, detail preservation, "
    "color accuracy, and overall aesthetic appeal.\n"
)
_TASK = "Your task is provided as follows:\nText Caption: [{prompt}]"

RUBRICS = {
    "unified_reward": Rubric(
        "You are given a text caption and a generated image based on that caption. Your task is to evaluate this "
        "image based on two key criteria:\n" + _CRITERIA.replace("{which}", "this") + "Extract key elements from the "
        "provided text caption, evaluate their presence in the generated image using the format: 'element (type): "
        "value' (where value=0 means not generated, and value=1 means generated), and assign a score from 1 to 5 "
        "after 'Final Score:'.\n" + _TASK,
        read_final_score,
        answer_tokens=512,
        wants_logprobs=False,
        summary="A generated verdict on alignment and quality, for UnifiedReward models; many images tie.",
        scale="1 to 5, often whole or half numbers",
        bradley_terry_scale=1.0,
        low=1.0,
        high=5.0,
        citation="Wang et al., UnifiedReward, arXiv 2503.05236",
    ),
    "yes_no": Rubric(
        'Does this figure show "{prompt}"? Please answer Yes or No.',
        read_yes,
        answer_tokens=1,
        wants_logprobs=True,
        summary="How probably the model answers yes when asked whether the image shows the prompt.",
        scale="probability of yes, 0 to 1",
        bradley_terry_scale=5.0,
        low=0.0,
        high=1.0,
        citation="Lin et al., VQAScore, ECCV 2024, arXiv 2404.01291",
    ),
    "five_levels": Rubric(
        "How would you rate the quality of this image? Answer with one word: excellent, good, fair, poor or bad.",
        read_levels,
        answer_tokens=1,
        wants_logprobs=True,
        summary="The expected word on a scale of five for the image's quality.",
        scale="1 bad to 5 excellent, an expectation",
        bradley_terry_scale=2.0,
        low=1.0,
        high=5.0,
        citation="Wu et al., Q-Align, ICML 2024, arXiv 2312.17090",
    ),
}

PAIR_QUESTION = (
    "You are given a text caption and two generated images based on that caption. Your task is to evaluate and compare "
    "these images based on two key criteria:\n" + _CRITERIA.replace("{which}", "each") + "Compare both images using "
    "the above criteria and select the one that better aligns with the caption while exhibiting superior visual "
    'quality.\nProvide a clear conclusion such as "Image 1 is better.", "Image 2 is better." and "Both images are '
    'equally good."\n' + _TASK
)
PAIR_ANSWER_TOKENS = 512
