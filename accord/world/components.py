"""Connected components of a small label image, without scipy."""

import numpy as np


def connected_components(classes: np.ndarray) -> np.ndarray:
    """Number the connected regions of equal class in `classes`, integers (H, W); negative means no region.

    Returns int64 (H, W): -1 outside, else 0, 1, ... in reading order of each region's first pixel. Pixels are
    connected over their four sides. Rows are cut into runs of equal class; runs that touch are united.
    """
    height, width = classes.shape
    is_start = np.ones((height, width), dtype=bool)
    is_start[:, 1:] = classes[:, 1:] != classes[:, :-1]
    runs = np.cumsum(is_start).reshape(height, width) - 1
    inside = classes >= 0
    touching = inside[1:] & (classes[1:] == classes[:-1])
    parent = list(range(int(runs[-1, -1]) + 1))
    for lower, upper in sorted(set(zip(runs[1:][touching].tolist(), runs[:-1][touching].tolist(), strict=True))):
        a, b = _root(parent, lower), _root(parent, upper)
        parent[max(a, b)] = min(a, b)
    roots = np.array([_root(parent, run) for run in range(len(parent))])[runs]
    _, numbers = np.unique(roots[inside], return_inverse=True)
    labels = np.full((height, width), -1, dtype=np.int64)
    labels[inside] = numbers
    return labels


def _root(parent: list[int], run: int) -> int:
    while parent[run] != run:
        run = parent[run]
    return run
