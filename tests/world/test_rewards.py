"""What each scorer of the world must like and dislike, and what all of them must hold to."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from accord.errors import ScoringError
from accord.registry import TABLES, load
from accord.seeding import generator
from accord.types import Scorer
from accord.world.captions import draw_caption, write
from accord.world.imperfections import Flaws, corrupt, render_flawed
from accord.world.rewards.aesthetics import Aesthetics
from accord.world.scenes import Scene, Thing, draw_scene, render
from accord.world.vocabulary import SKILLS

NAMES = [name for name in TABLES["scorers"] if name.startswith("world_")]
WITH_PROMPT = ["world_alignment", "world_checker", "world_judge"]
NUM_SCENES = 36


@cache
def scorer(name: str) -> Scorer:
    return load("scorers", name)()


@cache
def scenes() -> tuple[tuple[Scene, str, str], ...]:
    """Scenes, their captions, and captions with one error."""
    drawn = []
    for index in range(NUM_SCENES):
        rng = generator(5, "rewards", index)
        caption = draw_caption(SKILLS[index % len(SKILLS)], rng)
        drawn.append((draw_scene(caption, rng), write(caption), write(corrupt(caption, rng))))
    return tuple(drawn)


def clean() -> tuple[list[np.ndarray], list[str]]:
    return [render(scene) for scene, _, _ in scenes()], [text for _, text, _ in scenes()]


def mixed() -> tuple[list[np.ndarray], list[str]]:
    """Clean, flawed, empty and random pictures with right, wrong and foreign prompts."""
    pictures, texts = clean()
    pictures += [render_flawed(scene, Flaws(opacity=0.5, blur=0.9, grain=9.0)) for scene, _, _ in scenes()]
    texts += [wrong for _, _, wrong in scenes()]
    pictures += [np.zeros((32, 32, 3), np.uint8), np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)]
    return pictures, [*texts, "a photo of a cat", "a red circle"]


@pytest.mark.parametrize("name", NAMES)
def test_keeps_the_contract_of_scorers(name: str) -> None:
    pictures, texts = mixed()
    scores = scorer(name).score(pictures, texts)
    card = scorer(name).card
    assert scores.shape == (len(pictures),)
    assert scores.dtype == np.float64
    assert card.name == name
    assert isinstance(scorer(name), Scorer)
    assert all([card.version, card.summary, card.scale, card.licence, card.citation])
    assert card.bradley_terry_scale > 0
    seen = scores[~np.isnan(scores)]
    assert card.low is None or seen.min() >= card.low
    assert card.high is None or seen.max() <= card.high
    assert scorer(name).score([], []).shape == (0,)


@pytest.mark.parametrize("name", NAMES)
def test_a_row_does_not_depend_on_the_others(name: str) -> None:
    pictures, texts = mixed()
    together = scorer(name).score(pictures, texts)
    order = np.random.default_rng(1).permutation(len(pictures))
    shuffled = scorer(name).score([pictures[i] for i in order], [texts[i] for i in order])
    alone = np.concatenate([scorer(name).score([p], [t]) for p, t in zip(pictures, texts, strict=True)])
    stacked = scorer(name).score(np.stack(pictures), texts)
    for other in (shuffled[np.argsort(order)], alone, stacked):
        np.testing.assert_array_equal(other, together)  # to the last bit


@pytest.mark.parametrize("name", NAMES)
def test_the_card_says_whether_the_prompt_matters(name: str) -> None:
    pictures, right = clean()
    wrong = [text for _, _, text in scenes()]
    changed = scorer(name).score(pictures, right) != scorer(name).score(pictures, wrong)
    assert scorer(name).card.uses_prompt == changed.any() == (name in WITH_PROMPT)


@pytest.mark.parametrize("name", WITH_PROMPT)
def test_a_prompt_outside_the_grammar_is_not_scored(name: str) -> None:
    picture = clean()[0][0]
    scores = scorer(name).score([picture] * 3, ["a photo of a cat", clean()[1][0], "A circle"])
    assert np.isnan(scores).tolist() == [True, False, True]


@pytest.mark.parametrize("name", NAMES)
def test_other_pictures_are_refused(name: str) -> None:
    good = np.zeros((32, 32, 3), np.uint8)
    for bad in (np.zeros((64, 32, 3), np.uint8), np.zeros((32, 32, 3)), np.zeros((32, 32), np.uint8)):
        with pytest.raises(ScoringError, match=rf"{name}.*32x32.*image 1 is"):
            scorer(name).score([good, bad], ["a circle"] * 2)
    with pytest.raises(ScoringError, match="1 images, 2 prompts"):
        scorer(name).score([good], ["a circle"] * 2)


def share_lowered(name: str, spoil: Callable[[Scene], np.ndarray]) -> float:
    """Share of clean pictures whose score is lower after they were spoilt."""
    pictures, texts = clean()
    before = scorer(name).score(pictures, texts)
    after = scorer(name).score([spoil(scene) for scene, _, _ in scenes()], texts)
    return float((after < before).mean())


SPECKS = tuple(Thing("square", color, x, y, 1.8) for color, x, y in (("red", 4, 5), ("blue", 27, 9), ("green", 8, 27)))


def with_grain(scene: Scene) -> np.ndarray:
    return render_flawed(scene, Flaws(grain=12.0, grain_seed=1))


def with_specks(scene: Scene) -> np.ndarray:
    return render_flawed(scene, Flaws(specks=SPECKS))


def cropped(scene: Scene) -> np.ndarray:
    return render_flawed(scene, Flaws(shift=(9.0, 5.0)))


def faded(scene: Scene) -> np.ndarray:
    return render_flawed(scene, Flaws(opacity=0.35))


def blurred(scene: Scene) -> np.ndarray:
    return render_flawed(scene, Flaws(blur=1.3))


def sheared(scene: Scene) -> np.ndarray:
    """Every second row moved to the left, every row further than the one above: figures lean and fray."""
    return np.stack([np.roll(row, -(y // 3), axis=0) for y, row in enumerate(render(scene))])


@pytest.mark.parametrize(
    ("name", "spoil", "share"),
    [
        ("world_alignment", faded, 1.0),
        ("world_alignment", blurred, 0.95),
        ("world_alignment", sheared, 0.95),
        ("world_alignment", cropped, 0.90),
        ("world_aesthetics", with_grain, 1.0),
        ("world_aesthetics", with_specks, 0.95),
        ("world_aesthetics", cropped, 0.75),
        ("world_taste", faded, 1.0),
        ("world_taste", blurred, 1.0),
        ("world_heldout", sheared, 1.0),
        ("world_heldout", cropped, 0.75),
        ("world_judge", blurred, 0.75),
    ],
)
def test_dislikes(name: str, spoil: Callable[[Scene], np.ndarray], share: float) -> None:
    assert share_lowered(name, spoil) >= share


def test_taste_and_aesthetics_disagree_about_fading_and_clutter() -> None:
    assert share_lowered("world_taste", faded) == 1.0
    assert share_lowered("world_aesthetics", faded) < 0.2
    assert share_lowered("world_taste", with_specks) < 0.2
    assert share_lowered("world_aesthetics", with_specks) >= 0.95


@pytest.mark.parametrize("name", WITH_PROMPT)
def test_a_wrong_caption_costs_nearly_everything(name: str) -> None:
    pictures, right = clean()
    before = scorer(name).score(pictures, right)
    after = scorer(name).score(pictures, [wrong for _, _, wrong in scenes()])
    assert before.min() > 0.6
    assert after.max() < 0.4


def test_alignment_ranks_half_right_between_right_and_wrong() -> None:
    picture = render(Scene((Thing("circle", "red", 9, 16, 6), Thing("square", "blue", 23, 16, 6)), "gray", "two"))
    texts = [
        "a red circle and a blue square",
        "a red circle and a green square",
        "a yellow triangle and a green triangle",
    ]
    right, half, wrong = scorer("world_alignment").score([picture] * 3, texts)
    assert right > 0.8 > 0.2 > half > 2 * wrong


def test_alignment_falls_with_the_distance_from_the_relation() -> None:
    lower = Thing("square", "blue", 16, 24, 4.5)
    pictures = [
        render(Scene((replace(lower, shape="circle", color="red", x=x, y=y), lower), "white", "position"))
        for x, y in ((16, 7), (7, 12), (6, 14), (5, 20))
    ]
    scores = scorer("world_alignment").score(pictures, ["a red circle above a blue square"] * 4)
    assert (np.diff(scores) < 0).all()


def test_stronger_weights_of_aesthetics_punish_strong_colour_more() -> None:
    vivid = render(Scene((Thing("circle", "red", 16, 16, 12),), "gray", "single"))
    quiet = render(Scene((Thing("circle", "red", 16, 16, 6),), "gray", "single"))
    gaps = []
    for fill, saturation in ((0.0, 0.0), (3.0, 2.0), (6.0, 4.0)):
        better, worse = Aesthetics(fill_weight=fill, saturation_weight=saturation).score([quiet, vivid], ["", ""])
        gaps.append(better - worse)
    assert gaps[0] < gaps[1] < gaps[2]


def test_empty_pictures_have_a_score() -> None:
    empty = render(Scene((), "gray", "single"))
    scores = {name: scorer(name).score([empty], ["a circle"])[0] for name in NAMES}
    assert scores["world_heldout"] == 0.0
    assert scores["world_checker"] == 0.0
    assert scores["world_alignment"] < 0.2
    assert scores["world_judge"] < 0.1
    assert all(np.isfinite(list(scores.values())))
