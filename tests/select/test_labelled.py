"""Pairs that a person has judged."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
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
        (
            "image_a,image_b,label\np-0,p-1,a\np-0,z-9,a\ny-1,z-9,b\n",
            "row 2: image 'z-9' is not in.* one of 2 of 3 rows",
        ),
        ("image_a,image_b,label\np-0,q-0,a\n", "not two images of one prompt"),
        ("image_a,image_b,label\np-0,p-0,a\n", "not two images of one prompt"),
        ("image_a,image_b,label\np-0,p-1,perhaps\n", "row 1: label is 'perhaps'"),
        ("image_a,image_b,label\np-0,p-1,\n", "row 1: label is ''"),
        ("image_a,image_b,label\np-0,p-1,a\np-0,p-2\n", "cannot be read.*Expected 3 columns, got 2"),
        ("", "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_in_one_line(tmp_path, text, message):
    path = tmp_path / "labels.csv"
    path.write_text(text)
    with pytest.raises(SelectionError, match=message):
        found(path)


def test_several_rows_about_a_pair_are_counted_by_majority(tmp_path):
    path = tmp_path / "labels.csv"
    rows = ["p-0,p-1,a", "p-1,p-0,a", "p-1,p-0,a", "p-0,p-2,a", "p-2,p-0,a", "p-2,p-1,tie", "p-1,p-2,a"]
    path.write_text("image_a,image_b,label\n" + "\n".join(rows))
    assert found(path)[0] == {(0, 1, 0): 1.0, (0, 0, 2): 0.0, (0, 1, 2): 1.0}


def test_nothing_depends_on_the_order_of_rows_or_images(tmp_path):
    rows = ["p-0,p-1,tie", "p-2,p-1,a", "q-1,q-0,b"]
    first, second = tmp_path / "first.csv", tmp_path / "second.csv"
    first.write_text("image_a,image_b,label\n" + "\n".join(rows))
    second.write_text("label,image_b,image_a\n" + "\n".join(",".join(row.split(",")[::-1]) for row in rows[::-1]))
    assert list(found(first)[0]) == list(found(second)[0])
    order = np.array([2, 0, 1])
    turned = GroupedScores(POOL.prompt_ids, POOL.image_ids[:, order], POOL.scorers, REWARDS[:, order])
    moved = labelled(REWARDS[:, order], turned, file=str(first))
    back = zip(moved.prompt.tolist(), order[moved.chosen].tolist(), order[moved.rejected].tolist(), strict=True)
    assert dict(zip(back, moved.labels.tolist(), strict=True)) == found(first)[0]


def test_ids_that_look_like_numbers_stay_as_they_are(tmp_path):
    pool = GroupedScores(("p",), np.array([["007", "1e3", ""]]), ("x",), REWARDS[:1])
    path = tmp_path / "labels.csv"
    path.write_text("image_a,image_b,label\n1e3,007,1.0\n")
    pairs = labelled(REWARDS[:1], pool, file=str(path))
    assert (pairs.chosen.tolist(), pairs.rejected.tolist(), pairs.labels.tolist()) == ([1], [0], [1.0])


def test_a_table_of_parquet_is_read_too(tmp_path):
    path = tmp_path / "labels.parquet"
    pq.write_table(pa.table({"image_a": ["p-0"], "image_b": ["p-2"], "label": [0.0], "by": ["someone"]}), path)
    assert found(path)[0] == {(0, 2, 0): 1.0}
    path.write_bytes(b"PAR1 and no more")
    with pytest.raises(SelectionError, match="cannot be read"):
        found(path)


def test_a_file_without_rows_labels_no_prompt(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("image_a,image_b,label\n")
    assert found(path) == ({}, {"no labelled pair": 2})


def test_without_a_pool_it_says_what_it_needs():
    with pytest.raises(SelectionError, match="pool"):
        labelled(REWARDS, file="labels.csv")


def test_a_missing_file_and_an_unknown_format_are_named(tmp_path):
    with pytest.raises(SelectionError, match="no file of labels"):
        found(tmp_path / "none.csv")
    with pytest.raises(SelectionError, match="not from"):
        found(tmp_path / "labels.xlsx")
