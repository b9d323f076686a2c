"""`train/log.jsonl` -> curves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from accord.errors import ArtifactError, MissingArtifact
from accord.manifest import load_manifest
from accord.report.noise_levels import accuracy_curves
from accord.report.read_evaluation import number
from accord.report.records import Training

LOG = "log.jsonl"
OWN = ("loss", "learning_rate", "gradient_norm")  # numbers of the step itself; the others are in its `metrics`

_ANEW = "bring it back from a copy, or delete the folder it is in and run `accord train`: the training is made anew"


def read_training(run: Path) -> Training | None:
    """Return the curves, or None if training has not finished. Raises ArtifactError if the log is missing or odd."""
    manifest = load_manifest(run / "train")
    if manifest is None:
        return None
    lines = _lines(run / "train" / LOG)
    try:
        rows = [{**{name: line.get(name) for name in OWN}, **line.get("metrics", {})} for line in lines]
        names = sorted({name for row in rows for name in row})
        curves = {name: np.array([number(row.get(name)) for row in rows], dtype=np.float64) for name in names}
        by_noise = _by_noise(lines)
        return Training(
            np.array([line["step"] for line in lines], dtype=np.int64),
            {**curves, **accuracy_curves(by_noise)},
            manifest.counts.get("pairs_seen"),
            manifest.facts.get("parameters_trained"),
            manifest.facts.get("parameters_total"),
            by_noise,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ArtifactError(f"{run / 'train' / LOG} is odd ({error!r}); {_ANEW}") from error


def _by_noise(lines: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """Return count and sums per part of the schedule of every step, (S, parts); no visits where a step has none.

    Empty for a log without them, and without a name that some steps do not know: a run may have begun with a version
    that kept less.
    """
    rows = [line.get("by_noise") or {} for line in lines]
    told = [row for row in rows if row]
    if not told:
        return {}
    none = [0.0] * len(told[0]["count"])
    names = [name for name in told[0] if all(name in row for row in told)]
    return {name: np.array([[number(value) for value in row.get(name, none)] for row in rows]) for name in names}


def _lines(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        raise MissingArtifact(f"{path} is missing; run `accord train` again")
    lines = path.read_text(encoding="utf-8").splitlines()
    try:
        return [json.loads(line) for line in lines]
    except ValueError as error:
        raise ArtifactError(f"{path} is damaged ({error}); {_ANEW}") from error
