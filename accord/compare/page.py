"""The comparison on one self-contained page: no script, nothing fetched, every text from outside escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

import accord.report
from accord.compare.figures import curves, forest, trade_offs
from accord.compare.findings import verdict
from accord.compare.tables import FACTS, cell, compact, judges, mark, points, rate_of, trains_on
from accord.report.colours import diverging, scorer_colour
from accord.report.words import plural

TEMPLATES = Path(__file__).parent / "templates"
REPORT_CSS = Path(accord.report.__file__).parent / "templates" / "page.css"


def render_page(results: Mapping[str, Any]) -> str:
    """Return the page as HTML text, from what results.json holds."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        cell=cell,
        points=points,
        compact=_compact,
        fact=_fact,
        shade=_shade,
        plural=plural,
        colour=scorer_colour,
        breakable=_breakable,
    )
    environment.globals.update(mark=mark, rate_of=rate_of, trains_on=trains_on)
    checker = [scorer["name"] for scorer in results["scorers"] if scorer["role"] == "checker"]
    return environment.get_template("compare.html").render(
        results=results,
        verdict=verdict(results),
        tables=[_table(results, table, n) for n, table in enumerate(results["tables"].values(), 1)],
        judges=judges(results),
        roles={scorer["name"]: scorer["role"] for scorer in results["scorers"]},
        checker=checker[0] if checker else "",
        facts=FACTS,
        kinds=_kinds(results),
        css="".join(path.read_text(encoding="utf-8") for path in (REPORT_CSS, TEMPLATES / "compare.css")),
    )


def _table(results: Mapping[str, Any], table: Mapping[str, Any], number: int) -> dict[str, Any]:
    """Return a table with its figures; ids on the page are numbers, because names may hold anything."""
    arms = table["arms"]
    moving = [arm for arm in arms if arm in results["curves"]]
    return {
        **table,
        "id": f"table-{number}",
        "forest": forest(results, arms, f"forest-{number}") if arms else "",
        "moving": moving,
        "curves": curves(results, moving, f"curves-{number}") if moving else [],
        "trade_offs": trade_offs(results, arms, f"trade-{number}"),
        "duels": _duels(results, arms),
    }


def _duels(results: Mapping[str, Any], arms: Sequence[str]) -> list[list[dict[str, Any]]]:
    """Return the win rate of each arm (row) against each other, with its interval in words and if it is decided."""
    place, found = {arm: n for n, arm in enumerate(results["pairwise"]["arms"])}, results["pairwise"]["mean_trained"]
    rows = []
    for one in arms:
        row = []
        for two in arms:
            value, low, high = (found[end][place[one]][place[two]] for end in ("value", "low", "high"))
            row.append(
                {
                    "value": value,
                    "title": "" if value is None else f"{one} against {two}: {100 * low:.1f} to {100 * high:.1f} %",
                    "is_decided": value is not None and (low > 0.5 or high < 0.5),
                }
            )
        rows.append(row)
    return rows


def _kinds(results: Mapping[str, Any]) -> list[str]:
    """Return the kinds of choices in which the arms' methods differ."""
    methods = [row["facts"]["method"] for row in results["arms"].values() if row["facts"].get("method")]
    kinds = dict.fromkeys(kind for method in methods for kind in method)
    return [kind for kind in kinds if len({method.get(kind) for method in methods}) > 1]


def _fact(row: Mapping[str, Any], name: str) -> str:
    value = row["facts"].get(name)
    return f"{value:.0f}" if value is not None and name in ("pairs_seen", "prompts_with_pairs") else _compact(value)


def _breakable(name: str) -> Markup:
    """Return a name that a line may break after its underscores."""
    return Markup("_<wbr>").join(escape(part) for part in name.split("_"))


def _compact(value: float | None) -> str:
    return compact(value).replace("-", "−")


def _shade(value: float | None) -> str:
    """Return a background for a win rate: blue above one half, orange below."""
    return diverging(float("nan") if value is None else 3 * (value - 0.5))
