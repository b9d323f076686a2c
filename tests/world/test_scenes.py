"""Scenes are drawn the same from the same generator, show what their caption says, and look as computed by hand."""

import numpy as np
import pytest

from accord.errors import AccordError
from accord.world.captions import draw_caption, parse
from accord.world.dataset import draw_dataset, draw_example
from accord.world.imperfections import BAD_IMAGES, Flaws, corrupt, draw_flaws, render_flawed
from accord.world.prompts import load_prompts
from accord.world.scenes import (
    PALETTE,
    RELATION_RATIO,
    SKILLS,
    Scene,
    Thing,
    coverage,
    distance,
    draw_scene,
    relation_holds,
    render,
)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_same_generator_same_picture() -> None:
    caption = parse("three red squares on a gray background")
    first, second = render(draw_scene(caption, rng(3))), render(draw_scene(caption, rng(3)))
    assert first.shape == (32, 32, 3)
    assert first.dtype == np.uint8
    assert np.array_equal(first, second)
    assert not np.array_equal(first, render(draw_scene(caption, rng(4))))


@pytest.mark.parametrize("skill", SKILLS)
def test_scene_shows_its_caption(skill: str) -> None:
    draw = rng(1)
    for _ in range(30):
        caption = draw_caption(skill, draw)
        scene = draw_scene(caption, draw)
        assert scene.skill == skill
        assert len(scene.things) == sum(noun.count for noun in caption.asked)
        for thing, noun in zip(scene.things, [n for n in caption.asked for _ in range(n.count)], strict=True):
            assert thing.shape == noun.shape
            assert noun.color in (None, thing.color)
        assert caption.background in (None, scene.background)
        if skill == "counting":
            assert len({thing.color for thing in scene.things}) == 1
        if skill in ("two", "position", "attribution"):
            assert len({thing.color for thing in scene.things}) == 2
        if caption.relation is not None:
            a, b = scene.things
            assert relation_holds(caption.relation, a.x - b.x, a.y - b.y)


def test_things_lie_apart_and_inside() -> None:
    draw = rng(2)
    for _ in range(50):
        scene = draw_scene(draw_caption("counting", draw), draw)
        covers = np.stack([coverage(thing) for thing in scene.things])
        assert (covers > 0.5).sum(axis=0).max() == 1  # antialiased corners may share a pixel
        frame = np.ones((32, 32), bool)
        frame[1:-1, 1:-1] = False
        assert covers[:, frame].max() < 0.05  # the distance to a triangle is a little short beyond its corners


@pytest.mark.parametrize(
    ("shape", "area_per_square_radius"),
    [("circle", np.pi), ("square", (2 * 0.86) ** 2), ("triangle", 3 * np.sqrt(3) * 0.62**2)],
)
def test_coverage_adds_up_to_the_area(shape: str, area_per_square_radius: float) -> None:
    cover = coverage(Thing(shape, "red", 15.3, 16.1, 9.0))
    assert cover.sum() == pytest.approx(area_per_square_radius * 81, rel=0.02)
    assert cover.max() == 1.0
    assert cover.min() == 0.0


def test_distance_by_hand() -> None:
    points = np.array([0.0, 10.0, 13.0])
    assert distance("circle", points, np.zeros(3), 10.0) == pytest.approx([-10.0, 0.0, 3.0])
    assert distance("square", points, np.zeros(3), 10.0) == pytest.approx([-8.6, 1.4, 4.4])
    # The tip and the base of a triangle are 1.5 inradii from the middle of its box.
    assert distance("triangle", np.zeros(2), np.array([-9.3, 9.3]), 10.0) == pytest.approx([0.0, 0.0])
    with pytest.raises(AccordError, match="unknown shape 'cross'"):
        distance("cross", points, points, 1.0)


def test_middle_of_a_thing_has_its_colour() -> None:
    picture = render(Scene((Thing("circle", "blue", 16.0, 16.0, 8.0),), "white", "single"))
    assert tuple(picture[16, 16]) == PALETTE["blue"]
    assert tuple(picture[0, 0]) == (245, 245, 245)


def test_relation_needs_a_clear_difference() -> None:
    assert relation_holds("above", 1.0, -(RELATION_RATIO + 0.01))
    assert not relation_holds("above", 1.0, -(RELATION_RATIO - 0.01))
    assert not relation_holds("above", 0.0, 2.0)
    assert relation_holds("right of", 5.0, -1.0)
    assert not relation_holds("left of", 5.0, -1.0)


def test_no_flaws_means_the_clean_picture() -> None:
    scene = draw_scene(parse("a red circle and a blue square"), rng())
    assert np.array_equal(render_flawed(scene, Flaws()), render(scene))


@pytest.mark.parametrize(
    "flaws",
    [
        Flaws(shift=(5.0, 0.0)),
        Flaws(opacity=0.4),
        Flaws(blur=1.0),
        Flaws(grain=10.0),
        Flaws(specks=(Thing("circle", "red", 3.0, 3.0, 1.5),)),
    ],
)
def test_each_flaw_changes_the_picture_and_repeats(flaws: Flaws) -> None:
    scene = draw_scene(parse("a blue square on a white background"), rng())
    assert np.array_equal(render_flawed(scene, flaws), render_flawed(scene, flaws))
    assert not np.array_equal(render_flawed(scene, flaws), render(scene))


def test_blur_keeps_the_mean_brightness_inside() -> None:
    scene = Scene((Thing("circle", "blue", 16.0, 16.0, 6.0),), "white", "single")
    blurred = render_flawed(scene, Flaws(blur=1.2))
    assert blurred.mean() == pytest.approx(render(scene).mean(), abs=0.5)
    assert np.abs(np.diff(blurred.astype(int), axis=0)).max() < np.abs(np.diff(render(scene).astype(int), axis=0)).max()


def test_share_of_bad_pictures() -> None:
    draw = rng(5)
    share = np.mean([draw_flaws(draw) != Flaws() for _ in range(3000)])
    assert abs(share - BAD_IMAGES) < 4 * np.sqrt(BAD_IMAGES * (1 - BAD_IMAGES) / 3000)


def test_corrupted_captions_are_other_captions() -> None:
    draw = rng(6)
    for skill in SKILLS:
        for _ in range(50):
            caption = draw_caption(skill, draw)
            assert corrupt(caption, draw) != caption


def test_examples_do_not_depend_on_neighbours_or_processes() -> None:
    pictures, texts = draw_dataset(6, seed=4)
    picture, text = draw_example(5, seed=4, excluded=frozenset(t for t, _ in load_prompts("evaluate")))
    assert np.array_equal(pictures[5], picture)
    assert texts[5] == text


def test_evaluation_texts_are_not_trained_on() -> None:
    _, texts = draw_dataset(2500, seed=0)
    assert not set(texts) & {text for text, _ in load_prompts("evaluate")}
