"""Shapes of images: which size each goes to, and what images that are compared share."""

import numpy as np
import pytest
from make_data import encoded, write_lines

from accord.errors import ConfigError, DataError
from accord.files import read_table
from accord.images import decode_image, iterate_images
from accord.own.buckets import bucket_sizes, share_lost, shared_bucket
from accord.own.importing import ImportSettings, import_pool
from accord.own.sources.opening import SourceOptions
from accord.tables import read_prompts

SDXL = """512x2048 576x1792 640x1600 704x1472 768x1344 832x1216 896x1152 960x1088 1024x1024 1088x960 1152x896 1216x832
1344x768 1472x704 1600x640 1792x576 2048x512"""


def test_the_sizes_around_1024_are_those_of_sdxl():
    assert [f"{width}x{height}" for width, height in bucket_sizes(1024)] == SDXL.split()


@pytest.mark.parametrize("side", [8, 32, 64, 256, 320, 512, 768, 832, 1024, 1536])
def test_sizes_are_as_large_as_the_square_and_come_in_both_directions(side):
    found = bucket_sizes(side)
    assert (side, side) in found
    assert {(height, width) for width, height in found} == set(found)
    steps = {np.gcd.reduce([length for size in found for length in size])}
    step = steps.pop()
    assert step in (1, 2, 4, 8, 16, 32, 64)
    for width, height in found:
        assert 0.8 * side**2 < width * height <= side**2
        assert (width + step) * height > side**2 or (height + step) * width > side**2


@pytest.mark.parametrize(("side", "near"), [(1000, 960), (513, 512), (33, 32), (4, 8)])
def test_a_side_between_the_steps_is_refused(side, near):
    with pytest.raises(ConfigError, match=rf"need a multiple of \d+ pixels, such as {near}"):
        bucket_sizes(side)


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([(4000, 4000)], (512, 512)),
        ([(1920, 1080)], (640, 384)),
        ([(1080, 1920)], (384, 640)),
        ([(9000, 100)], (1024, 256)),
        ([(1920, 1080), (1920, 1080)], (640, 384)),
        ([(1920, 1080), (1080, 1920)], (512, 512)),  # neither loses more than the other
        ([(1000, 1000), (2000, 1000)], (576, 448)),
    ],
)
def test_images_that_are_compared_share_what_cuts_them_least(sizes, expected):
    assert shared_bucket(sizes, 512) == shared_bucket(sizes[::-1], 512) == expected
    worst = max(share_lost(size, expected) for size in sizes)
    assert all(max(share_lost(size, other) for size in sizes) >= worst for other in bucket_sizes(512))


def imported(tmp_path, rows, size=64, **options):
    for row in rows:
        for side in ("a", "b"):
            width, height = row[side]
            (tmp_path / f"{width}x{height}{side}.png").write_bytes(encoded(width * 7 + height, width, height))
    lines = [
        {"prompt": row["prompt"], "chosen": "{}x{}a.png".format(*row["a"]), "rejected": "{}x{}b.png".format(*row["b"])}
        for row in rows
    ]
    path = write_lines(tmp_path / "a.jsonl", lines)
    settings = ImportSettings(size, size, buckets=True, rows_per_shard=16, **options)
    return import_pool([str(path)], tmp_path / "own", settings, SourceOptions()).manifest.counts


def test_a_pair_shares_a_bucket_and_a_prompt_has_one_size(tmp_path):
    rows = [
        {"prompt": "p", "a": (80, 48), "b": (81, 48)},
        {"prompt": "p", "a": (48, 80), "b": (50, 80)},
        {"prompt": "p", "a": (80, 48), "b": (48, 82)},  # of two shapes: in the middle
        {"prompt": "q", "a": (160, 96), "b": (79, 48)},
    ]
    counts = imported(tmp_path, rows)
    assert counts["sizes"] == {"80x48": 4, "48x80": 2, "64x64": 2}
    assert (counts["images"], counts["prompts"], counts["decided"]) == (8, 4, 4)
    assert counts["rows_of_several_shapes"] == 1
    assert counts["images_that_lost_a_third"] == 2
    assert counts["images_kept_as_found"] == 2
    prompts = {prompt.id: prompt for prompt in read_prompts(tmp_path / "own" / "pool" / "prompts.parquet")}
    images = {row.image_id: row for row in iterate_images(tmp_path / "own" / "pool")}
    for row in images.values():
        assert decode_image(row.content).shape[:2] == (row.height, row.width)
        tags = f"height:{row.height}", f"width:{row.width}"
        assert prompts[row.prompt_id].tags == tags
    assert sorted(prompt.text for prompt in prompts.values()) == ["p", "p", "p", "q"]
    for label in read_table(tmp_path / "own" / "pool" / "labels.parquet").to_pylist():
        assert images[label["image_a"]].prompt_id == images[label["image_b"]].prompt_id == label["prompt_id"]


def test_a_photo_that_lies_on_its_side_goes_by_its_upright_shape(tmp_path):
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "a.jpg").write_bytes(encoded(0, 80, 48, "JPEG", exif=exif.tobytes()))
    path = write_lines(tmp_path / "a.jsonl", [{"prompt": "p", "image": "a.jpg"}])
    settings = ImportSettings(64, 64, buckets=True)
    counts = import_pool([str(path)], tmp_path / "own", settings, SourceOptions()).manifest.counts
    assert counts["sizes"] == {"48x80": 1}


def test_buckets_around_what_is_no_square_are_refused(tmp_path):
    path = write_lines(tmp_path / "a.jsonl", [{"prompt": "p", "image": "a.jpg"}])
    for width, height, error in ((64, 32, DataError), (65, 65, ConfigError)):
        with pytest.raises(error):
            import_pool([str(path)], tmp_path / "own", ImportSettings(width, height, buckets=True), SourceOptions())
    assert not (tmp_path / "own").exists()
