"""Open the model a run file names."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from accord.config import Config
from accord.engine.devices import training_device
from accord.errors import ConfigError

if TYPE_CHECKING:
    from accord.models.interface import DiffusionModel, Part


def open_run_model(config: Config, parts: Collection[Part], device: str | None = None) -> DiffusionModel:
    """Return the run's model with only these parts loaded ("denoiser", "text", "vae", "scheduler").

    `device` overrides `model.device`. The path `world:flow` stands for the embedded world's own base model.
    """
    from accord.models.interface import ModelSettings, open_model

    settings = ModelSettings(
        family=config.model.family,
        path=model_path(config.model.path),
        revision=config.model.revision,
        dtype=config.model.dtype,
        device=device or training_device(config.model.device),
    )
    return open_model(settings, parts)


def model_path(path: str) -> str:
    """Return the folder or hub id that `model.path` means. Raises ConfigError for an unknown world model."""
    if not path.startswith("world:"):
        return str(Path(path).expanduser()) if path.startswith("~") else path
    from accord.world.base import base_folder

    folder = base_folder(path.removeprefix("world:"))
    if not folder.is_dir():
        raise ConfigError(f"the embedded world has no model '{path}'; `accord world train` makes one")
    return str(folder)
