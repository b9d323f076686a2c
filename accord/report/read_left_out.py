"""Counts of everything that took no part in a run, from the manifests of its stages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from accord.manifest import Manifest, load_manifest
from accord.report.records import Evaluation, LeftOut

REASONS_SHOWN = 8


def read_left_out(run: Path, evaluation: Evaluation | None) -> tuple[LeftOut, ...]:
    """Return the counts in the order of the stages, zeros included: that nothing was left out is news too."""
    return (
        *_prompts(run / "generate", "generate", "training"),
        *_imported(run / "generate"),
        *_scores(run / "score"),
        *_selection(run / "select"),
        *_prompts(run / "evaluate" / "base", "evaluate", "evaluation"),
        *_comparisons(run / "evaluate" / "scores", evaluation),
    )


def _prompts(folder: Path, stage: str, which: str) -> Iterator[LeftOut]:
    manifest = load_manifest(folder)
    if manifest is not None:
        dropped = manifest.counts.get("prompts_dropped", {})
        total = manifest.counts["prompts"] + sum(dropped.values()) if "prompts" in manifest.counts else None
        for reason, count in dropped.items():
            yield LeftOut(stage, f"{which} prompts dropped: {reason}", count, total)
        if "prompts_cut" in manifest.counts:
            what = f"ends of {which} prompts, longer than the model reads"
            yield LeftOut(stage, what, manifest.counts["prompts_cut"], manifest.counts["prompts"])


def _imported(folder: Path) -> Iterator[LeftOut]:
    """Yield what an import left out, if the images were imported."""
    manifest = load_manifest(folder)
    for reason, count in sorted(manifest.counts.get("left_out", {}).items() if manifest is not None else ()):
        yield LeftOut("generate", f"left out of the import, {reason}", count, None)


def _scores(folder: Path) -> Iterator[LeftOut]:
    for name, manifest in scorer_manifests(folder):
        images, reasons = manifest.counts.get("images"), manifest.counts.get("reasons", {})
        yield LeftOut("score", f"images that {name} did not score", manifest.counts.get("unscored", 0), images)
        yield from _by_reason("score", name, reasons, images)


def _by_reason(stage: str, name: str, reasons: Mapping[str, int], images: int | None) -> Iterator[LeftOut]:
    """Yield the most frequent reasons, and the rest as one."""
    ordered = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    for reason, count in ordered[:REASONS_SHOWN]:
        yield LeftOut(stage, f"of those, {name}: {reason}", count, images)
    rest = ordered[REASONS_SHOWN:]
    if rest:
        yield LeftOut(stage, f"of those, {name}: {len(rest)} other reasons", sum(n for _, n in rest), images)


def _selection(folder: Path) -> Iterator[LeftOut]:
    manifest = load_manifest(folder)
    if manifest is None:
        return
    counts = manifest.counts
    if "images_unscored" in counts:
        what = "images without a score of every scorer, in no pair"
        yield LeftOut("select", what, counts["images_unscored"], counts.get("images"))
    prompts = counts.get("prompts")
    without = sum(counts.get("dropped", {}).values())
    yield LeftOut("select", "prompts without a valid pair", without, prompts)
    for reason, count in counts.get("dropped", {}).items():
        yield LeftOut("select", f"of those: {reason}", count, prompts)
    if "pairs_without_preference" in counts:
        total = counts["pairs"] + counts["pairs_without_preference"]
        yield LeftOut("select", "pairs tied, with a target of zero", counts["pairs_without_preference"], total)


def _comparisons(folder: Path, evaluation: Evaluation | None) -> Iterator[LeftOut]:
    if evaluation is None:
        return
    total = evaluation.num_prompts * evaluation.images_per_prompt
    for scorer in evaluation.scorers:
        yield LeftOut("evaluate", f"comparisons that {scorer.name} did not score", scorer.num_unscored, total)
        for model in ("base", "tuned"):
            manifest = load_manifest(folder / model / scorer.name)
            if manifest is not None:
                reasons = manifest.counts.get("reasons", {})
                yield from _by_reason("evaluate", f"{scorer.name}, {model}", reasons, manifest.counts.get("images"))


def scorer_manifests(folder: Path) -> Iterator[tuple[str, Manifest]]:
    """Yield scorer and manifest of every finished score table below the folder, by name."""
    for path in sorted(folder.glob("*/manifest.json")):
        manifest = load_manifest(path.parent)
        if manifest is not None:
            yield path.parent.name, manifest
