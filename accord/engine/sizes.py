"""How large a prompt's images are: what the run file says, unless the prompts file has columns `height` and `width`.

All images of a prompt have one size, so the images of a pair have, and nothing is ever stretched.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from accord.config import Config
from accord.errors import ConfigError
from accord.types import Prompt

if TYPE_CHECKING:
    from accord.models.interface import DiffusionModel


def image_size(prompt: Prompt, config: Config) -> tuple[int, int]:
    """Return height and width in pixels. Raises ConfigError for one without the other, and for what is no size."""
    height, width = prompt.tag("height"), prompt.tag("width")
    if height is None and width is None:
        return config.generate.height, config.generate.width
    if height is None or width is None:
        raise ConfigError(f"{prompt.source}, prompt '{prompt.text}': give both height and width, or neither")
    return _pixels(height, prompt), _pixels(width, prompt)


def _pixels(value: str, prompt: Prompt) -> int:
    """Return a whole number of pixels; tables with gaps hold them as 768.0."""
    number = value.removesuffix(".0")
    if not number.isascii() or not number.isdigit() or int(number) < 1:
        raise ConfigError(f"{prompt.source}, prompt '{prompt.text}': a size is a whole number of pixels, not '{value}'")
    return int(number)


def require_sizes(model: DiffusionModel, sizes: Iterable[tuple[int, int]]) -> None:
    """Raise ModelError, before any work, unless the model has latents for these heights and widths."""
    for height, width in dict.fromkeys(sizes):
        model.latent_shape(height, width)
