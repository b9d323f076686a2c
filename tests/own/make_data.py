"""Small data for the tests of own images and pairs."""

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image


def pixels(number: int, width: int = 32, height: int = 32) -> np.ndarray:
    """A picture that no other number gives: smooth, so that JPEG keeps it, too."""
    generator = np.random.default_rng(number)
    small = Image.fromarray(generator.integers(0, 256, (4, 4, 3), dtype=np.uint8))
    return np.asarray(small.resize((width, height), Image.Resampling.BILINEAR))


def encoded(number: int, width: int = 32, height: int = 32, image_format: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels(number, width, height)).save(buffer, image_format, **options)
    return buffer.getvalue()


def pickapic_rows(count: int, prompts: int = 5) -> list[dict]:
    """Decided pairs both ways and ties; every row has two new images."""
    return [
        {
            "caption": f"caption {i % prompts} – naïve 🦉 猫",
            "jpg_0": encoded(2 * i),
            "jpg_1": encoded(2 * i + 1),
            "label_0": (1.0, 0.0, 0.5)[i % 3],
            "label_1": (0.0, 1.0, 0.5)[i % 3],
            "has_label": True,
        }
        for i in range(count)
    ]


def write_parquet(path: Path, rows: list[dict], row_group_size: int = 4) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=row_group_size)
    return path


def write_lines(path: Path, rows: list) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def files_of(folder: Path) -> dict[str, bytes]:
    """Every file that an import or export promises to repeat."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }
