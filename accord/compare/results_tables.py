"""Which arms stand together: the tables of the comparison file, in the layouts of the papers where they fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from accord.compare.config import CompareConfig, TableConfig
from accord.compare.results_arms import Measures
from accord.compare.results_pairs import against, leaders
from accord.compare.results_read import ArmData

Layout = Literal["plain", "single", "combined"]
WAYS = {"sum": "SUM", "soup": "SOUP", "frs": "FRS"}  # last part of an arm's name -> how it treats several rewards


def all_tables(measures: Measures, main: Mapping[str, ArmData]) -> dict[str, Any]:
    """Return the tables of the file, and one of all arms that are in none of them."""
    config = measures.config
    found = {name: _table(measures, main, table) for name, table in config.tables.items()}
    named = {arm for table in config.tables.values() for arm in table.arms}
    rest = tuple(arm for arm in config.arms if arm not in named)
    if rest:
        title = "Arms that are in no table" if named else "All arms"
        found["rest"] = _table(measures, main, TableConfig(title=title, arms=rest))
    return found


def layout_of(config: CompareConfig, arms: Sequence[str]) -> Layout:
    """Return how a table is laid out.

    single: every arm trains on one reward, and at least two rewards have at least two arms each: grouped by that reward
    (CaPO, table 1). combined: every name ends in _sum, _soup or _frs: method and way of combining in columns of their
    own, with the mean scores (CaPO, table 2). plain: one row per arm.
    """
    tuned = [config.arms[arm].scorers for arm in arms]
    rewards = [names[0] for names in tuned if len(names) == 1]
    if len(rewards) == len(arms) and sum(rewards.count(name) > 1 for name in set(rewards)) > 1:
        return "single"
    ways = {way_of(arm) for arm in arms}
    return "combined" if len(ways) > 1 and "" not in ways else "plain"


def way_of(arm: str) -> str:
    """Return how an arm treats several rewards by its name, "" if that does not say.

    >>> way_of("dpo_frs"), way_of("smpo")
    ('FRS', '')
    """
    return WAYS.get(arm.rpartition("_")[2], "") if "_" in arm else ""


def _table(measures: Measures, main: Mapping[str, ArmData], table: TableConfig) -> dict[str, Any]:
    layout = layout_of(measures.config, table.arms)
    groups = _groups(measures.config, [arm for arm in table.arms if arm in main], layout)
    there = [arm for arms in groups.values() for arm in arms]
    other = main.get(table.against)
    return {
        "title": table.title,
        "layout": layout,
        "arms": there,
        "absent": [arm for arm in table.arms if arm not in main],
        "groups": [
            {"tuned_on": reward, "arms": arms, "leaders": leaders(measures, main, arms)}
            for reward, arms in groups.items()
        ],
        "against_name": table.against,
        "against": {arm: against(measures, main[arm], other) for arm in there} if other is not None else {},
    }


def _groups(config: CompareConfig, arms: Sequence[str], layout: Layout) -> dict[str, list[str]]:
    """Return tuned reward -> arms in a table that is grouped by it, else "" -> all arms."""
    if layout != "single":
        return {"": list(arms)} if arms else {}
    found: dict[str, list[str]] = {}
    for arm in arms:
        found.setdefault(config.arms[arm].scorers[0], []).append(arm)
    return found
