"""A very small run of the embedded world, made once and never interrupted."""

from collections.abc import Callable
from pathlib import Path

import pytest

from accord.config import Config
from accord.pipeline import run_stages
from accord.runfile import parse_config


def small_config(folder: Path, **sections: dict) -> Config:
    """Three prompts of three images, four training steps."""
    values: dict = {
        "folder": str(folder),
        "prompts": {"num_train": 3, "num_evaluate": 3},
        "generate": {"images_per_prompt": 3, "num_inference_steps": 2, "images_per_shard": 1, "batch_size": 2},
        "score": {"scorers": ["world_aesthetics", "world_taste"]},
        "method": {"pairs": "best_worst"},
        "train": {"steps": 4, "batch_size": 2, "checkpoint_every": 1, "warmup_steps": 1, "ema_decay": 0.5},
        "adapter": {"rank": 2},
        "log": {"trackers": []},
        "evaluate": {"images_per_prompt": 1, "held_out": ["world_heldout"], "num_resamples": 50},
        "report": {"num_prompts_shown": 2, "num_groups_drawn": 1},
        "engine": {"workers": 1},
    }
    for name, section in sections.items():
        values[name] = values[name] | section if isinstance(section, dict) else section
    return parse_config(values)


@pytest.fixture(scope="session")
def config_of() -> Callable[..., Config]:
    return small_config


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory) -> Path:
    """The folder of a run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    for _ in run_stages(small_config(folder)):
        pass
    return folder


def promised_files(folder: Path) -> dict[str, bytes]:
    """Every file that a run promises to repeat: all but clocks, locks, checkpoints and what names the folder."""
    scratch = ("tensorboard", "checkpoints")
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and not path.name.startswith(".")
        and path.name != "run.toml"
        and not any(part in scratch for part in path.parts)
    }
