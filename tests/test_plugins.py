"""Every plug-in of the registry keeps the promises of its kind. A new built-in is checked without a line added here."""

import numpy as np
import pytest

from accord import registry
from accord.errors import MissingDependency
from accord.testing.checks import CHECKS, check_scorer
from accord.world.captions import draw_caption, write
from accord.world.scenes import SKILLS, draw_scene, render

# Kinds that need a model or a training loop, and where their shared checks are run.
ELSEWHERE = {"families": "tests/models", "references": "tests/train"}

PLUGINS = [(kind, name) for kind in CHECKS for name in registry.names(kind)]


def world_pictures(per_skill: int = 2) -> tuple[list[np.ndarray], list[str]]:
    """Return pictures with captions: clean ones, one with the wrong caption, one of noise."""
    generator = np.random.default_rng(0)
    images, prompts = [], []
    for skill in SKILLS * per_skill:
        caption = draw_caption(skill, generator)
        images.append(render(draw_scene(caption, generator)))
        prompts.append(write(caption))
    images.append(generator.integers(0, 256, images[0].shape, dtype=np.uint8))
    return [*images, images[0]], [*prompts, prompts[0], prompts[-1]]


@pytest.mark.parametrize(("kind", "name"), PLUGINS)
def test_plugin(kind, name):
    CHECKS[kind](registry.load(kind, name))


@pytest.mark.parametrize("name", registry.names("scorers"))
def test_scorer(name):
    try:
        scorer = registry.load("scorers", name)()
    except MissingDependency as error:
        if error.__cause__.name.startswith("accord"):
            raise  # one of our own modules, which no one can install
        pytest.skip(str(error))
    assert scorer.card.name == name
    check_scorer(scorer, *world_pictures())


def test_every_kind_has_a_check():
    assert set(registry.TABLES) == {*CHECKS, *ELSEWHERE, "scorers"}
