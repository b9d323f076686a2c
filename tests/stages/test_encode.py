"""The encode stage: killed on the way, it ends with the same bytes, also where the autoencoder is asked."""

import shutil
from functools import partial
from pathlib import Path

import pytest

from accord.pipeline import run_stages
from accord.runfile import parse_config
from accord.stages.encode import encode
from accord.train import cache


class Killed(Exception):
    """Stands for a signal."""


def config(folder: Path, keep_latents: bool):
    """Ten prompts of three images, of which two are in a pair."""
    return parse_config(
        {
            "folder": str(folder),
            "model": {"device": "cpu"},
            "prompts": {"num_train": 10},
            "generate": {
                "images_per_prompt": 3, "num_inference_steps": 2, "guidance_scale": 1.0, "keep_latents": keep_latents
            },
            "score": {"scorers": ["world_aesthetics"]},
            "method": {"pairs": "best_worst"},
            "engine": {"workers": 1},
        }
    )  # fmt: skip


def everything(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name[0] != "."}


@pytest.mark.parametrize("keep_latents", [True, False])
@pytest.mark.parametrize("progress_at_kill", [3, 16, 26])
def test_a_killed_encoding_ends_with_the_same_bytes(selected, tmp_path, monkeypatch, keep_latents, progress_at_kill):
    """Shards of five rows end within batches of 16."""
    monkeypatch.setattr(cache, "CacheWriter", partial(cache.CacheWriter, rows_per_shard=5))

    def kill(done: int, total: int, what: str) -> None:
        if done >= progress_at_kill:
            raise Killed

    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        shutil.copytree(selected[keep_latents], folder)
    encode(config(whole, keep_latents))
    with pytest.raises(Killed):
        encode(config(killed, keep_latents), progress=kill)
    encode(config(killed, keep_latents))
    assert everything(killed / "encode") == everything(whole / "encode")


@pytest.fixture(scope="module")
def selected(tmp_path_factory) -> dict[bool, Path]:
    """Whether latents are kept -> a run as far as its pairs."""
    found = {}
    for keep_latents in (True, False):
        found[keep_latents] = tmp_path_factory.mktemp("selected") / "run"
        for _ in run_stages(config(found[keep_latents], keep_latents), ("generate", "score", "select")):
            pass
    return found
