"""`evaluate/metrics/metrics.json` -> the results, with null as NaN."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from accord.errors import ArtifactError
from accord.files import read_json
from accord.manifest import load_manifest
from accord.report.records import Correlation, Estimate, Evaluation, ImageResult, ScorerResult, SkillResult

FOLDER = "evaluate/metrics"
ROLES = ("trained", "held_out", "checker")
OVERALL = "overall"  # all skills together, each with the same weight


def read_evaluation(run: Path) -> Evaluation | None:
    """Return the results, or None if evaluation has not finished. Raises ArtifactError if they are missing or odd."""
    if load_manifest(run / FOLDER) is None:
        return None
    path = run / FOLDER / "metrics.json"
    return parse_evaluation(read_json(path), str(path))


def parse_evaluation(metrics: Mapping[str, Any], origin: str = "metrics.json") -> Evaluation:
    """Return the results from the content of metrics.json. Raises ArtifactError naming what is missing or odd."""
    try:
        return Evaluation(
            number(metrics["confidence"]),
            int(metrics["num_prompts"]),
            int(metrics["images_per_prompt"]),
            tuple(_scorer(found) for found in metrics["scorers"]),
            tuple(_skill(name, found) for name, found in _overall_last(metrics.get("skills") or {})),
            correlation(metrics["correlation"]) if metrics.get("correlation") else None,
            tuple(_image(name, found) for name, found in (metrics.get("images") or {}).items()),
        )
    except KeyError as error:
        raise ArtifactError(f"{origin} has no {error}; run `accord evaluate` again") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise ArtifactError(
            f"{origin} is not what this version writes ({error}); run `accord evaluate` again"
        ) from error


def number(value: Any) -> float:
    """Return the number, NaN for null."""
    return float("nan") if value is None else float(value)


def correlation(found: Mapping[str, Any]) -> Correlation:
    """Return the matrix. Raises ValueError unless it is (K, K) for K scorers."""
    return square(tuple(found["scorers"]), found["matrix"])


def square(scorers: tuple[str, ...], rows: Sequence[Sequence[Any]]) -> Correlation:
    """Return the matrix of these scorers, null as NaN. Raises ValueError unless it is (K, K)."""
    matrix = np.array([[number(value) for value in row] for row in rows], dtype=np.float64)
    matrix = matrix if len(rows) else matrix.reshape(0, 0)  # labelled pairs need no scorer
    if matrix.shape != (len(scorers), len(scorers)):
        raise ValueError(f"the correlation of {len(scorers)} scorers has shape {matrix.shape}")
    return Correlation(scorers, matrix)


def _scorer(found: Mapping[str, Any]) -> ScorerResult:
    if found["role"] not in ROLES:
        raise ValueError(f"scorer {found['name']} has the role {found['role']!r}")
    return ScorerResult(
        str(found["name"]),
        found["role"],
        _estimate(found["win_rate"]),
        _estimate(found["base"]),
        _estimate(found["tuned"]),
        _estimate(found["difference"]),
        number(found["ties"]),
        int(found["num_prompts"]),
        int(found["num_unscored"]),
    )


def _image(name: str, found: Mapping[str, Any]) -> ImageResult:
    return ImageResult(name, *(_estimate(found[key]) for key in ("base", "tuned", "difference")))


def _overall_last(skills: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return sorted(skills.items(), key=lambda item: item[0] == OVERALL)


def _skill(name: str, found: Mapping[str, Any]) -> SkillResult:
    return SkillResult(
        name,
        _estimate(found["base"]),
        _estimate(found["tuned"]),
        _estimate(found["difference"]),
        int(found["num_prompts"]),
    )


def _estimate(found: Mapping[str, Any] | None) -> Estimate:
    found = found or {"value": None, "low": None, "high": None}
    return Estimate(number(found["value"]), number(found["low"]), number(found["high"]))
