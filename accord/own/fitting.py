"""Images of any kind -> upright RGB of the run's size, never stretched, or one clear reason why not.

What is left out is counted by these reasons, so they name kinds of fault and no file.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from accord.images import ImageFormat, encode_image

MISSING = "the file is missing"
NO_IMAGE = "there is no image"
DAMAGED = "damaged or cut short"
NOT_AN_IMAGE = "not an image"
TOO_LARGE = "too many pixels to be safe"
ANIMATED = "animated, so not one image"
FLOAT = "pixels are numbers without a known range"
ADDRESS = "a web address, not a file"
KEPT_FORMATS = ("PNG", "JPEG", "WEBP")
ORIENTATION = 0x0112  # the EXIF tag
TURNED = (5, 6, 7, 8)  # its values for images that lie on their side


@dataclass(frozen=True)
class Fitted:
    """An image as it is stored. `width`, `height`: of the upright original, before it was resized."""

    content: bytes
    width: int
    height: int
    is_original: bool  # the very bytes that were found


def image_bytes(value: Any, roots: Sequence[str]) -> bytes:
    """Return the encoded image that a row holds or names. Raises ValueError with the reason if there is none."""
    if isinstance(value, Mapping):  # the image feature of `datasets`
        value = value.get("bytes") or value.get("path")
    if isinstance(value, bytes) and value:
        return value
    if not isinstance(value, str) or not value:
        raise ValueError(NO_IMAGE)
    if "://" in value:
        raise ValueError(ADDRESS)
    for root in roots or (".",):
        try:
            return (Path(root) / value).read_bytes()
        except (OSError, ValueError):  # ValueError: a name that no file can have
            continue
    raise ValueError(MISSING)


def open_image(content: bytes) -> Image.Image:
    """Return the upright image in RGB, every pixel decoded. Raises ValueError with the reason if that cannot be.

    Turned as its EXIF orientation says; transparent parts are white; CMYK, palettes and grey become RGB; 16 bits become
    8 by their upper byte. Colour profiles are not applied, as scorers and autoencoders do not either.
    """
    with _opened(content) as image:
        image.load()
        return _rgb(ImageOps.exif_transpose(image))


def upright_size(content: bytes) -> tuple[int, int]:
    """Return width and height of the upright image from its head alone. Raises ValueError as `open_image` does."""
    with _opened(content) as image:
        is_turned = image.getexif().get(ORIENTATION, 1) in TURNED
        return (image.height, image.width) if is_turned else image.size


@contextmanager
def _opened(content: bytes) -> Iterator[Image.Image]:
    """Give the single image of these bytes, and turn whatever a decoder raises into ValueError with the reason."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:  # MPO: a photo with a second view beside it
                raise ValueError(ANIMATED)
            yield image
    except UnidentifiedImageError:
        raise ValueError(NOT_AN_IMAGE) from None
    except Image.DecompressionBombError:
        raise ValueError(TOO_LARGE) from None
    except Exception as error:  # on damaged bytes a decoder may raise anything, TypeError and struct.error included
        raise ValueError(str(error) if str(error) in (ANIMATED, FLOAT) else DAMAGED) from None


def fit(content: bytes, width: int, height: int, image_format: ImageFormat = "png") -> Fitted:
    """Return the image at this size: resized by Lanczos until it covers the size, the rest cut off evenly.

    Width and height are scaled alike. An image that is upright RGB or grey of this size already keeps its bytes, if it
    is PNG, JPEG or WebP. Raises ValueError with the reason for what is no single whole image.
    """
    upright = open_image(content)
    if upright.size == (width, height) and _is_plain(content):
        return Fitted(content, width, height, is_original=True)
    fitted = ImageOps.fit(upright, (width, height), method=Image.Resampling.LANCZOS, centering=(0.5, 0.5))
    return Fitted(encode_image(np.asarray(fitted), image_format), *upright.size, is_original=False)


def _is_plain(content: bytes) -> bool:
    """Say whether reading these bytes as RGB gives the upright image, whatever reads them."""
    with Image.open(io.BytesIO(content)) as image:
        is_opaque = image.mode in ("RGB", "L") and "transparency" not in image.info
        return is_opaque and image.format in KEPT_FORMATS and image.getexif().get(ORIENTATION, 1) == 1


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError(FLOAT)
    if image.mode.startswith("I"):  # Pillow would clip 16 bits instead of scaling them
        values = np.asarray(image).astype(np.int64)
        return Image.fromarray(np.clip(values >> 8, 0, 255).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        over = image.convert("RGBA")
        white = Image.new("RGBA", over.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, over).convert("RGB")
    return image.convert("RGB")
