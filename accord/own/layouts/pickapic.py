"""Pick-a-Pic: `jpg_0`, `jpg_1`, `label_0`, `caption` (Kirstain et al. 2023, arXiv 2305.01569).

The images are encoded images, `label_0` is 1, 0 or 0.5 for a tie, and so is `label_1` the other way round. Rows whose
`has_label` is false carry no label.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from accord.own.labels import NO_LABEL, share_of
from accord.own.record import Record, Verdict, first_of


def pickapic(row: Mapping[str, Any]) -> Record:
    """Return a row's two images and their label."""
    caption, images = first_of(row, "caption", "prompt", "text"), (row["jpg_0"], row["jpg_1"])
    if row.get("has_label") is False:
        return Record(caption, images, unlabelled=NO_LABEL)
    try:
        share = share_of(row["label_0"])
        if row.get("label_1") is not None and abs(share + share_of(row["label_1"]) - 1) > 1e-6:
            raise ValueError("the two labels of the row do not add up to 1")
        _require_best(row, share)
    except ValueError as error:
        return Record(caption, images, unlabelled=str(error))
    return Record(caption, images, (Verdict(0, 1, share),))


def _require_best(row: Mapping[str, Any], share: float) -> None:
    """Raise ValueError if `best_image_uid`, where it names one of the two images, names the one that lost."""
    uids, best = (row.get("image_0_uid"), row.get("image_1_uid")), row.get("best_image_uid")
    if best and uids[0] != uids[1] and best in uids and share == float(uids.index(best)):
        raise ValueError("label_0 and best_image_uid name different images")


pickapic.columns = ({"jpg_0", "jpg_1", "label_0"},)  # type: ignore[attr-defined]
