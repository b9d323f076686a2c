"""The look of the evaluation images: kept, made again only if the images change, and joined by prompt."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from accord.artifacts import open_stage
from accord.engine.look import NAMES, look
from accord.images import ImageRow, encode_image, image_id, part_path, write_images
from accord.stats.image_statistics import diversity, image_statistics
from accord.types import Prompt

PROMPTS = [Prompt.make(text, "test") for text in ("a", "b", "c")]


def drawn(prompt: Prompt, index: int) -> np.ndarray:
    generator = np.random.default_rng([PROMPTS.index(prompt), index])
    return generator.integers(0, 256, (8, 8, 3)).astype(np.uint8)


def draw_images(run: Path, num: int, damaged: tuple[str, ...] = (), settings: int = 0) -> None:
    """Write `num` images of each prompt, in shards whose order is not that of the prompts."""
    stage = open_stage(run, "evaluate/base", {"version": settings}, redo=True)
    for part, prompt in enumerate(reversed(PROMPTS)):
        rows = []
        for index in range(num):
            identity = image_id(prompt.id, index)
            content = b"no image" if identity in damaged else encode_image(drawn(prompt, index), "png")
            rows.append(ImageRow(identity, prompt.id, index, 0, content, 8, 8))
        write_images(part_path(stage.folder, part), rows, num)
    stage.finish({})


def test_statistics_are_those_of_each_prompts_images(tmp_path: Path) -> None:
    draw_images(tmp_path, 3)
    found = look(tmp_path, "base", PROMPTS)
    assert tuple(found) == NAMES
    for place, prompt in enumerate(PROMPTS):
        images = [drawn(prompt, index) for index in range(3)]
        assert found["diversity"][place] == diversity(images)
        edges = [image_statistics(image)["edge_density"] for image in images]
        assert found["edge_density"][place] == pytest.approx(np.mean(edges))


def test_it_is_kept_and_made_again_when_the_images_change(tmp_path: Path) -> None:
    draw_images(tmp_path, 2)
    told: list[int] = []
    first = look(tmp_path, "base", PROMPTS, progress=lambda done, total, what: told.append(done))
    assert told == [1, 2, 3]
    second = look(tmp_path, "base", PROMPTS, progress=lambda done, total, what: told.append(done))
    assert told == [1, 2, 3]
    assert all(np.array_equal(first[name], second[name]) for name in NAMES)
    draw_images(tmp_path, 3, settings=1)
    assert not np.array_equal(look(tmp_path, "base", PROMPTS)["diversity"], first["diversity"])


def test_what_cannot_be_seen_is_nan(tmp_path: Path) -> None:
    """The first prompt has one image left, the second none."""
    damaged = (image_id(PROMPTS[0].id, 1), *(image_id(PROMPTS[1].id, index) for index in range(2)))
    draw_images(tmp_path, 2, damaged)
    found = look(tmp_path, "base", PROMPTS)
    assert np.isnan(found["diversity"]).tolist() == [True, True, False]
    assert np.isnan(found["brightness"]).tolist() == [False, True, False]
    assert found["brightness"][0] == image_statistics(drawn(PROMPTS[0], 0))["brightness"]
