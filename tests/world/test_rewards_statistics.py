import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accord.world.rewards.statistics import (
    background,
    border,
    border_variation,
    colorfulness,
    contrast,
    edge_density,
    grain,
    median_filter,
    saliency,
    saturation,
)


def canvas(value: float = 0.5) -> np.ndarray:
    return np.full((32, 32, 3), value)


def test_border_holds_every_edge_pixel_once() -> None:
    numbers = np.arange(32 * 32, dtype=float).reshape(32, 32, 1).repeat(3, axis=2)
    expected = {int(numbers[y, x, 0]) for y in range(32) for x in range(32) if 0 in (x, y) or 31 in (x, y)}
    assert sorted(border(numbers)[:, 0].astype(int)) == sorted(expected)


@given(st.integers(0, 2**32 - 1))
def test_median_filter_equals_the_median_of_nine(seed: int) -> None:
    image = np.random.default_rng(seed).random((9, 7, 3))
    padded = np.pad(image, ((1, 1), (1, 1), (0, 0)), mode="edge")
    windows = np.stack([padded[i : i + 9, j : j + 7] for i in range(3) for j in range(3)])
    np.testing.assert_array_equal(median_filter(image), np.median(windows, axis=0))


def test_saliency_of_one_block() -> None:
    image = canvas()
    image[4:8, 20:24] = 1.0  # 4x4 pixels with centre (22, 6)
    subject = saliency(image)
    assert subject.off_centre == pytest.approx(np.hypot(22 - 16, 6 - 16))
    assert subject.spread == pytest.approx(np.sqrt(2 * 1.25))  # variance of four neighbours is 1.25 along each axis
    assert subject.fill == pytest.approx(16 / 1024)


def test_an_empty_image_has_no_subject() -> None:
    assert saliency(canvas()) == (0.0, 0.0, 0.0)


def test_all_measures_are_zero_on_an_empty_grey_image() -> None:
    for measure in (grain, border_variation, saturation, contrast, edge_density, colorfulness):
        assert measure(canvas()) == pytest.approx(0.0, abs=1e-12)


def test_background_ignores_what_touches_the_border() -> None:
    image = canvas()
    image[:10, :10] = (1.0, 0.0, 0.0)
    np.testing.assert_array_equal(background(image), [0.5, 0.5, 0.5])
    assert border_variation(image) > 0.1


def test_contrast_and_edges_of_stripes() -> None:
    image = canvas(0.0)
    image[:, ::2] = 1.0
    assert contrast(image) == pytest.approx(0.5)
    assert edge_density(image) == pytest.approx(0.5)  # every step across is 1, every step down is 0


def test_saturation_of_a_pure_colour() -> None:
    image = canvas()
    image[:] = (0.9, 0.2, 0.4)
    assert saturation(image) == pytest.approx(0.7)


def test_colorfulness_of_a_uniform_colour() -> None:
    image = canvas()
    image[:] = (1.0, 0.0, 0.0)
    # Only the means contribute: red-green 255, yellow-blue 127.5.
    assert colorfulness(image) == pytest.approx(0.3 * np.hypot(255.0, 127.5))


def test_grain_finds_single_pixels_and_passes_large_areas() -> None:
    image = canvas()
    image[:, 16:] = 1.0
    assert grain(image) == 0.0
    image[5, 5] = 1.0
    assert grain(image) == pytest.approx(0.5 / 1024)
