"""A device whose memory is not enough is one clear line, whoever asks for it."""

import re

import numpy as np
import pytest
import torch

from accord import registry
from accord.config import Config
from accord.engine.generating import ImageWorker, make_shards
from accord.engine.memory import enough_memory
from accord.engine.scoring import ScoreSettings, ScoreWorker
from accord.errors import ModelError, ScoringError, TrainingError
from accord.scorers.batch import Batch
from accord.types import Prompt, ScorerCard


class Large:
    """A scorer that has room for one image at a time."""

    card = ScorerCard("large", "1", "s", "0 to 1", 1.0, False, "Apache-2.0", "none")

    def score(self, images, prompts):
        if len(images) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
        return np.zeros(len(images))


def scored(monkeypatch, number: int):
    monkeypatch.setitem(registry.TABLES["scorers"], "large", f"{__name__}:Large")
    worker = ScoreWorker("cpu", ["large"], {}, ScoreSettings())
    return worker._results("large", Batch([np.zeros((4, 4, 3), np.uint8)] * number, ["a"] * number))


def test_too_large_a_batch_is_told_and_not_scored_row_by_row(monkeypatch):
    with pytest.raises(ScoringError, match=r"lower score\.batch_size, .* given 3 images; .*Tried to allocate"):
        scored(monkeypatch, 3)
    assert scored(monkeypatch, 1) == [0.0]


def test_drawing_names_its_batch_size(monkeypatch, tmp_path):
    worker = ImageWorker("cpu", Config(), 1, None, False)

    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(worker.model, "generate", full)
    shard = make_shards(tmp_path, [Prompt.make("a red circle", "test")], 1, 1)[0]
    with pytest.raises(ModelError, match=re.escape("lower generate.batch_size, which is 32")):
        worker(shard)


def test_other_errors_are_left_as_they_are():
    with pytest.raises(RuntimeError, match=r"^no$"), enough_memory(TrainingError, "turn it down"):
        raise RuntimeError("no")
