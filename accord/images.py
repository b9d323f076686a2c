"""The image tables: one row per image, one row group per prompt, in shards of whole prompts.

The image column is the `datasets` library's image feature, so `load_dataset("parquet", ...)` shows pictures. Scores
and training always read the stored image, never one from memory: what was judged can be looked at and judged again.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from PIL import Image, UnidentifiedImageError

from accord.files import read_table, write_table

ImageFormat = Literal["png", "jpeg", "webp"]

_FEATURES = {
    "image_id": {"dtype": "string", "_type": "Value"},
    "prompt_id": {"dtype": "string", "_type": "Value"},
    "index": {"dtype": "int32", "_type": "Value"},
    "seed": {"dtype": "int64", "_type": "Value"},
    "image": {"_type": "Image"},
    "width": {"dtype": "int32", "_type": "Value"},
    "height": {"dtype": "int32", "_type": "Value"},
    "latents": {"dtype": "binary", "_type": "Value"},
    "latents_shape": {"feature": {"dtype": "int32", "_type": "Value"}, "_type": "List"},
}
SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("prompt_id", pa.string()),
        ("index", pa.int32()),
        ("seed", pa.int64()),
        ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("latents", pa.binary()),
        ("latents_shape", pa.list_(pa.int32())),
    ],
    metadata={"huggingface": json.dumps({"info": {"features": _FEATURES}})},
)


@dataclass(frozen=True)
class ImageRow:
    """One stored image. `latents` are the sampler's final latents as float16 (C, H, W), or None if not kept."""

    image_id: str
    prompt_id: str
    index: int  # 0 .. N-1 within the prompt
    seed: int | None  # of the starting noise; None: an imported image, whose noise nobody knows
    content: bytes  # the encoded image
    width: int
    height: int
    latents: np.ndarray | None = None


def image_id(prompt_id: str, index: int) -> str:
    """Return the id of a prompt's image; ids sort as (prompt, index)."""
    return f"{prompt_id}-{index:04d}"


def encode_image(pixels: np.ndarray, image_format: ImageFormat) -> bytes:
    """Return the encoded image of a uint8 RGB array (H, W, 3). JPEG is quality 95 without chroma subsampling."""
    options = {"jpeg": {"quality": 95, "subsampling": 0}, "webp": {"quality": 90}, "png": {}}[image_format]
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format=image_format, **options)
    return buffer.getvalue()


def decode_image(content: bytes) -> np.ndarray:
    """Return the uint8 RGB array (H, W, 3). Raises ValueError with the reason if the bytes are no whole image."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            return np.array(image.convert("RGB"))  # a copy: torch wants arrays it may write to
    except UnidentifiedImageError as error:  # Pillow's own words name an address in memory, another in every run
        raise ValueError("image cannot be decoded: not in a format that Pillow knows") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"image cannot be decoded: {error}".replace("\n", " ")[:200]) from error


def part_path(folder: Path, number: int) -> Path:
    """Return the path of a shard."""
    return folder / f"part-{number:05d}.parquet"


def part_paths(folder: Path) -> list[Path]:
    """Return the shards of a folder in order."""
    return sorted(folder.glob("part-*.parquet"))


def write_images(path: Path, rows: Sequence[ImageRow], images_per_prompt: int) -> None:
    """Write one shard, a row group per prompt."""
    write_table(path, image_table(rows), row_group_size=images_per_prompt)


def image_table(rows: Sequence[ImageRow]) -> pa.Table:
    """Return the rows as a table of SCHEMA."""
    latents = [None if r.latents is None else r.latents.astype("<f2") for r in rows]
    columns = {
        "image_id": [r.image_id for r in rows],
        "prompt_id": [r.prompt_id for r in rows],
        "index": [r.index for r in rows],
        "seed": [r.seed for r in rows],
        "image": [{"bytes": r.content, "path": f"{r.image_id}.{_extension(r.content)}"} for r in rows],
        "width": [r.width for r in rows],
        "height": [r.height for r in rows],
        "latents": [None if x is None else x.tobytes() for x in latents],
        "latents_shape": [None if x is None else list(x.shape) for x in latents],
    }
    return pa.table(columns, schema=SCHEMA)


def read_images(path: Path, with_latents: bool = False) -> list[ImageRow]:
    """Return the rows of one shard; latents are read only if asked for."""
    names = [name for name in SCHEMA.names if with_latents or not name.startswith("latents")]
    return [_row(record) for record in read_table(path, columns=names).to_pylist()]


def iterate_images(folder: Path, with_latents: bool = False) -> Iterator[ImageRow]:
    """Yield all rows of a folder, shard by shard."""
    for path in part_paths(folder):
        yield from read_images(path, with_latents)


def read_seeds(folder: Path) -> dict[str, int | None]:
    """Return image id -> seed of its starting noise, None if it was imported, without reading the images themselves."""
    return dict(_columns(folder, "image_id", "seed"))


def read_prompt_ids(folder: Path) -> dict[str, str]:
    """Return image id -> prompt id, without reading the images themselves."""
    return dict(_columns(folder, "image_id", "prompt_id"))


def read_sizes(folder: Path) -> dict[str, tuple[int, int]]:
    """Return image id -> height and width in pixels, without reading the images themselves."""
    return {image: (height, width) for image, height, width in _columns(folder, "image_id", "height", "width")}


def _columns(folder: Path, *names: str) -> Iterator[tuple[Any, ...]]:
    for path in part_paths(folder):
        table = read_table(path, columns=list(names))
        yield from zip(*(table[name].to_pylist() for name in names), strict=True)


def _row(record: dict) -> ImageRow:
    latents = None
    if record.get("latents") is not None:
        latents = np.frombuffer(record["latents"], dtype="<f2").reshape(record["latents_shape"])
    return ImageRow(
        record["image_id"],
        record["prompt_id"],
        record["index"],
        record["seed"],
        record["image"]["bytes"],
        record["width"],
        record["height"],
        latents,
    )


def _extension(content: bytes) -> str:
    return "png" if content[:4] == b"\x89PNG" else "webp" if content[8:12] == b"WEBP" else "jpg"
