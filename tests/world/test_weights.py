"""The shipped weights open in an unmodified diffusers and draw about as well as their card says."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline

from accord.errors import ModelError
from accord.world.base import SHIPPED, base_folder
from accord.world.dataset import draw_dataset
from accord.world.measure import overall, sample, skill_table
from accord.world.prompts import load_prompts
from accord.world.save import open_base
from accord.world.scenes import SKILLS
from accord.world.train_vae import reconstruction_psnr


@pytest.fixture(scope="module", params=SHIPPED)
def folder(request: pytest.FixtureRequest) -> Path:
    return base_folder(request.param)


@pytest.fixture(scope="module")
def pipeline(folder: Path) -> Any:
    return open_base(folder)


def test_weights_are_small_and_free_of_pickles(folder: Path) -> None:
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 10_000_000
    assert {path.suffix for path in files} <= {".json", ".jsonl", ".md", ".safetensors"}


@pytest.mark.parametrize("dtype", [None, torch.float32])
def test_opens_in_diffusers_and_draws_at_its_own_size(folder: Path, dtype: torch.dtype | None) -> None:
    options = {} if dtype is None else {"dtype": dtype}
    pipeline: Any = StableDiffusionPipeline.from_pretrained(folder, **options)
    pipeline.set_progress_bar_config(disable=True)
    image = pipeline("a red circle", num_inference_steps=2).images[0]
    assert image.size == (32, 32)


def test_noise_does_not_depend_on_the_batch(pipeline: Any) -> None:
    texts = ["a red circle", "two blue squares", "a triangle"]
    together = sample(pipeline, texts, [0, 0, 0], steps=2)
    alone = sample(pipeline, texts[1:2], [0], steps=2)
    assert np.abs(together[1].astype(int) - alone[0].astype(int)).max() <= 1
    assert not np.array_equal(together[1], sample(pipeline, texts[1:2], [1], steps=2)[0])


def test_vae_reconstructs(pipeline: Any) -> None:
    pictures, _ = draw_dataset(60, seed=77)
    assert reconstruction_psnr(pipeline.vae, pictures) > 26.0


def test_accuracy_is_near_the_card(folder: Path, pipeline: Any) -> None:
    prompts = [prompt for skill in SKILLS for prompt in [p for p in load_prompts("evaluate") if p[1] == skill][-12:]]
    table = skill_table(pipeline, prompts, images_per_skill=12, seed=5)
    card = card_table(folder)
    assert set(card) == {*SKILLS, "**mean of the skills**"}
    accuracy = {row.skill: row.accuracy for row in table}
    # Twelve pictures of a skill have a standard error up to .15; the mean of six skills .06.
    assert all(abs(accuracy[skill] - card[skill]) < 0.45 for skill in SKILLS), (accuracy, card)
    assert abs(overall(table)[0] - card["**mean of the skills**"]) < 0.18, (accuracy, card)
    assert accuracy["single"] > {"flow": 0.5, "epsilon": 0.3}[folder.name]


def card_table(folder: Path) -> dict[str, float]:
    text = (folder / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([^|]+) \| (?:\*\*)?(\d\.\d{3})", text, flags=re.MULTILINE)
    return {name: float(value) for name, value in rows}


def test_curves_fall(folder: Path) -> None:
    lines = [json.loads(line) for line in (folder / "curves.jsonl").read_text(encoding="utf-8").splitlines()]
    for part in dict.fromkeys(line["part"] for line in lines):
        losses = [line["loss"] for line in lines if line["part"] == part]
        assert np.mean(losses[-5:]) < np.mean(losses[:5]), part


def test_both_bases_share_one_autoencoder() -> None:
    """What it draws can then be compared latent by latent."""
    files = [base_folder(objective) / "vae" / "diffusion_pytorch_model.safetensors" for objective in SHIPPED]
    assert len({path.read_bytes() for path in files}) == 1


def test_other_bases_are_refused_with_advice() -> None:
    with pytest.raises(ModelError, match="accord world train"):
        base_folder("v_prediction")
