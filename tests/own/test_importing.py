"""Data becomes a pool: what can be used is in it once, everything else is counted, and a kill costs nothing."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from make_data import encoded, files_of, pickapic_rows, write_lines, write_parquet

from accord.errors import ArtifactError, DataError, StaleArtifact
from accord.files import read_table
from accord.images import decode_image, iterate_images
from accord.own.importing import ImportSettings, import_pool
from accord.own.sources.opening import SourceOptions
from accord.tables import read_prompts

SETTINGS = ImportSettings(32, 32, rows_per_shard=16)


def imported(names, folder, settings=SETTINGS, redo=False, **options):
    return import_pool([str(name) for name in names], folder, settings, SourceOptions(**options), redo)


def labels(folder):
    return read_table(folder / "pool" / "labels.parquet").to_pylist()


def test_images_prompts_and_labels_are_those_of_the_data(tmp_path):
    rows = pickapic_rows(20)
    counts = imported([write_parquet(tmp_path / "a.parquet", rows)], tmp_path / "own").manifest.counts
    assert (counts["rows"], counts["images"], counts["prompts"], counts["pairs"]) == (20, 40, 5, 20)
    assert (counts["decided"], counts["ties"], counts["left_out"]) == (14, 6, {})
    assert counts["images_kept_as_found"] == 40
    images = {row.image_id: row for row in iterate_images(tmp_path / "own" / "pool")}
    texts = {prompt.id: prompt.text for prompt in read_prompts(tmp_path / "own" / "pool" / "prompts.parquet")}
    assert list(texts.values()) == [row["caption"] for row in rows[:5]]
    for row, label in zip(rows, labels(tmp_path / "own"), strict=True):
        first, second = images[label["image_a"]], images[label["image_b"]]
        assert (first.content, second.content) == (row["jpg_0"], row["jpg_1"])
        assert texts[first.prompt_id] == texts[second.prompt_id] == row["caption"]
        assert label["label"] == row["label_0"]
        assert first.seed is None
    assert sorted(row.index for row in images.values()) == sorted(list(range(8)) * 5)


def test_what_is_damaged_missing_or_unlabelled_is_counted_and_the_rest_is_used(tmp_path):
    rows = pickapic_rows(16)
    rows[0]["jpg_0"] = rows[0]["jpg_0"][:-30]
    rows[1]["caption"] = "  "
    rows[2]["caption"] = None
    rows[3]["jpg_1"] = None
    rows[4]["has_label"] = False
    rows[5]["jpg_1"] = rows[5]["jpg_0"]
    rows[6]["label_0"], rows[6]["label_1"] = 1.0, 1.0
    counts = imported([write_parquet(tmp_path / "a.parquet", rows)], tmp_path / "own").manifest.counts
    assert counts["left_out"] == {
        "image: damaged or cut short": 1,
        "image: there is no image": 1,
        "pair: an image of the pair is missing or damaged": 2,
        "pair: both images are the same": 1,
        "pair: no label": 1,
        "pair: the two labels of the row do not add up to 1": 1,
        "row: no caption": 2,
    }
    assert counts["pairs"] == 16 - 7
    assert counts["images"] == 2 * 14 - 3  # the partner of a lost image is there, for scorers to pair it


def test_an_image_of_several_rows_is_stored_once_and_every_label_is_kept(tmp_path):
    rows = pickapic_rows(20, prompts=1)
    for i in (17, 18, 19):  # in another shard than the first
        rows[i] = {**rows[0], "label_0": 0.0, "label_1": 1.0}
    rows[19]["caption"] = "another caption"
    counts = imported([write_parquet(tmp_path / "a.parquet", rows)], tmp_path / "own").manifest.counts
    assert (counts["images"], counts["pairs"], counts["repeated"], counts["contradictory"]) == (2 * 17 + 2, 18, 2, 1)
    assert len({row.image_id for row in iterate_images(tmp_path / "own" / "pool")}) == 36
    assert len(labels(tmp_path / "own")) == 20


def test_sides_do_not_matter_for_what_an_image_is_called(tmp_path):
    rows = pickapic_rows(2, prompts=1)
    turned = [{**row, "jpg_0": row["jpg_1"], "jpg_1": row["jpg_0"]} for row in rows[::-1]]
    for name, each in (("one", rows), ("two", turned)):
        imported([write_parquet(tmp_path / f"{name}.parquet", each)], tmp_path / name)
    ids = [{row.image_id: row.content for row in iterate_images(tmp_path / n / "pool")} for n in ("one", "two")]
    assert ids[0] == ids[1]


def test_equal_data_gives_equal_bytes_wherever_it_lies(tmp_path):
    rows = pickapic_rows(20)
    rows[3]["jpg_0"] = encoded(90, 50, 40)
    for name in ("one", "two"):
        write_parquet(tmp_path / name / "a.parquet", rows)
        imported([tmp_path / name / "a.parquet"], tmp_path / f"own {name}")
    assert files_of(tmp_path / "own one") == files_of(tmp_path / "own two")


def test_images_of_other_sizes_are_cropped_enlarged_and_counted(tmp_path):
    sizes = [(32, 32), (64, 64), (64, 32), (16, 16), (33, 32)]
    for i, size in enumerate(sizes):
        (tmp_path / f"{i}.png").write_bytes(encoded(i, *size))
    path = write_lines(tmp_path / "a.jsonl", [{"prompt": "p", "images": [f"{i}.png" for i in range(5)]}])
    counts = imported([path], tmp_path / "own").manifest.counts
    assert counts["images_kept_as_found"] == 1
    assert counts["images_made_anew"] == 4
    assert counts["images_cropped"] == 2
    assert counts["images_enlarged"] == 1
    assert counts["pairs"] == 0
    assert {decode_image(row.content).shape for row in iterate_images(tmp_path / "own" / "pool")} == {(32, 32, 3)}


def test_prompts_with_one_image_are_kept_and_counted(tmp_path):
    for i in range(3):
        (tmp_path / f"{i}.png").write_bytes(encoded(i))
    rows = [{"prompt": "one", "images": ["0.png"]}, {"prompt": "two", "images": ["1.png", "2.png"]}]
    counts = imported([write_lines(tmp_path / "a.jsonl", rows)], tmp_path / "own").manifest.counts
    assert (counts["prompts_with_one_image"], counts["images"]) == (1, 3)
    assert counts["left_out"] == {"pair: fewer than two images": 1}


@pytest.mark.parametrize("caption", ["猫 🦉 naïve\n\tfoo", "a" * 3000, 'quotes " \\ \0 and zero'])
def test_captions_stay_as_they_are(tmp_path, caption):
    rows = pickapic_rows(1)
    rows[0]["caption"] = f"  {caption} "
    imported([write_parquet(tmp_path / "a.parquet", rows)], tmp_path / "own")
    assert [p.text for p in read_prompts(tmp_path / "own" / "pool" / "prompts.parquet")] == [caption]


def test_half_a_character_is_no_caption(tmp_path):
    (tmp_path / "0.png").write_bytes(encoded(0))
    path = tmp_path / "a.jsonl"
    path.write_text('{"prompt": "\\ud83e", "image": "0.png"}\n{"prompt": "p", "image": "0.png"}\n')
    counts = imported([path], tmp_path / "own").manifest.counts
    assert counts["left_out"]["row: the caption is not valid text"] == 1


def test_confidence_decides_what_is_sure_enough(tmp_path):
    for i in range(4):
        (tmp_path / f"{i}.png").write_bytes(encoded(i))
    rows = [
        {"prompt": "p", "path1": "0.png", "path2": "1.png", "confidence": 0.95},
        {"prompt": "p", "path1": "2.png", "path2": "3.png", "confidence": 0.6},
    ]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    settings = ImportSettings(32, 32, min_confidence=0.9)
    counts = imported([tmp_path / "a.json"], tmp_path / "own", settings).manifest.counts
    assert (counts["pairs"], counts["left_out"]) == (1, {"pair: the confidence is too low": 1})
    shares = [
        {"prompt": "p", "image_a": "0.png", "image_b": f"{i}.png", "label": x}
        for i, x in ((1, 0.7), (2, 0.5), (3, 0.05))
    ]
    counts = imported([write_lines(tmp_path / "b.jsonl", shares)], tmp_path / "other", settings).manifest.counts
    assert (counts["decided"], counts["ties"], counts["left_out"]) == (1, 1, {"pair: the confidence is too low": 1})


def test_a_finished_import_is_reused_and_never_mixed(tmp_path):
    path = write_parquet(tmp_path / "a.parquet", pickapic_rows(20))
    imported([path], tmp_path / "own")
    before = files_of(tmp_path / "own")
    assert imported([path], tmp_path / "own").was_reused
    with pytest.raises(StaleArtifact, match="width was 32 and is now 48"):
        imported([path], tmp_path / "own", ImportSettings(48, 32, rows_per_shard=16))
    write_parquet(path, pickapic_rows(21))
    with pytest.raises(StaleArtifact, match="source"):
        imported([path], tmp_path / "own")
    assert files_of(tmp_path / "own") == before
    assert imported([path], tmp_path / "own", redo=True).manifest.counts["rows"] == 21


def test_no_folder_of_the_user_is_touched(tmp_path):
    path = write_parquet(tmp_path / "data" / "a.parquet", pickapic_rows(2))
    (tmp_path / "mine" / "pool").mkdir(parents=True)
    (tmp_path / "mine" / "pool" / "holiday.jpg").write_bytes(b"precious")
    for redo in (False, True):
        with pytest.raises(ArtifactError, match="holds something else"):
            imported([path], tmp_path / "mine", redo=redo)
    assert (tmp_path / "mine" / "pool" / "holiday.jpg").read_bytes() == b"precious"
    with pytest.raises(DataError, match="lies inside"):
        imported([tmp_path / "data"], tmp_path / "data" / "own")
    imported([path], tmp_path / "own")
    with pytest.raises(DataError, match="was filled by `accord import`"):
        imported([tmp_path / "own"], tmp_path / "other")


def test_data_without_a_single_image_is_refused_with_the_reasons(tmp_path):
    path = write_lines(tmp_path / "a.jsonl", [{"prompt": "p", "image": f"{i}.png"} for i in range(3)])
    with pytest.raises(DataError, match=r"nothing can be imported.*3 x image: the file is missing"):
        imported([path], tmp_path / "own")
    assert not (tmp_path / "own" / "pool").exists()


def test_rows_per_shard_must_fit():
    with pytest.raises(DataError, match="multiple of 16"):
        imported(["x"], "y", ImportSettings(32, 32, rows_per_shard=20))


def killed_at(marker, command):
    """Run a command and kill it as soon as the marker is there; return whether it was killed."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=os.environ)
    while process.poll() is None and not marker.exists():
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    return process.wait() == -signal.SIGKILL


IMPORT = """
import sys
from pathlib import Path
from accord.own.importing import ImportSettings, import_pool
from accord.own.sources.opening import SourceOptions

import_pool([sys.argv[1]], Path(sys.argv[2]), ImportSettings(32, 32, rows_per_shard=16), SourceOptions())
"""


def test_an_import_killed_again_and_again_ends_with_the_same_bytes(tmp_path):
    rows = pickapic_rows(160)
    for i, row in enumerate(rows):
        row["jpg_0"] = encoded(i, 200, 150)
        if i > 20:
            row["jpg_1"] = rows[i - 20]["jpg_1"]  # met before, often in an earlier shard
    path = write_parquet(tmp_path / "a.parquet", rows)
    imported([path], tmp_path / "whole")
    pool = tmp_path / "killed" / "pool"
    command = [sys.executable, "-c", IMPORT, str(path), str(tmp_path / "killed")]
    kills = [killed_at(marker, command) for marker in (pool / "part-00001.parquet", pool / ".shards" / "00005.json")]
    assert all(kills), "the import was too fast to be killed where it should be"
    assert not (pool / "manifest.json").exists()
    imported([path], tmp_path / "killed")
    assert files_of(tmp_path / "killed") == files_of(tmp_path / "whole")
    assert not (pool / ".shards").exists()


def test_a_shard_that_is_gone_is_made_again(tmp_path):
    path = write_parquet(tmp_path / "a.parquet", pickapic_rows(40))
    imported([path], tmp_path / "own")
    before = files_of(tmp_path / "own")
    (tmp_path / "own" / "pool" / "part-00001.parquet").unlink()
    assert not imported([path], tmp_path / "own").was_reused
    assert files_of(tmp_path / "own") == before


def test_memory_does_not_grow_with_the_data(tmp_path):
    """Rows are made on the way and never held: what is held of them is a few ids."""
    import tracemalloc

    peaks = []
    for count in (64, 256):
        rows = [
            {"caption": f"c{i}", "jpg_0": noise(2 * i), "jpg_1": noise(2 * i + 1), "label_0": 1.0} for i in range(count)
        ]
        path = write_parquet(tmp_path / f"{count}.parquet", rows, row_group_size=1000)
        del rows
        tracemalloc.start()
        imported([path], tmp_path / f"own {count}")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] * 1.25 + 200_000


def noise(number):
    """An image that does not compress."""
    import io

    from PIL import Image

    buffer = io.BytesIO()
    values = np.random.default_rng(number).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(values).save(buffer, "PNG")
    return buffer.getvalue()
