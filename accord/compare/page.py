"""The comparison on one self-contained page: no script, nothing fetched, every text from outside escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

import accord.report
from accord.compare.figures import curves, forest, trade_off
from accord.compare.tables import cell
from accord.report.words import listed

TEMPLATES = Path(__file__).parent / "templates"


def render_page(results: Mapping[str, Any]) -> str:
    """Return the page as HTML text, from what results.json holds."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(cell=cell, points=_points, short=_short, shade=_shade)
    arms, trained = list(results["arms"]), [s["name"] for s in results["scorers"] if s["role"] == "trained"]
    tables = []
    for name, table in results["tables"].items():
        if not table["arms"]:
            continue
        with_budgets = [arm for arm in table["arms"] if arm in results["curves"]]
        tables.append(
            {
                **table,
                "id": name,
                "forest": forest(results, table["arms"], f"forest-{name}"),
                "curves": curves(results, with_budgets, f"curves-{name}") if with_budgets else "",
                "findings": findings(results, table["arms"]),
            }
        )
    return environment.get_template("compare.html").render(
        results=results,
        tables=tables,
        arms=arms,
        trade_off=trade_off(results, arms, "trade-off") if len(trained) > 1 else "",
        css=(Path(accord.report.__file__).parent / "templates" / "page.css").read_text(encoding="utf-8"),
    )


def findings(results: Mapping[str, Any], arms: Sequence[str]) -> list[str]:
    """Return what the intervals decide about these arms, in sentences.

    An arm is said to be the highest only where its interval lies wholly above the value of every other arm.
    """
    found = []
    for scorer in [s["name"] for s in results["scorers"] if s["role"] != "checker"]:
        rates = {arm: results["arms"][arm]["win_rates"][scorer] for arm in arms}
        known = {arm: rate for arm, rate in rates.items() if rate is not None}
        if not known:
            continue
        best = max(known, key=lambda arm: known[arm]["value"])
        rivals = [arm for arm in known if arm != best and known[arm]["high"] >= known[best]["low"]]
        number = cell(known[best])
        if rivals:
            some = listed(rivals) if len(rivals) <= 3 else f"{len(rivals)} other arms"
            found.append(
                f"{scorer}: {best} has the highest win rate, {number} %, but its interval meets that of {some}."
            )
        else:
            found.append(f"{scorer}: {best} is highest, {number} %; no other interval reaches it.")
        worse = [arm for arm, rate in known.items() if rate["high"] < 0.5]
        if worse:
            found.append(f"{scorer}: {listed(worse)} {'is' if len(worse) == 1 else 'are'} below the base model.")
    return found


def _points(interval: Mapping[str, Any] | None) -> str:
    return "–" if interval is None else f"{100 * interval['value']:+.1f}".replace("-", "−")


def _short(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}".replace("-", "−")


def _shade(value: float | None) -> str:
    """Return a background for a win rate: blue above one half, orange below."""
    from accord.report.colours import diverging

    return diverging(float("nan") if value is None else 3 * (value - 0.5))
