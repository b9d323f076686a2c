"""Every reward model of a paper says on its card what a user must know before trusting it."""

import pytest

from accord import registry
from accord.engine.scorers import scorer_card
from accord.testing.scorer_check import check_card

OFFICIAL = [name for name in registry.names("scorers") if scorer_card(name).checkpoint]
SILENT = ("pickscore", "mps", "blip_vqa")  # their authors state no terms for the weights


def test_none_is_missing():
    papers = (
        "clip_score laion_aesthetic pickscore hpsv2 hpsv2.1 image_reward mps blip_vqa vqascore vqascore_flant5 hpsv3"
    )
    assert set(papers.split()) <= set(OFFICIAL)


@pytest.mark.parametrize("name", OFFICIAL)
def test_a_card_is_complete(name):
    card = scorer_card(name)
    check_card(card)
    assert card.name == name
    assert card.licence_of_weights
    assert card.memory_gb > 0.5
    assert card.revision or card.checkpoint.startswith("https://"), "where the weights are, and which"
    assert any(year in card.citation for year in ("2021", "2022", "2023", "2024", "2025"))


@pytest.mark.parametrize("name", OFFICIAL)
def test_unclear_terms_are_said_whenever_it_is_used(name):
    """`note` is what the score stage prints; a card without clear terms for its weights must have one."""
    card = scorer_card(name)
    assert bool(card.note) == (name in SILENT), card.note
    assert card.is_commercial_use_allowed
