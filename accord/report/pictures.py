"""Stored images -> data URIs of a size that fits a page. Every image is decoded and encoded anew."""

from __future__ import annotations

import base64
import io

from PIL import Image

from accord.images import decode_image
from accord.report.records import Picture

PIXEL_SIDE = 64
"""An image with no side longer than this is shown enlarged: every pixel of it matters."""


def picture(content: bytes, longest_side: int) -> Picture:
    """Return the image for the page: small ones exactly (PNG), others as JPEG no larger than `longest_side` pixels."""
    try:
        image = Image.fromarray(decode_image(content))
    except ValueError as error:
        return Picture("", 0, 0, is_small=False, problem=str(error))
    width, height = image.size
    if max(width, height) <= PIXEL_SIDE:
        return Picture(_uri(image, "png", {"optimize": True}), width, height, is_small=True)
    image.thumbnail((longest_side, longest_side), Image.Resampling.LANCZOS)
    return Picture(_uri(image, "jpeg", {"quality": 85, "optimize": True}), width, height, is_small=False)


def missing_picture(image_id: str) -> Picture:
    """Return what the page shows for an image that is not in the tables."""
    return Picture("", 0, 0, is_small=False, problem=f"image {image_id} is not in the run folder")


def longest_side(num_images: int) -> int:
    """Return the longest side in pixels at which this many images make a page of a few megabytes."""
    return 256 if num_images <= 200 else 160


def _uri(image: Image.Image, kind: str, options: dict[str, object]) -> str:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
