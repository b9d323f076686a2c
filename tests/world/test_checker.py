from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from accord.errors import ScoringError
from accord.seeding import generator
from accord.world.captions import Caption, CaptionError, draw_caption, write
from accord.world.checker import check, check_many
from accord.world.imperfections import corrupt
from accord.world.scenes import Scene, Thing, draw_scene, render
from accord.world.vocabulary import SKILLS

PICTURES_PER_SKILL = 30


def drawn(skill: str, index: int) -> tuple[Caption, Scene, np.random.Generator]:
    rng = generator(3, "checker", skill, index)
    caption = draw_caption(skill, rng)
    return caption, draw_scene(caption, rng), rng


@cache
def cases(skill: str) -> tuple[list[np.ndarray], list[str], list[str]]:
    """Pictures, their captions, and captions with one error."""
    pictures, right, wrong = [], [], []
    for index in range(PICTURES_PER_SKILL):
        caption, scene, rng = drawn(skill, index)
        pictures.append(render(scene))
        right.append(write(caption))
        wrong.append(write(corrupt(caption, rng)))
    return pictures, right, wrong


@pytest.mark.parametrize("skill", SKILLS)
def test_accepts_clean_pictures_of_every_skill(skill: str) -> None:
    pictures, right, _ = cases(skill)
    assert check_many(pictures, right).mean() >= 0.95


@pytest.mark.parametrize("skill", SKILLS)
def test_rejects_captions_with_one_error(skill: str) -> None:
    pictures, _, wrong = cases(skill)
    assert check_many(pictures, wrong).mean() <= 0.03


def scene(*things: Thing, background: str = "gray") -> np.ndarray:
    return render(Scene(things, background, "single"))


CIRCLE = Thing("circle", "red", 10.0, 16.0, 6.0)
SQUARE = Thing("square", "blue", 22.0, 16.0, 5.0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a red circle and a blue square", True),
        ("a blue square and a red circle", True),
        ("a circle and a square", True),
        ("a red circle left of a blue square", True),
        ("a blue square right of a red circle", True),
        ("a red circle right of a blue square", False),
        ("a red circle above a blue square", False),
        ("a blue circle and a red square", False),
        ("a red circle and a blue square on a gray background", True),
        ("a red circle and a blue square on a white background", False),
        ("a red circle", False),  # one thing too many
    ],
)
def test_reads_every_part_of_the_caption(text: str, expected: bool) -> None:
    assert check(scene(CIRCLE, SQUARE), text) is expected


def test_counts_exactly() -> None:
    triangles = [Thing("triangle", "green", x, 16.0, 4.5) for x in (6.0, 16.0, 26.0)]
    assert check(scene(*triangles), "three green triangles")
    assert not check(scene(*triangles[:2]), "three green triangles")
    assert check(scene(*triangles[:2]), "two green triangles")
    assert not check(scene(*triangles), "two green triangles")


def test_a_relation_must_be_clear() -> None:
    text = "a red circle above a blue square"
    clear = replace(CIRCLE, x=16.0, y=8.0), replace(SQUARE, x=19.0, y=23.0)
    diagonal = replace(CIRCLE, x=9.0, y=9.0), replace(SQUARE, x=23.0, y=23.0)
    assert check(scene(*clear), text)
    assert not check(scene(*diagonal), text)


def test_an_empty_picture_shows_nothing() -> None:
    assert not check(scene(), "a circle")


def test_specks_are_not_things() -> None:
    speck = Thing("circle", "green", 27.0, 5.0, 1.5)
    assert check(scene(CIRCLE, speck), "a red circle")
    assert not check(scene(CIRCLE, replace(speck, radius=4.2)), "a red circle")


def test_things_grown_together_are_rejected() -> None:
    pair = Thing("circle", "red", 10.0, 16.0, 5.0), Thing("circle", "red", 19.0, 16.0, 5.0)
    assert not check(scene(*pair), "a red circle")
    assert not check(scene(*pair), "two red circles")


def test_refuses_other_sizes_and_other_texts() -> None:
    with pytest.raises(ScoringError, match="32x32"):
        check(np.zeros((64, 64, 3), np.uint8), "a circle")
    with pytest.raises(ScoringError, match="float64"):
        check(np.zeros((32, 32, 3)), "a circle")
    with pytest.raises(CaptionError):
        check(scene(CIRCLE), "a photo of a cat")
    with pytest.raises(ScoringError, match="1 pictures and 2 texts"):
        check_many([scene(CIRCLE)], ["a circle", "a circle"])
