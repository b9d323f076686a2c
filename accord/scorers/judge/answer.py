"""What an endpoint answers, and how a score is read from the probabilities of the first token."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

MIN_MASS = 0.5  # below it the model mostly says something else, and did not answer the question as asked


class Unreadable(Exception):
    """An answer came, but no score can be read from it. The message is the reason."""


@dataclass(frozen=True)
class Answer:
    """What the model said, and the likeliest first tokens with their natural log probabilities (none if not asked)."""

    text: str
    first: tuple[tuple[str, float], ...] = ()
    tokens: int | None = None  # that the endpoint counted for question and answer; None: it did not say


def read_answer(body: Any) -> Answer:
    """Return the answer in the JSON of a chat completion. Raises ValueError if it is none."""
    try:
        choice = body["choices"][0]
        text = choice["message"]["content"] or ""
        listed = ((choice.get("logprobs") or {}).get("content") or [{}])[0].get("top_logprobs") or []
        first = tuple((str(each["token"]), float(each["logprob"])) for each in listed)
        tokens = (body.get("usage") or {}).get("total_tokens")
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"no chat completion ({type(error).__name__}: {error})") from error
    if not isinstance(text, str):
        raise ValueError("no chat completion (the content is no text)")
    return Answer(text, first, tokens if isinstance(tokens, int) else None)


def word_masses(answer: Answer, words: Iterable[str]) -> dict[str, float]:
    """Return the probability of each word as first token, summed over its spellings (case, blanks around it).

    A token also counts for a word that it begins, if it has two letters or more and begins no other. What the endpoint
    does not list counts as 0: it lists the likeliest tokens, so the error is at most the smallest one listed. Raises
    Unreadable if it listed nothing, or if all words together have less than half of the probability.
    """
    if not answer.first:
        raise Unreadable("the endpoint gave no log probabilities")
    words = list(words)
    masses = dict.fromkeys(words, 0.0)
    for token, logprob in answer.first:
        found = [word for word in words if _stands_for(token.strip().lower(), word)]
        if len(found) == 1 and logprob <= 0:
            masses[found[0]] += math.exp(logprob)
    if sum(masses.values()) < MIN_MASS:
        raise Unreadable(f"the first token is one of {', '.join(words)} with only {sum(masses.values()):.0%}")
    return masses


def expectation(masses: Mapping[str, float], values: Mapping[str, float]) -> float:
    """Return the mean of the words' values, weighted by their probabilities."""
    return sum(masses[word] * values[word] for word in values) / sum(masses[word] for word in values)


def _stands_for(token: str, word: str) -> bool:
    return token == word or (len(token) >= 2 and word.startswith(token))
