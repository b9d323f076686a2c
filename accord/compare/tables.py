"""The results as Markdown tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def markdown(results: Mapping[str, Any]) -> str:
    """Return one section per table of the comparison file, and one on costs."""
    parts = [_section(results, table) for table in results["tables"].values() if table["arms"]]
    return "\n".join([_caption(results), *parts, _costs(results)])


def cell(interval: Mapping[str, Any] | None) -> str:
    """Return `61.2 (57.9-64.4)` in per cent, a dash where nothing is known."""
    if interval is None:
        return "–"
    return f"{100 * interval['value']:.1f} ({100 * interval['low']:.1f}-{100 * interval['high']:.1f})"


def _caption(results: Mapping[str, Any]) -> str:
    missing = sum(results["missing"].values())
    return (
        "Win rates in per cent against the base model at the same prompt and seed, 50 is no change; in brackets the "
        f"{100 * results['confidence']:.0f} % interval over training seeds and prompts.\n"
        f"{results['num_seeds']} training seeds, {results['num_prompts']} prompts with "
        f"{results['images_per_prompt']} image(s) each. Bold: the highest of a column; ≈: its interval holds the "
        "highest value.\n"
        + (f"\n{missing} cells have not finished; their seeds are missing from the means.\n" if missing else "")
    )


def _section(results: Mapping[str, Any], table: Mapping[str, Any]) -> str:
    names = [scorer["name"] for scorer in results["scorers"] if scorer["role"] != "checker"]
    rows = [results["arms"][arm] for arm in table["arms"]]
    columns = [[row["win_rates"][name] for row in rows] for name in names] + [[row["mean_trained"] for row in rows]]
    marked = [_marked(column) for column in columns]
    skill = [_points(row["skill"]) for row in rows]
    head = ["arm", "trains on", *names, "mean of trained", "skill accuracy, points"]
    lines = [
        [arm, _trains_on(row, results), *(column[i] for column in marked), skill[i]]
        for i, (arm, row) in enumerate(zip(table["arms"], rows, strict=True))
    ]
    text = f"\n## {table['title']}\n\n{_table(head, lines)}"
    if table["against"]:
        direct = [
            [arm, *(cell(found.get(name)) for name in (*names, "mean_trained"))]
            for arm, found in table["against"].items()
            if found
        ]
        text += f"\nDirectly against `{table['against_name']}`, seed by seed:\n\n"
        text += _table(["arm", *names, "mean of trained"], direct)
    curves = {arm: results["curves"][arm] for arm in table["arms"] if arm in results["curves"]}
    return text + (_curves(curves) if curves else "")


def _curves(curves: Mapping[str, Any]) -> str:
    steps = sorted({point["steps"] for curve in curves.values() for point in curve["points"]})
    levels = list(next(iter(curves.values()))["steps_to"])
    head = ["arm", *(f"{n} steps" for n in steps), *(f"steps to {100 * float(level):.0f} %" for level in levels)]
    lines = []
    for arm, curve in curves.items():
        at = {point["steps"]: point for point in curve["points"]}
        reached = [curve["steps_to"][level] for level in levels]
        lines.append([arm, *(cell(at.get(n)) for n in steps), *("–" if r is None else f"{r:.0f}" for r in reached)])
    title = "Mean win rate over the trained rewards by number of optimiser steps, each budget a run of its own:"
    return f"\n{title}\n\n{_table(head, lines)}"


def _costs(results: Mapping[str, Any]) -> str:
    head = [
        "arm",
        "beta",
        "learning rate",
        "steps",
        "training, s",
        "distance",
        "accuracy",
        "chosen error",
        "rejected error",
    ]
    lines = []
    for arm, row in results["arms"].items():
        facts = row["facts"]
        told = [facts.get(name) for name in ("beta", "learning_rate")]
        late = [facts.get(n) for n in ("seconds", "distance", "accuracy", "error_chosen_rise", "error_rejected_rise")]
        lines.append([arm, *map(_compact, told), str(row["steps"]), *map(_compact, late)])
    note = (
        "Distance: relative change of the trained weights. Accuracy and errors: mean of the last tenth of the steps.\n"
    )
    return f"\n## Settings and costs\n\n{note}\n{_table(head, lines)}"


def _marked(column: Sequence[Mapping[str, Any] | None]) -> list[str]:
    """Return the cells of a column, the highest in bold, those whose interval holds it marked."""
    best = max((c["value"] for c in column if c is not None), default=None)
    texts = []
    for c in column:
        text = cell(c)
        if c is not None and c["value"] == best:
            text = f"**{text}**"
        elif c is not None and best is not None and c["high"] >= best:
            text = f"{text} ≈"
        texts.append(text)
    return texts


def _points(interval: Mapping[str, Any] | None) -> str:
    if interval is None:
        return "–"
    return f"{100 * interval['value']:+.1f} ({100 * interval['low']:+.1f} to {100 * interval['high']:+.1f})"


def _trains_on(row: Mapping[str, Any], results: Mapping[str, Any]) -> str:
    if row["soup"]:
        return "soup"
    num = sum(scorer["role"] == "trained" for scorer in results["scorers"])
    return "all" if len(row["trains_on"]) == num else ", ".join(row["trains_on"])


def _compact(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "".join("| " + " | ".join(text.replace("|", "\\|") for text in row) + " |\n" for row in rows)
