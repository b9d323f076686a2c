"""An opened diffusers pipeline: some of its parts in memory, all of its configurations at hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from accord.errors import ModelError
from accord.models import autoencoder
from accord.models.folders import fetch_file, read_json

if TYPE_CHECKING:
    from accord.models.interface import OpenSettings, Part


@dataclass(frozen=True)
class OpenedPipeline:
    """What a family's functions work with. Components that were not asked for are None in `pipe`."""

    pipe: Any  # a diffusers pipeline of the family's class
    settings: OpenSettings
    folder: Path  # the model's folder; for a hub id its snapshot in the local cache
    commit: str | None  # of a hub id
    parts: frozenset[Part]
    file: Path | None = None  # a single checkpoint; then `folder` is that of its configurations

    @property
    def device(self) -> torch.device:
        """Return the device the components are on."""
        return torch.device(self.settings.device)

    @property
    def dtype(self) -> torch.dtype:
        """Return the type of the denoiser's and the text encoders' weights."""
        return torch_dtype(self.settings.dtype)

    @property
    def pixels_per_latent(self) -> int:
        """Return how many pixels wide one latent position is."""
        return autoencoder.pixels_per_latent(self.config("vae"))

    def config(self, component: str) -> Mapping[str, Any]:
        """Return the `config.json` of a component, whether it was loaded or not."""
        loaded = getattr(self.pipe, component, None)
        if loaded is not None:
            return loaded.config
        name = f"{component}/config.json"
        if self.commit is not None and not (self.folder / name).is_file():
            return read_json(fetch_file(self.settings.config or self.settings.path, name, self.commit))
        return read_json(self.folder / name)

    def need(self, *parts: Part) -> None:
        """Raise ModelError unless these parts were opened."""
        there = {*self.parts, *(["tokenizer"] if "text" in self.parts else [])}
        missing = [part for part in parts if part not in there]
        if missing:
            raise ModelError(
                f"this needs the parts {', '.join(parts)} of '{self.settings.path}', which was opened without "
                f"{', '.join(missing)}: open it with parts={parts!r}"
            )


def torch_dtype(name: str) -> torch.dtype:
    """Return torch's type of this name. Raises ModelError for a name that the weights cannot have."""
    known = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if name not in known:
        raise ModelError(f"dtype must be one of {', '.join(known)}, not '{name}'")
    return known[name]
