"""What the columns of each layout mean."""

import contextlib

import pytest

from accord import registry
from accord.errors import DataError
from accord.own.labels import share_of
from accord.own.layouts.choose import choose_layout
from accord.own.layouts.compared import compared
from accord.own.layouts.hpdv2 import hpdv2
from accord.own.layouts.hpdv3 import hpdv3
from accord.own.layouts.pickapic import pickapic
from accord.own.layouts.unlabelled import unlabelled


def verdicts(record):
    return [tuple(verdict)[:3] for verdict in record.verdicts]


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        ({"label_0": 1.0, "label_1": 0.0, "has_label": True}, [(0, 1, 1.0)]),
        ({"label_0": 0}, [(0, 1, 0.0)]),
        ({"label_0": 0.5, "label_1": 0.5}, [(0, 1, 0.5)]),
        ({"label_0": 0.75}, [(0, 1, 0.75)]),
        ({"label_0": 0.0, "has_label": False}, "no label"),
        ({"label_0": None}, "no label"),
        ({"label_0": float("nan")}, "no label"),
        ({"label_0": 1.0, "label_1": 1.0}, "the two labels of the row do not add up to 1"),
        ({"label_0": 2.0}, "the label is none of a, b, tie or a share from 0 to 1"),
    ],
)
def test_pickapic(extra, expected):
    record = pickapic({"caption": "c", "jpg_0": b"0", "jpg_1": b"1", **extra})
    assert (record.caption, record.images) == ("c", (b"0", b"1"))
    assert (record.unlabelled if isinstance(expected, str) else verdicts(record)) == expected


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"file_path": ["a", "b"], "human_preference": [0, 1]}, [(0, 1, 0.0)]),
        ({"file_path": ["a", "b"], "human_preference": [1, 0]}, [(0, 1, 1.0)]),
        ({"file_path": ["a", "b"], "human_preference": [0, 0]}, [(0, 1, 0.5)]),
        ({"image_path": ["a", "b", "c"], "rank": [2, 1, 2]}, [(0, 1, 0.0), (0, 2, 0.5), (1, 2, 1.0)]),
        ({"image_path": ["a"], "rank": [1]}, []),
    ],
)
def test_hpdv2(row, expected):
    record = hpdv2({"prompt": "p", **row})
    assert record.caption == "p"
    assert verdicts(record) == expected


@pytest.mark.parametrize("told", [[1], [1, None], [1, "x"], None])
def test_hpdv2_without_a_number_for_each_image_has_no_label(told):
    record = hpdv2({"prompt": "p", "file_path": ["a", "b"], "human_preference": told})
    assert record.images == ("a", "b")
    assert "per image" in record.unlabelled


def test_hpdv3_prefers_the_first_path():
    record = hpdv3({"prompt": "p", "path1": "a", "path2": "b", "confidence": 0.9})
    assert record.verdicts == ((0, 1, 1.0, 0.9),)
    assert hpdv3({"prompt": "p", "path1": "a", "path2": "b", "confidence": None}).verdicts[0].confidence is None


def test_words_and_shares_are_labels():
    assert [share_of(x) for x in ("A", " b ", "Tie", 1, "0.7", True)] == [1.0, 0.0, 0.5, 1.0, 0.7, 1.0]
    for wrong in ("c", -0.1, 1.1, [1], "nan"):
        with pytest.raises(ValueError):
            share_of(wrong)
    assert verdicts(compared({"text": "t", "image_a": "a", "image_b": "b", "label": "tie"})) == [(0, 1, 0.5)]


def test_images_that_nobody_judged():
    assert unlabelled({"prompt": "p", "images": ["a", "b"]}).images == ("a", "b")
    assert unlabelled({"prompt": "p", "image": "a"}).images == ("a",)
    with pytest.raises(ValueError, match="not a list"):
        unlabelled({"prompt": "p", "images": "a"})


@pytest.mark.parametrize("name", registry.names("layouts"))
def test_a_layout_is_known_by_its_columns_and_takes_whatever_a_row_holds(name):
    layout = registry.load("layouts", name)
    for needed in layout.columns:
        found, function = choose_layout(frozenset(needed) | {"caption", "other"})
        assert (found, function) == (name, layout)
        for value in (None, 7, "x", [], [None], float("nan"), b"\xff"):  # a ValueError at most
            with contextlib.suppress(ValueError):
                record = layout(dict.fromkeys(needed, value))
                assert all(0 <= v.first < v.second < len(record.images) for v in record.verdicts)
                assert all(0 <= v.share <= 1 for v in record.verdicts)


def test_unknown_columns_are_told_with_what_is_needed():
    with pytest.raises(DataError, match=r"found the columns a, b.*pickapic: jpg_0, jpg_1, label_0.*--rename"):
        choose_layout(frozenset({"a", "b"}))
    with pytest.raises(DataError, match=r"needs a column with the prompts.*found chosen, rejected"):
        choose_layout(frozenset({"chosen", "rejected"}))


def test_a_label_that_names_the_other_image_than_the_row_does_is_none():
    from accord.own.layouts.pickapic import pickapic

    row = {"caption": "c", "jpg_0": b"0", "jpg_1": b"1", "image_0_uid": "x", "image_1_uid": "y"}
    for best, label, is_label in (("x", 1, True), ("y", 0, True), ("x", 0, False), ("y", 1, False), ("x", 0.5, True)):
        found = pickapic({**row, "best_image_uid": best, "label_0": label})
        assert bool(found.verdicts) == is_label
        assert found.unlabelled == ("" if is_label else "label_0 and best_image_uid name different images")
    assert pickapic({**row, "best_image_uid": "tie", "label_0": 0.5}).verdicts
