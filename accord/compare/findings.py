"""What a comparison found, in sentences: who is best where the intervals decide, and where nothing decides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from accord.compare.tables import points, rate_of
from accord.report.verdict import FEW_PROMPTS, Finding, Verdict
from accord.report.words import THIN, listed, plural

MEAN_WORDS = "the mean of the rewards"
SHOWN = 4  # names in a sentence


def verdict(results: Mapping[str, Any]) -> Verdict:
    """Return the headline, and what stands behind it: what to be careful about, then each table's best arm."""
    return Verdict(_headline(results), (*_warnings(results), *_of_tables(results), *_below_base(results)))


def _headline(results: Mapping[str, Any]) -> str:
    told = results["overall"].get("mean_trained")
    if told is None:
        return "No arm can be compared yet."
    rate = f"{100 * results['arms'][told['best']]['mean_trained']['value']:.1f}{THIN}%"
    num = len(told["gaps"])
    if not num:
        return f"{told['best']} wins {rate} against the base model on {MEAN_WORDS}; there is no other arm."
    if not told["close"]:
        others = f"{num} other arms" if num > 1 else "the other arm"
        return f"{told['best']} is best on {MEAN_WORDS}, {rate} against the base model, ahead of {others}."
    names = _named(told["close"])
    return f"No single best arm: {told['best']} is highest on {MEAN_WORDS}, {rate}, but not told apart from {names}."


def _of_tables(results: Mapping[str, Any]) -> list[Finding]:
    found = []
    for table in results["tables"].values():
        for group in table["groups"]:
            quantity = group["tuned_on"] or "mean_trained"
            title = table["title"] + (f", tuned on {group['tuned_on']}" if group["tuned_on"] else "")
            found += _of_group(results, group["leaders"], quantity, title)
            if not group["tuned_on"]:
                held_out = [scorer["name"] for scorer in results["scorers"] if scorer["role"] == "held_out"]
                found += [f for name in held_out for f in _of_group(results, group["leaders"], name, title, clear=True)]
    return found


def _of_group(
    results: Mapping[str, Any], leaders: Mapping[str, Any], quantity: str, title: str, clear: bool = False
) -> list[Finding]:
    """Return the sentence on one quantity of a group of arms; with `clear`, only where one arm is best."""
    told = leaders.get(quantity)
    if told is None or not told["gaps"] or (clear and told["close"]):
        return []
    best, under = told["best"], MEAN_WORDS if quantity == "mean_trained" else quantity
    rate = _rate(rate_of(results["arms"][best], quantity))
    if not told["close"]:
        nearest = min(told["gaps"], key=lambda arm: told["gaps"][arm]["value"])
        apart = points(told["gaps"][nearest]).replace("-", "−")
        return [Finding("better", f"{title}: {best} is best on {under}, {rate}, ahead of {nearest} by {apart} points.")]
    text = f"{title}: nothing decides who is best on {under}; {best} is highest, {rate}, "
    return [Finding("unclear", f"{text}not told apart from {_named(told['close'])}.")]


def _below_base(results: Mapping[str, Any]) -> list[Finding]:
    worse = [arm for arm, row in results["arms"].items() if row["mean_trained"] and row["mean_trained"]["high"] < 0.5]
    if not worse:
        return []
    return [Finding("worse", f"Below the base model on {MEAN_WORDS}: {_named(worse)}.")]


def _warnings(results: Mapping[str, Any]) -> list[Finding]:
    found = []
    num = sum(results["missing"].values())
    if num:
        concerned = _named([f"{arm} ({count})" for arm, count in results["missing"].items()])
        found.append(
            f"{plural(num, 'cell')} of {results['expected']} did not finish: {concerned}. Means of these arms are over "
            "fewer seeds, and they are compared with others on the seeds that both have."
        )
    for scorer in (s["name"] for s in results["scorers"] if s["role"] == "held_out"):
        arms = [arm for arm, row in results["arms"].items() if _pleases(row, scorer)]
        if arms:
            are = "rises" if len(arms) == 1 else "rise"
            found.append(f"{_named(arms)} {are} on what {'it trains' if len(arms) == 1 else 'they train'} on while "
                         f"falling on {scorer}, which no arm trains on: a sign of pleasing the scorers.")  # fmt: skip
    if len(results["seeds"]) == 1:
        found.append("There is a single training seed, so intervals cover prompts alone: another seed may turn any "
                     "order round.")  # fmt: skip
    elif len(results["seeds"]) < 5:
        found.append(f"With {len(results['seeds'])} training seeds the spread between seeds is poorly known, and "
                     "intervals may be too narrow where seeds differ; look at the dots of the seeds.")  # fmt: skip
    if results["num_prompts"] < FEW_PROMPTS:
        found.append(f"With {plural(results['num_prompts'], 'prompt')} the true intervals are wider than shown.")
    return [Finding("warning", text) for text in found]


def _pleases(row: Mapping[str, Any], scorer: str) -> bool:
    own, other = row["mean_own"], row["win_rates"][scorer]
    return bool(own and other and own["low"] > 0.5 and other["high"] < 0.5)


def _rate(interval: Mapping[str, Any] | None) -> str:
    assert interval is not None  # of the highest
    return f"{100 * interval['value']:.1f}{THIN}% ({100 * interval['low']:.1f} to {100 * interval['high']:.1f})"


def _named(arms: list[str]) -> str:
    return listed(arms) if len(arms) <= SHOWN else f"{', '.join(arms[: SHOWN - 1])} and {len(arms) - SHOWN + 1} others"
