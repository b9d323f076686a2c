"""Scorers that give one row at a time: each score is on the disk as soon as it is known.

While a shard is unfinished, its scores are in `.part-NNNNN.rows.jsonl` beside the table to be. A run that stops half
way (killed, out of budget, the endpoint gone) asks for none of them again. Rows that failed are tried again.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

from accord.errors import ScoringError
from accord.files import write_bytes
from accord.scorers.batch import Batch
from accord.types import RowScorer


class NotScored(Exception):
    """A row without a score; the message is the reason as it stands in the table."""


class RowJournal:
    """The rows of one scorer's unfinished shard."""

    def __init__(self, table: Path) -> None:
        """table: the shard's score table, not there yet."""
        table.parent.mkdir(parents=True, exist_ok=True)
        self.path = table.with_name(f".{table.stem}.rows.jsonl")
        self.replies_path = table.with_name(f"{table.stem}.replies.jsonl")
        self.known = _read(self.path)
        self.replies: list[dict[str, str]] = []

    def score(self, scorer: RowScorer, image_ids: Sequence[str], batch: Batch) -> list[float | Exception]:
        """Return each row's score, or why it has none; rows that are known are not scored again."""
        found: dict[int, float | Exception] = {
            row: self.known[image] for row, image in enumerate(image_ids) if image in self.known
        }
        left = [row for row in range(len(image_ids)) if row not in found]
        part = batch.part(left)
        with self.path.open("a", encoding="utf-8") as file:
            for each in scorer.score_rows(part.pictures, part.prompts) if left else ():
                row = left[each.row]
                if each.reason:
                    found[row] = NotScored(" ".join(each.reason.split())[:300])
                    if each.reply:
                        reply = {"image_id": image_ids[row], "reason": each.reason, "reply": each.reply}
                        self.replies.append(reply)
                    continue
                found[row] = each.score
                if math.isfinite(each.score):
                    file.write(json.dumps({"image_id": image_ids[row], "score": each.score}) + "\n")
                    file.flush()
        if len(found) < len(image_ids):
            raise ScoringError(f"scorer '{scorer.card.name}' answered {len(found)} of {len(image_ids)} images")
        return [found[row] for row in range(len(image_ids))]

    def keep_replies(self) -> None:
        """Write what was said instead of scores beside the table, if anything was; before the table is written."""
        self.replies_path.unlink(missing_ok=True)
        if self.replies:
            ordered = sorted(self.replies, key=lambda reply: reply["image_id"])
            write_bytes(self.replies_path, "".join(json.dumps(each) + "\n" for each in ordered).encode())

    def close(self) -> None:
        """Remove the journal; after the table is written."""
        self.path.unlink(missing_ok=True)


def _read(path: Path) -> dict[str, float]:
    """Return image id -> score. A last line that was cut off is no row, and is removed."""
    if not path.is_file():
        return {}
    whole, end, cut_off = path.read_bytes().rpartition(b"\n")
    if cut_off:
        write_bytes(path, whole + end)
    rows = [json.loads(line) for line in whole.splitlines()]
    return {row["image_id"]: float(row["score"]) for row in rows}
