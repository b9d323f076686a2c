"""Reading and writing captions are inverses, and the prompt lists are disjoint, balanced and reproducible."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from accord.errors import ConfigError
from accord.world.captions import Asked, Caption, CaptionError, all_captions, draw_caption, parse, write
from accord.world.prompts import SPLITS, draw_prompts, load_prompts, share_out, write_prompts
from accord.world.tokenizer import LENGTH, make_tokenizer, vocabulary
from accord.world.vocabulary import SKILLS


def test_round_trip_over_the_whole_grammar() -> None:
    captions = list(all_captions())
    texts = [write(caption) for caption in captions]
    assert len(set(texts)) == len(texts) == 7215
    assert [parse(text) for text in texts] == captions
    assert set(Counter(caption.skill for caption in captions)) == set(SKILLS)


@pytest.mark.parametrize(
    ("text", "caption", "skill"),
    [
        ("a circle", Caption((Asked("circle"),)), "single"),
        ("an orange square", Caption((Asked("square", "orange"),)), "colors"),
        ("three red circles", Caption((Asked("circle", "red", 3),)), "counting"),
        (
            "a square and a triangle on a black background",
            Caption((Asked("square"), Asked("triangle")), None, "black"),
            "two",
        ),
        (
            "a red circle left of an orange circle on a beige background",
            Caption((Asked("circle", "red"), Asked("circle", "orange")), "left of", "beige"),
            "position",
        ),
        ("a red circle and a blue square", Caption((Asked("circle", "red"), Asked("square", "blue"))), "attribution"),
    ],
)
def test_examples_by_hand(text: str, caption: Caption, skill: str) -> None:
    assert parse(text) == caption
    assert write(caption) == text
    assert caption.skill == skill


@pytest.mark.parametrize(
    "text",
    [
        "",
        "circle",
        "a pink circle",
        "a hexagon",
        "two circle",
        "a circles",
        "a orange circle",
        "an red circle",
        "four circles",
        "A circle",
        "a circle ",
        "a circle on a red background",
        "a circle on background",
        "a circle and a circle",
        "a red circle and a square",
        "a red circle above a red square",
        "two circles above a square",
        "a circle and a square and a triangle",
        "a red circle near a blue square",
    ],
)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(CaptionError):
        parse(text)


@pytest.mark.parametrize("skill", SKILLS)
def test_drawn_captions_have_their_skill(skill: str) -> None:
    rng = np.random.default_rng(0)
    drawn = [draw_caption(skill, rng) for _ in range(200)]
    assert {caption.skill for caption in drawn} == {skill}
    assert 0.15 < np.mean([caption.background is not None for caption in drawn]) < 0.45


def test_unknown_skill_is_refused() -> None:
    with pytest.raises(CaptionError, match="unknown skill 'size'"):
        draw_caption("size", np.random.default_rng(0))


def test_prompt_lists_share_no_text() -> None:
    lists = {split: load_prompts(split) for split in SPLITS}
    assert {split: len(prompts) for split, prompts in lists.items()} == SPLITS
    texts = [text for prompts in lists.values() for text, _ in prompts]
    assert len(set(texts)) == len(texts)
    assert all(parse(text).skill == skill for prompts in lists.values() for text, skill in prompts)


def test_every_skill_is_in_every_list() -> None:
    for split in SPLITS:
        counts = Counter(skill for _, skill in load_prompts(split))
        assert set(counts) == set(SKILLS)
        assert counts["counting"] == counts["position"] == counts["attribution"]


def test_shipped_prompts_are_what_the_function_draws(tmp_path: Path) -> None:
    assert draw_prompts() == {split: load_prompts(split) for split in SPLITS}
    write_prompts(tmp_path)
    shipped = Path(__file__).parents[2] / "accord" / "world" / "data"
    for split in SPLITS:
        name = f"prompts_{split}.csv"
        assert (tmp_path / name).read_bytes() == (shipped / name).read_bytes()
    assert draw_prompts(seed=1) != draw_prompts()


def test_unknown_list_is_refused() -> None:
    with pytest.raises(ConfigError, match="no prompts 'test'"):
        load_prompts("test")


def test_share_out() -> None:
    assert share_out(12, {"a": 2, "b": 100, "c": 100}) == {"a": 2, "b": 5, "c": 5}
    assert sum(share_out(100, {"a": 50, "b": 30, "c": 21}).values()) == 100
    with pytest.raises(ConfigError, match="cannot draw 9"):
        share_out(9, {"a": 4, "b": 4})


def test_tokenizer_knows_every_word() -> None:
    tokenizer, words = make_tokenizer(), vocabulary()
    assert words["<end>"] != 2
    texts = [write(caption) for caption in all_captions()]
    rows = np.array(tokenizer(texts, padding="max_length").input_ids)
    assert rows.shape == (7215, LENGTH)
    assert not (rows == words["<unk>"]).any()
    assert (rows[:, 0] == words["<start>"]).all()
    assert ((rows == words["<end>"]).sum(axis=1) == 1).all()
    assert len(np.unique(rows, axis=0)) == 7215
    assert tokenizer("").input_ids == [words["<start>"], words["<end>"]]
