import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from accord.world.components import connected_components


def flood(classes: np.ndarray) -> np.ndarray:
    """The same by flood fill, pixel by pixel."""
    labels = np.full(classes.shape, -1)
    number = 0
    for start in zip(*np.nonzero(classes >= 0), strict=True):
        if labels[start] >= 0:
            continue
        stack = [start]
        while stack:
            y, x = stack.pop()
            inside = 0 <= y < classes.shape[0] and 0 <= x < classes.shape[1]
            if inside and labels[y, x] < 0 and classes[y, x] == classes[start]:
                labels[y, x] = number
                stack += [(y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)]
        number += 1
    return labels


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_equals_flood_fill(height: int, width: int, seed: int) -> None:
    classes = np.random.default_rng(seed).integers(-1, 2, (height, width))
    np.testing.assert_array_equal(connected_components(classes), flood(classes))


def test_a_spiral_is_one_region() -> None:
    spiral = np.array([[0, 0, 0, 0], [-1, -1, -1, 0], [0, 0, -1, 0], [0, -1, -1, 0], [0, 0, 0, 0]])
    np.testing.assert_array_equal(connected_components(spiral) >= 0, spiral >= 0)
    assert connected_components(spiral).max() == 0


def test_diagonal_neighbours_are_apart() -> None:
    assert connected_components(np.array([[0, -1], [-1, 0]])).max() == 1
