"""The manifest of `select` and its pairs -> how pairs came out of the scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from accord.errors import ArtifactError
from accord.files import read_table
from accord.manifest import load_manifest
from accord.report.read_evaluation import number, square
from accord.report.records import ScorerSelection, Selection


def read_selection(run: Path) -> Selection | None:
    """Return what selection found, or None if it has not finished. Raises ArtifactError if its manifest is odd."""
    manifest = load_manifest(run / "select")
    if manifest is None:
        return None
    counts, facts = manifest.counts, manifest.facts
    try:
        return Selection(
            int(counts["prompts"]),
            int(counts["prompts_with_pairs"]),
            int(counts["pairs"]),
            tuple(
                ScorerSelection(
                    name,
                    number(facts["scales"][name]),
                    number(facts["mean_best_worst_margin"][name]),
                    number(facts["mean_margin"][name]),
                    number(facts["agreement"][name]),
                )
                for name in facts["scorers"]
            ),
            number(facts["all_agree"]),
            square(tuple(facts["scorers"]), facts["correlation"]),
            _mean_target(run / "select" / "pairs.parquet"),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(
            f"{run / 'select'} was not written by this version of Accord ({error!r}); run `accord select --redo`"
        ) from error


def _mean_target(path: Path) -> float:
    """Return the target that a visit of training expects: every prompt comes equally often, then one of its pairs."""
    table = read_table(path, columns=["prompt_id", "target"])
    if table.num_rows == 0:
        return float("nan")
    by_prompt = table.group_by("prompt_id", use_threads=False).aggregate([("target", "mean")])
    return float(np.mean(by_prompt["target_mean"].to_numpy()))
