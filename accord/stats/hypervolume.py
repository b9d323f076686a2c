"""How much of the space below them a set of points dominates: one number for a whole frontier of compromises."""

from __future__ import annotations

import numpy as np

from accord.errors import EvaluationError


def hypervolume(points: np.ndarray, reference: np.ndarray | float = 0.0) -> float:
    """Return the volume of all places that some point dominates and that dominate the reference.

    points: (M, K), higher is better, finite. reference: (K,) or one number for all. A point that is not above the
    reference everywhere adds nothing. Exact, by slicing along the last axis (While et al. 2006): for few objectives.

    >>> hypervolume(np.array([[1.0, 2.0], [2.0, 1.0]]))
    3.0
    """
    points = np.asarray(points, np.float64)
    if points.ndim != 2 or not np.isfinite(points).all():
        raise EvaluationError(f"a hypervolume needs finite points (M, K), found {points.shape}")
    above = points - np.asarray(reference, np.float64)
    return float(_volume(above[(above > 0).all(axis=1)]))


def exclusive_volumes(points: np.ndarray, reference: np.ndarray | float = 0.0) -> np.ndarray:
    """Return the volume that would be lost without each point, (M,): 0 for a point that another one dominates.

    >>> exclusive_volumes(np.array([[1.0, 2.0], [2.0, 1.0], [1.0, 1.0]])).tolist()
    [1.0, 1.0, 0.0]
    """
    whole = hypervolume(points, reference)
    rest = [hypervolume(np.delete(points, m, axis=0), reference) for m in range(len(points))]
    return np.maximum(whole - np.array(rest), 0.0)  # below 0 by rounding only


def _volume(points: np.ndarray) -> float:
    """Return the volume between 0 and (M, K) points above 0."""
    if len(points) == 0:
        return 0.0
    if points.shape[1] == 1:
        return float(points.max())
    points = points[np.argsort(-points[:, -1])]
    heights = np.append(points[:, -1], 0.0)
    volume = 0.0
    for m in range(len(points)):
        thickness = heights[m] - heights[m + 1]
        if thickness > 0:
            volume += thickness * _volume(points[: m + 1, :-1])
    return volume
