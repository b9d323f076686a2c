"""Pairs that a person has judged."""

import numpy as np
import pytest

from accord.errors import SelectionError
from accord.select.labelled import labelled
from accord.types import GroupedScores

REWARDS = np.array([[[0.1], [0.5], [0.9]], [[0.3], [0.2], [np.nan]]])
POOL = GroupedScores(("p", "q"), np.array([["p-0", "p-1", "p-2"], ["q-0", "q-1", "q-2"]]), ("x",), REWARDS)


def found(path):
    pairs = labelled(REWARDS, POOL, file=str(path))
    rows = zip(pairs.prompt.tolist(), pairs.chosen.tolist(), pairs.rejected.tolist(), strict=True)
    return dict(zip(rows, pairs.labels.tolist(), strict=True)), pairs.dropped


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_the_preferred_image_is_chosen_and_a_tie_keeps_label_0(tmp_path, kind):
    rows = [("p-0", "p-2", "a"), ("p-1", "p-2", "b"), ("p-0", "p-1", "tie")]
    path = tmp_path / f"labels.{kind}"
    if kind == "csv":
        path.write_text("image_a,image_b,label\n" + "".join(",".join(row) + "\n" for row in rows))
    else:
        path.write_text("".join(f'{{"image_a": "{a}", "image_b": "{b}", "label": "{v}"}}\n' for a, b, v in rows))
    pairs, dropped = found(path)
    assert pairs == {(0, 0, 2): 1.0, (0, 2, 1): 1.0, (0, 0, 1): 0.0}
    assert dropped == {"no labelled pair": 1}


def test_shares_of_people_are_verdicts_and_unscored_images_are_left_out(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("image_a,image_b,label\np-0,p-1,1\nq-0,q-1,0\nq-0,q-2,0.5\n")
    assert found(path)[0] == {(0, 0, 1): 1.0, (1, 1, 0): 1.0}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image_a,label\np-0,a\n", "image_b is missing"),
        ("image_a,image_b,label\np-0,z-9,a\n", "row 1: image 'z-9' is not in the pool"),
        ("image_a,image_b,label\np-0,q-0,a\n", "not a pair of one prompt"),
        ("image_a,image_b,label\np-0,p-1,perhaps\n", "row 1: label is 'perhaps'"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_in_one_line(tmp_path, text, message):
    path = tmp_path / "labels.csv"
    path.write_text(text)
    with pytest.raises(SelectionError, match=message):
        found(path)


def test_a_missing_file_and_an_unknown_format_are_named(tmp_path):
    with pytest.raises(SelectionError, match="no file of labels"):
        found(tmp_path / "none.csv")
    with pytest.raises(SelectionError, match="not from"):
        found(tmp_path / "labels.xlsx")
