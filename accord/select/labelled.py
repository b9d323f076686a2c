"""Pairs that a person has judged, read from a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from accord.errors import SelectionError
from accord.select.index_pairs import is_usable
from accord.types import GroupedScores, IndexPairs

VERDICTS = {"a": 1.0, "b": -1.0, "tie": 0.0, "1": 1.0, "0": -1.0, "0.5": 0.0, "1.0": 1.0, "0.0": -1.0}


def labelled(rewards: np.ndarray, pool: GroupedScores | None = None, *, file: str) -> IndexPairs:
    """Return the pairs of the file, the preferred image as chosen; a tie stays, with label 0, for the target to decide.

    rewards: (P, N, K). file: .csv, .jsonl or .parquet with the columns image_a, image_b (ids of two images of a prompt)
    and label: a, b or tie, or the share of people for a (1, 0, 0.5). Pairs with an image that a scorer could not score
    are left out, and a prompt without any pair is counted.
    Raises SelectionError for a file, column, image or label that is not there.
    """
    if pool is None:
        raise SelectionError("labelled pairs are found by the images' ids; call it with the pool of the rewards")
    place = {str(pool.image_ids[p, n]): (p, n) for p, n in zip(*np.nonzero(pool.image_ids != ""), strict=True)}
    usable = is_usable(rewards)
    found: dict[tuple[int, int, int], float] = {}
    for number, (a, b, label) in enumerate(_rows(Path(file)), 1):
        odd = next((image for image in (a, b) if image not in place), None)
        if odd is not None or a == b or place[a][0] != place[b][0]:
            what = (
                f"image '{odd}' is not in the pool" if odd is not None else f"{a} and {b} are not a pair of one prompt"
            )
            raise SelectionError(f"{file}, row {number}: {what}; use the image ids of generate/")
        (p, i), (_, j) = place[a], place[b]
        if usable[p, i] and usable[p, j]:
            found[(p, i, j) if label >= 0 else (p, j, i)] = abs(label)
    pairs = np.array(sorted(found), dtype=np.int64).reshape(-1, 3)
    labels = np.array([found[p, i, j] for p, i, j in pairs.tolist()], dtype=np.float64)
    missing = len(pool.prompt_ids) - len(np.unique(pairs[:, 0]))
    dropped = {"no labelled pair": missing} if missing else {}
    return IndexPairs(pairs[:, 0], pairs[:, 1], pairs[:, 2], dropped, labels)


def _rows(path: Path) -> list[tuple[str, str, float]]:
    """Return (image_a, image_b, 1, -1 or 0) of each row."""
    table = _table(path)
    missing = [name for name in ("image_a", "image_b", "label") if name not in table.column_names]
    if missing:
        raise SelectionError(f"{path} needs the columns image_a, image_b and label; {missing[0]} is missing")
    rows = []
    for number, row in enumerate(table.select(["image_a", "image_b", "label"]).to_pylist(), 1):
        verdict = str(row["label"]).strip().lower()
        if verdict not in VERDICTS:
            raise SelectionError(f"{path}, row {number}: label is '{row['label']}'; it must be a, b or tie (1, 0, 0.5)")
        rows.append((str(row["image_a"]), str(row["image_b"]), VERDICTS[verdict]))
    return rows


def _table(path: Path) -> pa.Table:
    import pyarrow.csv
    import pyarrow.json
    import pyarrow.parquet

    readers = {".csv": pyarrow.csv.read_csv, ".jsonl": pyarrow.json.read_json, ".parquet": pyarrow.parquet.read_table}
    if path.suffix not in readers:
        raise SelectionError(f"labels are read from .csv, .jsonl or .parquet, not from '{path}'")
    if not path.is_file():
        raise SelectionError(f"there is no file of labels '{path}'; give pairs = {{ name = \"labelled\", file = ... }}")
    try:
        return readers[path.suffix](path)
    except (pa.ArrowException, OSError) as error:
        raise SelectionError(f"{path} cannot be read: {error}") from error
