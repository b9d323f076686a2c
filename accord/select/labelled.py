"""Pairs that a person has judged, read from a file."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from accord.errors import SelectionError
from accord.select.index_pairs import is_usable
from accord.types import GroupedScores, IndexPairs

COLUMNS = ["image_a", "image_b", "label"]
DIGITS = 9  # of a sum of shares: those that cancel out leave less
VERDICTS = {"a": 1.0, "b": -1.0, "tie": 0.0}
NO_FILE = (
    "labelled pairs need labels: images that were imported with some, or a file of your own "
    '(pairs = { name = "labelled", file = "labels.csv" })'
)


def labelled(rewards: np.ndarray, pool: GroupedScores | None = None, *, file: str = "") -> IndexPairs:
    """Return the pairs of the file, the preferred image as chosen; a tie stays, with label 0, for the target to decide.

    rewards: (P, N, K). file: .csv, .jsonl or .parquet with the columns image_a, image_b (ids of two images of a prompt)
    and label: a, b or tie, or the share of people for a (1, 0, 0.5, 0.7). Of several rows about one pair the majority
    counts, shares added up. Without a file: the labels that were imported with the images. Pairs with an image that a
    scorer could not score are left out, and a prompt without any pair is counted.
    Raises SelectionError for a file, column, image or label that is not there.
    """
    if pool is None:
        raise SelectionError("labelled pairs are found by the images' ids; call it with the pool of the rewards")
    if not file:
        raise SelectionError(NO_FILE)
    rows = _rows(Path(file))
    place = {str(pool.image_ids[p, n]): (p, n) for p, n in zip(*np.nonzero(pool.image_ids != ""), strict=True)}
    _require_pairs(file, rows, place)
    usable = is_usable(rewards)
    verdicts: dict[tuple[str, str], float] = {}  # the two images by their ids -> votes for the first less the second
    for a, b, verdict in rows:
        if usable[place[a]] and usable[place[b]]:
            both, verdict = ((a, b), verdict) if a < b else ((b, a), -verdict)
            verdicts[both] = verdicts.get(both, 0.0) + verdict
    rounded = {both: round(total, DIGITS) for both, total in verdicts.items()}
    found = sorted(
        (*place[a], place[b][1], float(total != 0))
        for a, b, total in ((a, b, total) if total >= 0 else (b, a, total) for (a, b), total in rounded.items())
    )
    prompt, chosen, rejected = np.array([row[:3] for row in found], dtype=np.int64).reshape(-1, 3).T
    labels = np.array([row[3] for row in found], dtype=np.float64)
    missing = len(pool.prompt_ids) - len(np.unique(prompt))
    return IndexPairs(prompt, chosen, rejected, {"no labelled pair": missing} if missing else {}, labels)


labelled.reads_labels = True  # type: ignore[attr-defined]  # the stage fills in the file of imported labels


def _require_pairs(file: str, rows: list[tuple[str, str, float]], place: dict[str, tuple[int, int]]) -> None:
    """Raise SelectionError unless every row names two images of one prompt. place: image id -> prompt, image."""
    unknown = [(n, image) for n, (a, b, _) in enumerate(rows, 1) for image in (a, b) if image not in place]
    if unknown:
        raise SelectionError(
            f"{file}, row {unknown[0][0]}: image '{unknown[0][1]}' is not in the pool, one of "
            f"{len({n for n, _ in unknown})} of {len(rows)} rows with such an image; use the image ids of generate/"
        )
    for number, (a, b, _) in enumerate(rows, 1):
        if a == b or place[a][0] != place[b][0]:
            raise SelectionError(f"{file}, row {number}: '{a}' and '{b}' are not two images of one prompt")


def _rows(path: Path) -> list[tuple[str, str, float]]:
    """Return (image_a, image_b, 1, -1 or 0) of each row."""
    table = _table(path)
    missing = [name for name in COLUMNS if name not in table.column_names]
    if missing:
        raise SelectionError(f"{path} needs the columns image_a, image_b and label; {missing[0]} is missing")
    rows = []
    for number, row in enumerate(table.select(COLUMNS).to_pylist(), 1):
        verdict = _verdict(row["label"])
        if verdict is None:
            raise SelectionError(
                f"{path}, row {number}: label is '{row['label']}'; it must be a, b, tie or a share from 0 to 1"
            )
        rows.append((str(row["image_a"]), str(row["image_b"]), verdict))
    return rows


def _verdict(label: object) -> float | None:
    """Return 1 to -1 for a label, the share of people for a less that for b; None if it is no label."""
    text = str(label).strip().lower()
    if text in VERDICTS:
        return VERDICTS[text]
    try:
        share = float(text)
    except ValueError:
        return None
    return 2 * share - 1 if 0 <= share <= 1 else None


def _table(path: Path) -> pa.Table:
    import pyarrow.csv
    import pyarrow.json
    import pyarrow.parquet

    # as text, because an id may look like a number
    as_text = pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(COLUMNS, pa.string()))
    readers = {
        ".csv": partial(pyarrow.csv.read_csv, convert_options=as_text),
        ".jsonl": pyarrow.json.read_json,
        ".parquet": partial(pyarrow.parquet.read_table, partitioning=None),
    }
    if path.suffix not in readers:
        raise SelectionError(f"labels are read from .csv, .jsonl or .parquet, not from '{path}'")
    if not path.is_file():
        raise SelectionError(f"there is no file of labels '{path}'; give pairs = {{ name = \"labelled\", file = ... }}")
    try:
        return readers[path.suffix](path)
    except (pa.ArrowException, OSError) as error:
        raise SelectionError(f"{path} cannot be read: {error}") from error
