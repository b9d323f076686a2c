"""Some images of a folder, by id, opening only the shards that hold them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from accord.files import read_table
from accord.images import ImageRow, part_paths, read_images


def images_by_id(folder: Path, image_ids: Iterable[str]) -> dict[str, ImageRow]:
    """Return image id -> row for those of the images that the folder holds."""
    wanted = set(image_ids)
    found: dict[str, ImageRow] = {}
    for path in part_paths(folder):
        if len(found) == len(wanted):
            break
        if wanted.isdisjoint(read_table(path, columns=["image_id"])["image_id"].to_pylist()):
            continue
        found.update({row.image_id: row for row in read_images(path) if row.image_id in wanted})
    return found


def evenly_spaced(num_available: int, num_wanted: int) -> list[int]:
    """Return positions spread over the whole list, in order, chosen by place alone and not by what is there.

    >>> evenly_spaced(10, 3)
    [1, 5, 8]
    """
    num = min(num_available, num_wanted)
    return [int((i + 0.5) * num_available / num) for i in range(num)]
