"""Checking data before a GPU is booked: what is counted, and with which status the command ends."""

import json

import pytest
from make_data import encoded, files_of, pickapic_rows, write_lines, write_parquet
from typer.testing import CliRunner

from accord.cli.app import app
from accord.cli.own import parse_size
from accord.errors import ConfigError
from accord.own.importing import ImportSettings, import_pool
from accord.own.sources.opening import SourceOptions
from accord.own.validate import validate

runner = CliRunner()


def faulty_rows():
    rows = pickapic_rows(12)
    rows[0]["jpg_0"] = rows[0]["jpg_0"][:-30]
    rows[1]["caption"] = ""
    rows[4]["jpg_1"] = encoded(99, 40, 30)
    rows[6]["caption"], rows[6]["jpg_0"], rows[6]["jpg_1"] = (rows[7][k] for k in ("caption", "jpg_0", "jpg_1"))
    rows[9] = dict(rows[10])
    rows[11]["jpg_0"] = rows[10]["jpg_0"]  # with another caption
    return rows


def test_every_kind_of_fault_is_counted_with_its_first_place(tmp_path):
    found = validate([str(write_parquet(tmp_path / "a.parquet", faulty_rows()))], SourceOptions())
    assert found.rows == 12
    assert found.left_out == {
        "image: damaged or cut short": 1,
        "pair: an image of the pair is missing or damaged": 1,
        "row: no caption": 1,
    }
    assert found.first["image: damaged or cut short"] == "a.parquet row 0"
    assert found.first["row: no caption"] == "a.parquet row 1"
    assert found.first["pair: two sizes"] == "a.parquet row 4"
    assert found.pairs_of_different_sizes == 1
    assert found.sizes["40x30"] == 1
    assert found.pairs["repeated"] == 2
    assert found.pairs["contradictory"] == 1  # rows 6 and 7 say the opposite of the same two images
    assert found.images_of_several_prompts == 1
    assert found.usable == found.pairs["decided"]
    assert found.status == "faults"


def test_import_leaves_out_just_what_was_found_wrong(tmp_path):
    path = str(write_parquet(tmp_path / "a.parquet", faulty_rows()))
    found = validate([path], SourceOptions())
    counts = import_pool([path], tmp_path / "own", ImportSettings(32, 32), SourceOptions()).manifest.counts
    assert counts["left_out"] == dict(found.left_out)
    assert {name: counts[name] for name in found.pairs} == found.pairs
    assert (counts["images"], counts["prompts"]) == (found.images, found.prompts)


@pytest.mark.parametrize(
    ("spoil", "status", "code"),
    [
        (lambda rows: None, "clean", 0),
        (lambda rows: rows[0].update(jpg_0=b"x"), "faults", 3),
        (lambda rows: [row.update(caption="") for row in rows], "unusable", 1),
        (lambda rows: [row.update(label_0=0.5, label_1=0.5) for row in rows], "unusable", 1),
    ],
)
def test_the_exit_status_says_what_remains(tmp_path, spoil, status, code):
    rows = pickapic_rows(6)
    spoil(rows)
    path, report = write_parquet(tmp_path / "a.parquet", rows), tmp_path / "report.json"
    before = files_of(tmp_path)
    done = runner.invoke(app, ["validate", str(path), "--json", str(report)])
    assert done.exit_code == code, done.output
    told = json.loads(report.read_text())
    assert told["status"] == status
    assert f"{told['usable_pairs']} pairs remain" in done.output
    report.unlink()
    assert files_of(tmp_path) == before


def test_a_file_that_cannot_be_opened_is_a_fault_beside_whole_ones(tmp_path):
    write_parquet(tmp_path / "a.parquet", pickapic_rows(4))
    (tmp_path / "b.parquet").write_bytes(b"PAR1")
    done = runner.invoke(app, ["validate", str(tmp_path)])
    assert done.exit_code == 3
    assert "b.parquet" in done.output


def test_what_is_left_out_on_purpose_is_no_fault(tmp_path):
    for i in range(4):
        (tmp_path / f"{i}.png").write_bytes(encoded(i))
    rows = [
        {"prompt": "p", "path1": f"{i}.png", "path2": f"{i + 1}.png", "confidence": c} for i, c in ((0, 0.9), (2, 0.5))
    ]
    found = validate([str(write_lines(tmp_path / "a.jsonl", rows))], SourceOptions(), min_confidence=0.8)
    assert (found.usable, found.status) == (1, "clean")


def test_the_import_command_says_what_to_write_into_the_run_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_parquet(tmp_path / "a.parquet", pickapic_rows(3))
    done = runner.invoke(app, ["import", "a.parquet", "own", "--size", "32x16"])
    assert done.exit_code == 0, done.output
    assert "[generate] imported = 'own', width = 32, height = 16" in done.output


def test_sizes_are_read_strictly():
    assert (parse_size("1024x768"), parse_size("512")) == ((1024, 768, False), (512, 512, True))
    for wrong in ("", "0x5", "12x", "x12", "1.5", "-3", "12 x 12"):
        with pytest.raises(ConfigError, match="--size needs"):
            parse_size(wrong)
    with pytest.raises(ConfigError, match="--size may be 8192 pixels a side at most, not '1024x10240'"):
        parse_size("1024x10240")


def test_a_wrong_call_is_one_clear_line(tmp_path):
    path = str(write_parquet(tmp_path / "a.parquet", pickapic_rows(1)))
    for arguments, message in (
        (["import", path, "--size", "32"], "needs at least one source and the folder"),
        (["validate", path, "--rename", "x"], "--rename needs THEIRS=OURS"),
    ):
        done = runner.invoke(app, arguments)
        assert message in str(done.exception)
