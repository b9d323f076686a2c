"""How a score is read from an answer: probabilities of first tokens, and verdicts in text."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accord.scorers.judge.answer import Answer, Unreadable, expectation, read_answer, word_masses
from accord.scorers.judge.rubrics import (
    LEVELS,
    PAIR_QUESTION,
    RUBRICS,
    read_final_score,
    read_levels,
    read_verdict,
    read_yes,
)


def first(**probabilities):
    return Answer("", tuple((token.replace("_", " "), math.log(p)) for token, p in probabilities.items()))


def test_yes_sums_its_spellings_and_counts_nothing_else():
    answer = first(Yes=0.4, _yes=0.1, YES=0.05, No=0.3, yesterday=0.02, _Not=0.03, y=0.01)
    assert read_yes(answer) == pytest.approx(0.55)


def test_what_is_not_listed_counts_as_nothing():
    assert read_yes(first(No=0.99)) == 0.0


def test_levels_are_an_expectation_over_the_five_words_alone():
    """By hand: (5*.2 + 4*.3 + 3*.1 + 1*.1) / .7 with the other .3 elsewhere."""
    answer = first(excellent=0.2, Good=0.3, _fair=0.1, bad=0.1, The=0.2, Overall=0.1)
    assert read_levels(answer) == pytest.approx((1.0 + 1.2 + 0.3 + 0.1) / 0.7)


def test_the_beginning_of_a_word_counts_for_it_but_a_single_letter_does_not():
    assert word_masses(first(ex=0.5, _Exc=0.2, E=0.2, poo=0.1), LEVELS) == pytest.approx(
        {"excellent": 0.7, "good": 0, "fair": 0, "poor": 0.1, "bad": 0}
    )


@given(st.lists(st.floats(0.001, 1), min_size=5, max_size=5))
def test_an_expectation_lies_between_the_least_and_the_best(weights):
    masses = dict(zip(LEVELS, weights, strict=True))
    assert 1 - 1e-9 <= expectation(masses, LEVELS) <= 5 + 1e-9


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer("Yes"), "gave no log probabilities"),
        (first(The=0.9, Yes=0.05), "one of yes, no with only 5%"),
        (Answer("", (("yes", 0.7),)), "with only 0%"),  # no probability is above 1
    ],
)
def test_no_score_from_a_model_that_does_not_answer_the_question(answer, reason):
    with pytest.raises(Unreadable, match=reason):
        read_yes(answer)


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("cat (object): 1\nFinal Score: 4.5", 4.5),
        ("**Final Score:** 3", 3.0),
        ("final score = 2\nOn reflection.\nFinal Score: 1", 1.0),
        ("Final Score: 4/5", 4.0),
    ],
)
def test_a_final_score_is_read(text, score):
    assert read_final_score(Answer(text)) == score


@pytest.mark.parametrize("text", ["", "I like it: 4", "Final Score: very good", "Final Score: 9", "Final Score: 0"])
def test_a_text_without_a_final_score_is_no_score(text):
    with pytest.raises(Unreadable, match=r"final score|'Final Score:'"):
        read_final_score(Answer(text))


def test_a_verdict_names_an_image_and_the_last_counts():
    assert read_verdict(Answer("**Image 1 is better.**")) == 1.0
    assert read_verdict(Answer("Image 1 is better in style, but image 2 is better overall")) == 0.0
    assert read_verdict(Answer("Both images are equally good.")) == 0.5
    with pytest.raises(Unreadable, match="neither"):
        read_verdict(Answer("The first."))


@pytest.mark.parametrize(
    "body",
    [None, [], {}, {"choices": []}, {"choices": [{}]}, {"choices": [{"message": {"content": 7}}]}, {"error": "busy"}],
)
def test_json_that_is_no_completion_is_told(body):
    with pytest.raises(ValueError, match="no chat completion"):
        read_answer(body)


def test_a_completion_without_text_or_usage_is_an_answer():
    assert read_answer({"choices": [{"message": {"content": None}, "logprobs": None}]}) == Answer("", (), None)


def test_the_trained_questions_hold_the_prompt_once_and_name_what_is_read():
    assert RUBRICS["unified_reward"].question.count("{prompt}") == PAIR_QUESTION.count("{prompt}") == 1
    assert RUBRICS["unified_reward"].question.startswith("You are given a text caption and a generated image based on")
    assert "'Final Score:'" in RUBRICS["unified_reward"].question
    assert '"Image 2 is better."' in PAIR_QUESTION
    assert all(word in RUBRICS["five_levels"].question for word in LEVELS)
