"""Images of several sizes in one run: each prompt's own, through every stage, never stretched."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from accord import registry
from accord.config import Choice
from accord.errors import ConfigError, ModelError
from accord.files import read_json
from accord.images import decode_image, iterate_images
from accord.models.pipeline_model import PipelineModel
from accord.pipeline import run_stages
from accord.stages.generate import generate
from accord.stages.train import train
from accord.tables import read_pairs, read_prompts
from accord.train.cache import LatentCache, TensorCache
from accord.types import ScorerCard

ROWS = [
    {"text": "a red circle", "height": 32, "width": 32},
    {"text": "a blue square", "height": 48, "width": 32},
    {"text": "two green triangles"},
    {"text": "a yellow circle above a red square", "height": 48, "width": 32},
    {"text": "a green square", "height": 32, "width": 64},
]
SIZES = {row["text"]: (row.get("height", 32), row.get("width", 32)) for row in ROWS}


class Brightness:
    """The mean grey value of a picture of any size; the rewards of the embedded world want 32 x 32 pixels."""

    card = ScorerCard("brightness", "1", "Mean grey.", "0 to 255", 1.0, False, "Apache-2.0", "none")

    def score(self, images, prompts):
        return np.array([image.mean(dtype=np.float64) for image in images])


def write(path: Path, rows) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture(scope="module", autouse=True)
def _brightness():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry.TABLES["scorers"], "brightness", f"{__name__}:Brightness")
        yield


@pytest.fixture(scope="module")
def config_in(config_of):
    """Return the config of a run in a folder, with other prompts or sections."""

    def config(folder: Path, rows=ROWS, **sections):
        folder.mkdir(exist_ok=True)
        train, evaluate = write(folder / "train.jsonl", rows), write(folder / "evaluate.jsonl", rows[:3])
        return config_of(
            folder / "run",
            **{
                "prompts": {"train": train, "evaluate": evaluate, "num_train": None, "num_evaluate": None},
                "generate": {"images_per_shard": 6, "batch_size": 4},
                "method": {"pairs": "best_worst", "noise": {"name": "ddim_inversion", "num_steps": 2}},
                "train": {"steps": 5, "cache_reference": True},
                "score": {"scorers": ["brightness"]},
                "evaluate": {"held_out": [], "checker": ""},
                **sections,
            },
        )

    return config


@pytest.fixture(scope="module")
def made(config_in, tmp_path_factory):
    """Return the config of a finished run whose prompts have three sizes."""
    config = config_in(tmp_path_factory.mktemp("sizes"))
    for _ in run_stages(config):
        pass
    return config


@pytest.mark.parametrize("folder", ["generate", "evaluate/base", "evaluate/tuned"])
def test_every_image_has_its_prompts_size(made, folder):
    images = Path(made.folder) / folder
    texts = {prompt.id: prompt.text for prompt in read_prompts(images / "prompts.parquet")}
    rows = list(iterate_images(images))
    assert len(set(texts.values())) == (5 if folder == "generate" else 3)
    assert [row.prompt_id for row in rows] == [prompt for prompt in texts for _ in range(len(rows) // len(texts))]
    for row in rows:
        assert (row.height, row.width) == decode_image(row.content).shape[:2] == SIZES[texts[row.prompt_id]]


def test_an_image_does_not_depend_on_which_sizes_are_drawn_beside_it(made, config_in, tmp_path):
    alone = config_in(tmp_path, ROWS[1:2])
    generate(alone)
    wanted = {row.image_id: decode_image(row.content) for row in iterate_images(Path(made.folder) / "generate")}
    rows = list(iterate_images(Path(alone.folder) / "generate"))
    assert len(rows) == 3
    for row in rows:
        assert np.abs(decode_image(row.content).astype(int) - wanted[row.image_id].astype(int)).max() <= 1


def test_a_pair_shares_its_size_and_training_sees_every_size(made):
    run = Path(made.folder)
    sizes = LatentCache(TensorCache(run / "encode" / "latents")).sizes()
    pairs = read_pairs(run / "select" / "pairs.parquet")
    assert len(pairs) == 5
    assert {sizes[pair.chosen_id] for pair in pairs} == {(8, 8), (12, 8), (8, 16)}
    assert all(sizes[pair.chosen_id] == sizes[pair.rejected_id] for pair in pairs)
    losses = [json.loads(line)["loss"] for line in (run / "train" / "log.jsonl").read_text().splitlines()]
    assert len(losses) == 5
    assert all(np.isfinite(losses))
    assert any(first != second for first, second in pairwise(losses))


@pytest.mark.parametrize("noise", ["prior", "gaussian_shared"])
def test_other_noises_meet_every_size_too(made, noise, monkeypatch):
    seen, predict = set(), PipelineModel.predict

    def spied(self, denoiser, latents, *rest):
        seen.add(tuple(latents.shape[2:]))
        return predict(self, denoiser, latents, *rest)

    monkeypatch.setattr(PipelineModel, "predict", spied)
    chosen = {
        "method": made.method.model_copy(update={"noise": Choice(name=noise)}),
        "train": made.train.model_copy(update={"cache_reference": False}),
    }
    config = made.model_copy(update=chosen)
    train(config, redo=True)
    assert seen == {(8, 8), (12, 8), (8, 16)}


@pytest.mark.parametrize(
    ("row", "error", "message"),
    [
        ({"height": 48}, ConfigError, r"train.jsonl, prompt 'a cube': give both height and width, or neither"),
        ({"height": 48, "width": "wide"}, ConfigError, "a size is a whole number of pixels, not 'wide'"),
        ({"height": -32, "width": 32}, ConfigError, "a size is a whole number of pixels, not '-32'"),
        ({"height": 45, "width": 32}, ModelError, "need sides that are multiples of 4 pixels, not 45x32"),
    ],
)
def test_a_size_that_cannot_be_drawn_is_told_before_anything_is_drawn(row, error, message, config_in, tmp_path):
    config = config_in(tmp_path, [*ROWS, {"text": "a cube", **row}])
    with pytest.raises(error, match=message):
        generate(config)
    assert not list((Path(config.folder) / "generate").glob("part-*"))


def test_a_table_with_gaps_holds_sizes_as_decimals(config_in, tmp_path):
    config = config_in(tmp_path, [{"text": "a cube", "height": 48.0, "width": 32.0}])
    generate(config)
    assert {(row.height, row.width) for row in iterate_images(Path(config.folder) / "generate")} == {(48, 32)}


def test_latents_are_encoded_at_the_images_own_size(config_in, tmp_path):
    """Without kept latents the autoencoder sees each size apart."""
    config = config_in(tmp_path, generate={"keep_latents": False})
    for stage, _ in run_stages(config):
        if stage == "encode":
            break
    counts = read_json(Path(config.folder) / "encode" / "manifest.json")["counts"]
    assert counts["images_through_the_autoencoder"] == counts["images"] == 10
    sizes = LatentCache(TensorCache(Path(config.folder) / "encode" / "latents")).sizes()
    assert set(sizes.values()) == {(8, 8), (12, 8), (8, 16)}
