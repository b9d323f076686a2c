"""Rows from files, folders and repositories: from any row on, and what is damaged."""

import json
import sys

import pytest
from make_data import encoded, pickapic_rows, write_lines, write_parquet

from accord.errors import DataError, MissingDependency
from accord.own.sources import json_files
from accord.own.sources.opening import SourceOptions, open_source

PLAIN = SourceOptions()


def values(source, start=0):
    return [row.values for row in source.rows(start)]


def from_every_row(source):
    whole = list(source.rows(0))
    assert source.total == len(whole)
    for start in range(len(whole) + 2):
        assert list(source.rows(start)) == whole[start:]
    return whole


def test_parquet_files_are_one_after_another_and_begin_anywhere(tmp_path):
    rows = pickapic_rows(23)
    write_parquet(tmp_path / "data" / "b.parquet", rows[10:], row_group_size=4)
    write_parquet(tmp_path / "data" / "a.parquet", rows[:10], row_group_size=100)
    found = from_every_row(open_source([str(tmp_path / "data")], PLAIN))
    assert [row.values for row in found] == rows
    assert (found[0].where, found[11].where) == ("a.parquet row 0", "b.parquet row 1")


def test_a_large_row_group_is_read_bit_by_bit(tmp_path):
    rows = pickapic_rows(50)
    path = write_parquet(tmp_path / "a.parquet", rows, row_group_size=100)
    assert [row.values for row in from_every_row(open_source([str(path)], PLAIN))] == rows


def test_a_parquet_file_cut_short_is_named(tmp_path):
    rows = pickapic_rows(4)
    write_parquet(tmp_path / "whole.parquet", rows)
    cut = write_parquet(tmp_path / "zcut.parquet", rows)
    cut.write_bytes(cut.read_bytes()[:-10])
    with pytest.raises(DataError, match=r"zcut\.parquet cannot be read"):
        open_source([str(tmp_path)], PLAIN)
    found = open_source([str(tmp_path)], SourceOptions(allow_damage=True))
    assert values(found) == rows
    assert list(found.damaged) == ["zcut.parquet"]
    with pytest.raises(DataError, match=r"zcut\.parquet cannot be read"):
        open_source([str(cut)], SourceOptions(allow_damage=True))


def test_a_damaged_row_group_costs_its_own_rows_only(tmp_path):
    import pyarrow.parquet as pq

    rows = pickapic_rows(12)
    path = write_parquet(tmp_path / "a.parquet", rows, row_group_size=4)
    chunk = pq.read_metadata(path).row_group(1).column(0)
    content = bytearray(path.read_bytes())
    begin = chunk.dictionary_page_offset or chunk.data_page_offset
    content[begin : begin + chunk.total_compressed_size] = b"\xff" * chunk.total_compressed_size
    path.write_bytes(content)
    found = list(open_source([str(path)], PLAIN).rows(0))
    assert [row.values for row in found] == [*rows[:4], *[None] * 4, *rows[8:]]
    assert {row.problem for row in found if row.values is None} != {""}


@pytest.mark.parametrize("characters", [3, 7, 64, 10**6])
def test_json_arrays_are_read_bit_by_bit(tmp_path, monkeypatch, characters):
    monkeypatch.setattr(json_files, "CHARACTERS_AT_ONCE", characters)
    rows = [{"prompt": f'猫 "quoted" ]{i}[', "chosen": f"{i}.png", "rejected": None, "n": 1.5e3} for i in range(9)]
    path = tmp_path / "a.json"
    path.write_text(json.dumps(rows, indent=1, ensure_ascii=characters > 10))
    found = open_source([str(path)], PLAIN)
    assert values(found) == rows
    assert values(found, 4) == rows[4:]
    path.write_text(json.dumps(rows)[:-30])
    with pytest.raises(DataError, match=r"a\.json cannot be read"):
        open_source([str(path)], PLAIN)


def test_bad_lines_are_bad_rows(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"prompt": "p", "image": "a"}\n\nnot json\n[1]\n{"prompt": "q", "image": "b"}\n')
    found = from_every_row(open_source([str(path)], PLAIN))
    assert [row.problem for row in found] == ["", "the line is not JSON", "the row is not a JSON object", ""]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"a\.jsonl holds no rows"),
        ('{"a":\n{\n', r"a\.jsonl has no row to read \(a\.jsonl row 0: the line is not JSON\)"),
        ("[1]\n", r"a\.jsonl row 0: the row is not a JSON object"),
    ],
)
def test_a_file_without_a_readable_row_says_why(tmp_path, content, message):
    (tmp_path / "a.jsonl").write_text(content)
    with pytest.raises(DataError, match=message):
        open_source([str(tmp_path / "a.jsonl")], PLAIN)


def test_hpdv2_images_are_in_the_folder_of_the_files_name(tmp_path):
    path = tmp_path / "train.json"
    path.write_text(json.dumps([{"prompt": "p", "file_path": ["a.png", "b.png"], "human_preference": [1, 0]}]))
    assert open_source([str(path)], PLAIN).roots == (str(tmp_path), str(tmp_path / "train"))
    assert open_source([str(path)], SourceOptions(images="elsewhere")).roots == ("elsewhere",)


def folder_of_pairs(root):
    for side in ("chosen", "rejected"):
        (root / side / "sub").mkdir(parents=True)
    (root / "captions").mkdir()
    for i, name in enumerate(("a", "b", "sub/c", "d", "e")):
        (root / "chosen" / f"{name}.png").write_bytes(encoded(i))
        if name != "d":
            (root / "rejected" / f"{name}.jpg").write_bytes(encoded(i, image_format="JPEG"))
    (root / "rejected" / "e.png").write_bytes(encoded(9))
    (root / "captions" / "a.txt").write_text("from captions/")
    (root / "chosen" / "b.txt").write_text("beside the image")
    (root / "captions.csv").write_text("name,caption\nsub/c,from the table\n")
    return root


def test_a_folder_of_chosen_and_rejected(tmp_path):
    found = from_every_row(open_source([str(folder_of_pairs(tmp_path))], PLAIN))
    told = {row.where: row for row in found}
    assert list(told) == ["a", "b", "d", "e", "sub/c"]
    assert told["a"].values == {"prompt": "from captions/", "chosen": "chosen/a.png", "rejected": "rejected/a.jpg"}
    assert told["b"].values["prompt"] == "beside the image"
    assert told["sub/c"].values["prompt"] == "from the table"
    assert told["d"].values == {"prompt": None, "chosen": "chosen/d.png", "rejected": None}
    assert told["e"].problem == "several images of one name"


def test_files_beside_the_images_are_no_images(tmp_path):
    root = folder_of_pairs(tmp_path)
    for name in ("chosen/a.json", "rejected/Thumbs.db", "rejected/a.safetensors"):
        (root / name).write_text("{}")
    told = {row.where: row for row in from_every_row(open_source([str(root)], PLAIN))}
    assert list(told) == ["a", "b", "d", "e", "sub/c"]
    assert told["a"].values["chosen"] == "chosen/a.png"


def test_columns_can_be_called_anew(tmp_path):
    path = write_lines(tmp_path / "a.jsonl", [{"caption": "c", "win": "a.png", "lose": "b.png"}])
    options = SourceOptions(rename={"win": "chosen", "lose": "rejected"})
    assert values(open_source([str(path)], options)) == [{"caption": "c", "chosen": "a.png", "rejected": "b.png"}]
    with pytest.raises(DataError, match="no column 'wn'; did you mean 'win'"):
        open_source([str(path)], SourceOptions(rename={"wn": "chosen"}))


def test_equal_data_has_an_equal_identity_wherever_it_lies(tmp_path):
    for place in ("one", "two"):
        write_parquet(tmp_path / place / "a.parquet", pickapic_rows(3))
        folder_of_pairs(tmp_path / f"folder {place}")
    one, two, other = (tmp_path / name for name in ("one", "two", "other"))
    assert open_source([str(one)], PLAIN).identity == open_source([str(two)], PLAIN).identity
    assert (
        open_source([str(tmp_path / "folder one")], PLAIN).identity
        == open_source([str(tmp_path / "folder two")], PLAIN).identity
    )
    write_parquet(other / "a.parquet", pickapic_rows(3)[::-1])
    assert open_source([str(one)], PLAIN).identity != open_source([str(other)], PLAIN).identity


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: [str(root / "none.parquet")], "there is no file or folder"),
        (lambda root: [str(root)], "holds neither Parquet files nor the folders"),
        (lambda root: [str(write_lines(root / "a.txt", [1]))], "needs files of one kind"),
        (
            lambda root: [str(write_lines(root / "a.jsonl", [1])), str(write_parquet(root / "a.parquet", [{"x": 1}]))],
            r"found \.jsonl, \.parquet",
        ),
        (
            lambda root: [str(write_parquet(root / place / "a.parquet", [{"x": 1}])) for place in ("b", "c")],
            "2 files are called",
        ),
        (
            lambda root: [
                str(write_parquet(root / f"{split}-00000-of-00001.parquet", [{"x": 1}]).parent)
                for split in ("train", "test")
            ][:1],
            "holds the splits test, train",
        ),
    ],
)
def test_what_cannot_be_opened_is_one_clear_line(tmp_path, make, message):
    with pytest.raises(DataError, match=message):
        open_source(make(tmp_path), PLAIN)


def test_a_dataset_is_streamed(tmp_path):
    pytest.importorskip("datasets")
    from accord.own.sources.hub import hub_source

    rows = pickapic_rows(11)
    write_parquet(tmp_path / "train-00000-of-00001.parquet", rows)
    found = hub_source(str(tmp_path))
    assert {"jpg_0", "caption"} <= found.columns
    assert values(found) == rows
    assert values(found, 7) == rows[7:]


def test_images_of_a_dataset_stay_encoded(tmp_path):
    datasets = pytest.importorskip("datasets")
    from accord.own.fitting import image_bytes
    from accord.own.sources.hub import hub_source

    features = datasets.Features(
        {"prompt": datasets.Value("string"), "chosen": datasets.Image(), "rejected": datasets.Image()}
    )
    contents = [encoded(0), encoded(1)]
    row = {"prompt": ["p"], "chosen": [{"bytes": contents[0]}], "rejected": [{"bytes": contents[1]}]}
    datasets.Dataset.from_dict(row, features=features).to_parquet(tmp_path / "a.parquet")
    (found,) = values(hub_source(str(tmp_path)))
    assert [image_bytes(found[side], ()) for side in ("chosen", "rejected")] == contents


def test_a_dataset_that_cannot_be_reached_says_what_to_do(monkeypatch):
    pytest.importorskip("datasets")
    with pytest.raises(
        DataError, match=r"no dataset of this name could be had.*hf download --repo-type dataset nobody/x"
    ):
        open_source(["nobody/x"], PLAIN)


def test_without_the_library_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingDependency, match="pip install datasets"):
        open_source(["nobody/x"], PLAIN)
