"""The results as Markdown tables, in the layouts of the papers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from accord.compare.results_tables import way_of

BEST, CLOSE = "best", "close"
RULE = (
    "Bold: the highest of its column. ≈: not told apart from it, because the interval of the paired difference (same "
    "prompts, same training seeds) holds 0. Where no other arm is marked, the bold one is higher than every other. "
    "Intervals are not widened for the number of arms."
)


def markdown(results: Mapping[str, Any]) -> str:
    """Return one section per table of the comparison file, one on costs and one on what is missing."""
    parts = [_section(results, table) for table in results["tables"].values()]
    return "\n".join([_caption(results), *parts, _costs(results), _missing(results)]).rstrip() + "\n"


def judges(results: Mapping[str, Any]) -> list[str]:
    """Return the scorers that a win rate is shown of: all but the checker."""
    return [scorer["name"] for scorer in results["scorers"] if scorer["role"] != "checker"]


def rate_of(row: Mapping[str, Any], quantity: str) -> Mapping[str, Any] | None:
    """Return an arm's interval of a scorer's win rate, of the mean or of the skill."""
    found = row["win_rates"][quantity] if quantity in row["win_rates"] else row[quantity]
    return None if found is None else dict(found)


def mark(leaders: Mapping[str, Any], quantity: str, arm: str) -> str:
    """Return "best", "close" (not told apart from the best) or "" for an arm of a group."""
    told = leaders.get(quantity)
    if told is None or not told["gaps"]:
        return ""
    return BEST if told["best"] == arm else CLOSE if arm in told["close"] else ""


def cell(interval: Mapping[str, Any] | None) -> str:
    """Return `61.2 (57.9-64.4)` in per cent, a dash where nothing is known."""
    if interval is None:
        return "–"
    return f"{100 * interval['value']:.1f} ({100 * interval['low']:.1f}-{100 * interval['high']:.1f})"


def points(interval: Mapping[str, Any] | None) -> str:
    """Return `+1.2 (-0.4 to +2.9)` in percentage points."""
    if interval is None:
        return "–"
    return f"{100 * interval['value']:+.1f} ({100 * interval['low']:+.1f} to {100 * interval['high']:+.1f})"


def trains_on(row: Mapping[str, Any], results: Mapping[str, Any]) -> str:
    """Return which rewards an arm trains on, in few words."""
    if row["soup"]:
        return "soup"
    num = sum(scorer["role"] == "trained" for scorer in results["scorers"])
    return "all" if len(row["trains_on"]) == num else ", ".join(row["trains_on"])


def compact(value: float | None) -> str:
    """Return a number in three digits."""
    return "–" if value is None else f"{value:.3g}"


def _caption(results: Mapping[str, Any]) -> str:
    missing, seeds = sum(results["missing"].values()), len(results["seeds"])
    what = "training seeds and prompts" if seeds > 1 else "prompts alone, because there is a single training seed"
    ties = f" Scores within {results['tie_epsilon']:g} are a tie." if results["tie_epsilon"] else ""
    lines = [
        "# Comparison",
        "Win rates in per cent against the base model at the same prompt and seed; 50 is no change, a tie counts one "
        f"half.{ties} In brackets the {100 * results['confidence']:g} % interval over {what}.",
        f"{_num(seeds, 'training seed')}; {_num(results['num_prompts'], 'prompt')} with "
        f"{_num(results['images_per_prompt'], 'image')} each. Made again by `accord compare FILE`; all numbers are in "
        "results.json.",
        RULE,
    ]
    if missing:
        lines.append(
            f"**{_num(missing, 'cell')} of {results['expected']} did not finish**, see the end: means of the arms "
            "concerned are over fewer seeds."
        )
    return "\n\n".join(lines) + "\n"


def _section(results: Mapping[str, Any], table: Mapping[str, Any]) -> str:
    text = f"\n## {_escaped(table['title'])}\n\n"
    if not table["arms"]:
        return text + "None of its arms has finished.\n"
    text += {"single": _single, "combined": _combined, "plain": _plain}[table["layout"]](results, table)
    if table["absent"]:
        text += f"\nNot finished: {', '.join(table['absent'])}.\n"
    if any(table["against"].values()):
        names = [*judges(results), "mean_trained"]
        direct = [[arm, *(cell(found[n]) for n in names)] for arm, found in table["against"].items() if found]
        text += f"\nDirectly against `{table['against_name']}`, same prompt, evaluation seed and training seed:\n\n"
        text += _table(["arm", *judges(results), "mean of rewards"], direct)
    curves = {arm: results["curves"][arm] for arm in table["arms"] if arm in results["curves"]}
    return text + (_curves(curves) if curves else "")


def _single(results: Mapping[str, Any], table: Mapping[str, Any]) -> str:
    """Groups of one tuned reward each, columns the judging scorers: the layout of CaPO's table 1."""
    quantities = _quantities(results)
    lines = [
        [group["tuned_on"], arm, *(_marked(results, group, name, arm) for name in quantities)]
        for group in table["groups"]
        for arm in group["arms"]
    ]
    note = "Marks are within the arms of one tuned reward.\n\n"
    return note + _table(["tuned on", "arm", *_heads(quantities)], lines)


def _combined(results: Mapping[str, Any], table: Mapping[str, Any]) -> str:
    """Method and way of combining rewards, with mean scores beside win rates: the layout of CaPO's table 2."""
    quantities, group = _quantities(results), table["groups"][0]
    rewards = [scorer["name"] for scorer in results["scorers"] if scorer["role"] == "trained"]
    head, base = ["method", "rewards"], ["base", ""]
    for name in quantities:
        head += [f"{name}, win", "score"] if name in rewards else _heads([name])
        base += ["", _score(results["base"]["scores"][name])] if name in rewards else [""]
    lines = [base]
    for arm in group["arms"]:
        line = [arm.rpartition("_")[0], way_of(arm)]
        for name in quantities:
            line.append(_marked(results, group, name, arm))
            if name in rewards:
                line.append(_score(results["arms"][arm]["scores"][name]))
        lines.append(line)
    return _table(head, lines)


def _plain(results: Mapping[str, Any], table: Mapping[str, Any]) -> str:
    quantities, group = _quantities(results), table["groups"][0]
    lines = [
        [arm, trains_on(results["arms"][arm], results), *(_marked(results, group, name, arm) for name in quantities)]
        for arm in group["arms"]
    ]
    return _table(["arm", "trains on", *_heads(quantities)], lines)


def _quantities(results: Mapping[str, Any]) -> list[str]:
    has_checker = any(scorer["role"] == "checker" for scorer in results["scorers"])
    return [*judges(results), "mean_trained", *(["skill"] if has_checker else [])]


def _heads(quantities: Sequence[str]) -> list[str]:
    words = {"mean_trained": "mean of rewards", "skill": "skill accuracy, points"}
    return [words.get(name, name) for name in quantities]


def _marked(results: Mapping[str, Any], group: Mapping[str, Any], quantity: str, arm: str) -> str:
    found = rate_of(results["arms"][arm], quantity)
    text = points(found) if quantity == "skill" else cell(found)
    which = mark(group["leaders"], quantity, arm)
    return f"**{text}**" if which == BEST else f"{text} ≈" if which == CLOSE else text


def _curves(curves: Mapping[str, Any]) -> str:
    steps = sorted({point["steps"] for curve in curves.values() for point in curve["points"]})
    levels = list(next(iter(curves.values()))["steps_to"]["mean_trained"])
    head = ["arm", *(f"{n} steps" for n in steps), *(f"steps to {100 * float(level):.0f} %" for level in levels)]
    lines = []
    for arm, curve in curves.items():
        at = {point["steps"]: point["rates"]["mean_trained"] for point in curve["points"]}
        reached = [curve["steps_to"]["mean_trained"][level] for level in levels]
        texts = ["not reached" if steps is None else f"{steps:.0f}" for steps in reached]
        lines.append([arm, *(cell(at.get(n)) for n in steps), *texts])
    return (
        "\nMean win rate over the rewards by number of optimiser steps, each budget a run of its own; steps to a level "
        f"are read off straight lines between budgets:\n\n{_table(head, lines)}"
    )


FACTS = {
    "beta": "beta",
    "learning_rate": "learning rate",
    "seconds": "training, s",
    "seconds_inverting": "inverting, s",
    "pairs_seen": "pairs seen",
    "prompts_with_pairs": "prompts used",
    "distance": "distance",
    "accuracy": "accuracy",
    "saturation": "saturation",
    "error_chosen_rise": "chosen error",
    "error_rejected_rise": "rejected error",
}
"""Fact of an arm -> heading of its column."""


def _costs(results: Mapping[str, Any]) -> str:
    head = ["arm", "recipe", "steps", *FACTS.values(), "volume"]
    volumes = results["hypervolume"]["above_0"]["arms"]
    lines = [
        [
            arm,
            row["recipe"] or "soup",
            str(row["steps"]),
            *(_fact(name, row["facts"].get(name)) for name in FACTS),
            compact(volumes.get(arm)),
        ]
        for arm, row in results["arms"].items()
    ]
    note = (
        "Means over training seeds. Distance: relative change of the trained weights at the end. Accuracy, saturation "
        "and rise of the errors over the reference's: over the last tenth of the steps. Volume: product of the win "
        f"rates under the rewards; all arms together dominate {compact(results['hypervolume']['above_0']['all'])}."
    )
    return f"\n## Settings and costs\n\n{note}\n\n{_table(head, lines)}"


def _fact(name: str, value: float | None) -> str:
    return f"{value:.0f}" if value is not None and name in ("pairs_seen", "prompts_with_pairs") else compact(value)


def _missing(results: Mapping[str, Any]) -> str:
    if not results["missing_cells"]:
        return ""
    lines = [[c["arm"], str(c["steps"]), ", ".join(map(str, c["seeds"]))] for c in results["missing_cells"]]
    return f"\n## Not finished\n\n{_table(['arm', 'steps', 'training seeds'], lines)}"


def _score(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _num(value: int, noun: str) -> str:
    return f"{value} {noun}{'' if value == 1 else 's'}"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "".join("| " + " | ".join(_escaped(text) for text in row) + " |\n" for row in rows)
