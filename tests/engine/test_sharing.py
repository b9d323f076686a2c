"""What scorers share: one decoding, one preparation, one text, one network; and turns within a memory budget."""

import weakref
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from accord import registry
from accord.engine.scorers import plan_turns, scorer_settings
from accord.engine.scoring import ScoreSettings, ScoreShard, checkpoint_hashes, finished_facts, score_images
from accord.errors import ConfigError, ScoringError
from accord.images import ImageRow, encode_image, image_id, write_images
from accord.scorers.batch import Batch
from accord.scorers.shared import shared
from accord.tables import read_scores
from accord.types import ScorerCard

CARD = ScorerCard("mean", "1", "s", "0..1", 1.0, True, "MIT", "none", memory_gb=1.0)
CALLS: list[str] = []


@dataclass(frozen=True)
class Mean:
    """Mean of each channel; a picture that is all black cannot be prepared."""

    power: int = 1

    def __call__(self, image):
        CALLS.append(f"prepare {self.power}")
        if not image.any():
            raise ValueError("all black")
        return (image.mean(axis=(0, 1)).astype(np.float32) / 255) ** self.power


class First:
    """Red of the picture, plus the length of its text."""

    card = CARD

    def __init__(self, *, power: int = 1, dtype: str = "bfloat16", device: str = "cpu", quantise: str = "no") -> None:
        self.preprocessing = Mean(power)
        self.checkpoint = {"weights": f"hash of {device}"}

    def score_batch(self, batch):
        pixels = batch.pixels(self.preprocessing)
        mean = batch.once(("mean", self.preprocessing), lambda: CALLS.append("network") or pixels)
        texts = batch.texts("length", lambda new: CALLS.extend(new) or torch.tensor([float(len(t)) for t in new]))
        return (mean[:, 0] + texts).double().numpy()

    def score(self, images, prompts):
        return self.score_batch(Batch(images, prompts))


class Second(First):
    """The same network and preparation."""


class Plain:
    """Knows nothing of batches."""

    card = replace(CARD, network="plain")
    neutral_options = frozenset({"speed"})

    def __init__(self, *, speed: int = 1, shift: float = 0.0) -> None:
        self.shift = shift

    def score(self, images, prompts):
        return np.array([image.mean() + self.shift for image in images])


TEXTS = {"p": "one", "q": "three"}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    CALLS.clear()
    for each in (First, Second, Plain):
        monkeypatch.setitem(registry.TABLES["scorers"], each.__name__.lower(), f"{__name__}:{each.__name__}")
    for part in range(2):
        rows = [
            ImageRow(image_id(p, i), p, i, 0, encode_image(np.full((4, 4, 3), level, np.uint8), "png"), 4, 4)
            for p in TEXTS
            for i, level in enumerate((51 * (part + 1), 102, 0 if p == "q" and part else 153), 3 * part)
        ]
        write_images(tmp_path / f"part-{part:05d}.parquet", rows, 3)
    return tmp_path


def shards(folder, *names):
    parts = [f"part-{part:05d}.parquet" for part in range(2)]
    return [ScoreShard(folder / part, {name: folder / name / part for name in names}) for part in parts]


def run(folder, *names, **settings):
    return list(score_images(shards(folder, *names), TEXTS, ScoreSettings(**settings), ["cpu"]))


@pytest.mark.parametrize("batch_size", [1, 2, 4, 64])
def test_what_is_shared_is_made_once_and_scores_do_not_depend_on_the_batch(folder, batch_size):
    steps = run(folder, "first", "second", "plain", batch_size=batch_size)
    assert steps == [(0, 2), (1, 2), (2, 2)]
    assert CALLS.count("prepare 1") == 12
    assert [CALLS.count(text) for text in TEXTS.values()] == [2, 2]  # once per shard, whatever the batch size
    first, second = read_scores(folder / "first"), read_scores(folder / "second")
    np.testing.assert_equal(first, second)
    expected = {"p-0000": 0.2 + 3, "p-0001": 0.4 + 3, "p-0002": 0.6 + 3, "q-0000": 0.2 + 5, "p-0003": 0.4 + 3}
    assert {name: first[name][1] for name in expected} == pytest.approx(expected)
    assert first["q-0005"][2] == "ValueError: all black"
    assert np.isnan(first["q-0005"][1])
    assert read_scores(folder / "plain")["q-0005"][1] == 0.0


def test_a_network_runs_once_for_two_scorers(folder):
    run(folder, "first", "second", batch_size=3)
    # part 0: two batches; part 1: two batches, and the second of them again row by row, for each scorer
    assert CALLS.count("network") == 3 + 2 * 2


def test_another_preparation_is_not_mixed_up(folder):
    run(folder, "first", "second", options={"second": {"power": 2}})
    assert read_scores(folder / "second")["p-0000"][1] == pytest.approx(0.04 + 3)
    assert CALLS.count("prepare 2") == 12


def test_turns_keep_the_budget_and_a_network_counts_once(folder):
    float32 = {"first": {"dtype": "float32"}}
    assert plan_turns(["first", "plain", "second"], {}, None) == [["first", "plain", "second"]]
    assert plan_turns(["first", "plain", "second"], {}, 2.0) == [["first", "plain"], ["second"]]
    assert plan_turns(["first", "plain", "second"], float32, 2.0) == [["first"], ["plain", "second"]]
    with pytest.raises(ScoringError, match=r"'first' needs 2.0 GB .* score.memory_gb is 1.5"):
        plan_turns(["first"], float32, 1.5)


def test_what_does_not_lie_on_the_device_does_not_count(folder):
    assert plan_turns(["first", "second"], {"first": {"device": "cpu"}}, 1.0) == [["first", "second"]]
    halves = {name: {"dtype": "bfloat16", "quantise": bits} for name, bits in (("first", "8bit"), ("second", "4bit"))}
    assert plan_turns(["first", "second"], halves, 1.0) == [["first", "second"]]
    with pytest.raises(ScoringError, match=r"'first' needs 0.5 GB .* is 0.4; .*a device of its own"):
        plan_turns(["first"], halves, 0.4)


def test_a_shared_network_brings_its_scorers_into_one_turn(folder, monkeypatch):
    for each in (First, Second):
        monkeypatch.setattr(each, "card", replace(CARD, network="tower"))
    assert plan_turns(["first", "plain", "second"], {}, 1.0) == [["first", "second"], ["plain"]]


def test_turns_give_the_same_scores(folder, tmp_path_factory):
    run(folder, "first", "plain")
    together = {name: read_scores(folder / name) for name in ("first", "plain")}
    for name in together:
        for path in (folder / name).iterdir():
            path.unlink()
    steps = run(folder, "first", "plain", memory_gb=1.0)
    assert steps == [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4)]
    for name, table in together.items():
        np.testing.assert_equal(read_scores(folder / name), table)


def test_what_is_there_is_counted_and_not_scored_again(folder):
    run(folder, "plain")
    CALLS.clear()
    assert run(folder, "first", "plain", memory_gb=1.0) == [(2, 4), (3, 4), (4, 4)]
    assert run(folder, "first", "plain") == [(2, 2)]


def test_the_hash_of_the_weights_is_kept_and_must_not_change_on_the_way(folder):
    run(folder, "first", "plain")
    assert finished_facts(folder / "first", {"name": "first"})["checkpoint"] == {"weights": "hash of cpu"}
    assert finished_facts(folder / "plain", {"name": "plain"}) == {"card": {"name": "plain"}}
    (folder / "first" / "part-00001.parquet").unlink()
    run(folder, "first", options={"first": {"device": "meta"}})
    with pytest.raises(ScoringError, match="weights that changed on the way; remove it"):
        checkpoint_hashes(folder / "first")


def test_options_decide_the_table_except_those_that_cannot_change_a_score(folder):
    assert scorer_settings("plain") == {"scorer": "plain", "version": "1"}
    assert scorer_settings("plain", {"speed": 3}) == {"scorer": "plain", "version": "1"}
    assert scorer_settings("plain", {"shift": 3, "speed": 2})["options"] == {"shift": 3.0}
    assert scorer_settings("first", {"device": "cuda"}) == {"scorer": "first", "version": "1"}
    with pytest.raises(ConfigError, match="has no option 'shfit'; did you mean 'shift'"):
        scorer_settings("plain", {"shfit": 1})


def test_a_shared_object_lives_as_long_as_it_is_held():
    class Network:
        pass

    one = shared(("tower", "cpu"), Network)
    assert shared(("tower", "cpu"), Network) is one
    assert shared(("tower", "cuda"), Network) is not one
    seen = weakref.ref(one)
    del one
    assert seen() is None


def test_a_batch_says_what_is_wrong():
    with pytest.raises(ScoringError, match="one prompt per image, found 1 images, 2 prompts"):
        Batch([np.zeros((2, 2, 3), np.uint8)], ["a", "b"])
