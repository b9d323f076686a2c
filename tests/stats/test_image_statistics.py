"""What pictures look like, on pictures whose statistics are known."""

import numpy as np
import pytest

from accord.stats.image_statistics import diversity, image_statistics


def test_a_chessboard_is_all_edges_of_two_colours():
    board = np.indices((16, 16)).sum(axis=0) % 2 * 255
    found = image_statistics(np.repeat(board[:, :, None], 3, axis=2).astype(np.uint8))
    assert found["edge_density"] == 1
    assert found["colour_entropy"] == pytest.approx(1)
    assert found["brightness"] == pytest.approx(0.5)
    assert found["saturation"] == 0


def test_half_red_half_blue_is_saturated_with_one_edge():
    image = np.zeros((8, 8, 3), np.uint8)
    image[:, :4, 0] = image[:, 4:, 2] = 255
    found = image_statistics(image)
    assert found["saturation"] == 1
    assert found["colour_entropy"] == pytest.approx(1)
    assert found["edge_density"] == pytest.approx(7 / 49)
    assert found["brightness"] == pytest.approx((0.299 + 0.114) / 2)


def test_all_64_colours_have_6_bits():
    levels = np.array([0, 64, 128, 192], np.uint8)
    image = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(8, 8, 3)
    assert image_statistics(image)["colour_entropy"] == pytest.approx(6)


def test_diversity_is_0_for_equal_images_grows_with_distance_and_does_not_see_size():
    grey = [np.full((n, n, 3), value, np.uint8) for n, value in ((8, 100), (32, 100), (20, 151))]
    assert diversity(grey[:2]) == 0
    assert diversity(grey[1:]) == pytest.approx(51 / 255)
    assert diversity(grey) == pytest.approx(2 / 3 * 51 / 255)
    assert np.isnan(diversity(grey[:1]))


def test_images_smaller_than_a_thumbnail_can_be_compared():
    assert diversity([np.zeros((3, 3, 3), np.uint8), np.full((3, 3, 3), 255, np.uint8)]) == 1


def test_a_flat_image_has_no_edges_no_colours_and_no_saturation():
    for size in (1, 8, 600):
        found = image_statistics(np.full((size, size, 3), 51, np.uint8))
        assert found == {"edge_density": 0, "colour_entropy": 0, "brightness": pytest.approx(0.2), "saturation": 0}


def test_a_large_image_is_judged_as_its_reduction():
    """Each pixel of a 256 x 300 image, drawn as a block of 4 x 4, and lines that no block holds are cut."""
    small = np.random.default_rng(0).integers(0, 256, (256, 300, 3)).astype(np.uint8)
    large = np.pad(small.repeat(4, axis=0).repeat(4, axis=1), ((0, 3), (0, 2), (0, 0)))
    assert image_statistics(large) == image_statistics(small)


def test_blocks_are_averaged():
    """A chessboard of single pixels is grey in blocks of two, so it has no edges left."""
    board = np.indices((512, 512)).sum(axis=0) % 2 * 255
    found = image_statistics(np.repeat(board[:, :, None], 3, axis=2).astype(np.uint8))
    assert found["edge_density"] == 0
    assert found["brightness"] == pytest.approx(128 / 255)
