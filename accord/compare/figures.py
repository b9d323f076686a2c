"""The figures of the comparison's page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from accord.report.colours import BASE, scorer_colour
from accord.report.svg import inline_svg, plain_axes

ROW = 0.26  # inches per arm


def forest(results: Mapping[str, Any], arms: Sequence[str], name: str) -> Markup:
    """Return one panel per scorer: a row per arm with interval, mean and the dots of its seeds."""
    scorers = [scorer["name"] for scorer in results["scorers"] if scorer["role"] != "checker"]
    size = (11.5, 0.9 + ROW * len(arms))
    label = (
        f"Win rates against the base model of {len(arms)} arms under {len(scorers)} scorers; the table has the numbers"
    )

    def draw(figure: Figure) -> None:
        panels = np.atleast_1d(figure.subplots(1, len(scorers), sharey=True))
        for k, (axes, scorer) in enumerate(zip(panels, scorers, strict=True)):
            _forest_panel(axes, [results["arms"][arm]["win_rates"][scorer] for arm in arms], scorer_colour(k))
            axes.set_title(scorer, fontsize=8.5, loc="left")
        panels[0].set_yticks(range(len(arms)), arms)
        panels[0].set_ylim(len(arms) - 0.4, -0.6)

    return inline_svg(name, label, size, draw)


def _forest_panel(axes: Axes, rows: Sequence[Mapping[str, Any] | None], colour: str) -> None:
    axes.axvline(50, color="#77828d", linestyle=(0, (3, 3)), linewidth=1)
    for y, row in enumerate(rows):
        if row is None:
            continue
        is_decided = row["low"] > 0.5 or row["high"] < 0.5
        axes.plot(
            [100 * row["low"], 100 * row["high"]], [y, y], color=colour if is_decided else "#aab3bc", linewidth=2.4
        )
        axes.plot([100 * v for v in row["by_seed"]], [y] * len(row["by_seed"]), "|", color="#3c4650", markersize=5)
        axes.plot(100 * row["value"], y, "o", color=colour if is_decided else BASE, markersize=4.5)
    plain_axes(axes, 4, len(rows))
    axes.grid(visible=False, axis="y")


def curves(results: Mapping[str, Any], arms: Sequence[str], name: str) -> Markup:
    """Return the mean win rate over the trained rewards against the number of optimiser steps."""
    label = "Mean win rate over the trained rewards by optimiser steps; the table has the numbers"

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.axhline(50, color="#77828d", linestyle=(0, (3, 3)), linewidth=1)
        longest = max(point["steps"] for arm in arms for point in results["curves"][arm]["points"])
        for k, arm in enumerate(arms):
            points = results["curves"][arm]["points"]
            beside = 0.008 * longest * (k - (len(arms) - 1) / 2)  # whiskers side by side
            x = np.array([0, *(point["steps"] for point in points)], dtype=float) + beside
            y = np.array([0.5, *(point["value"] for point in points)]) * 100
            ends = np.array([[0.5, 0.5], *([point["low"], point["high"]] for point in points)]).T * 100
            axes.errorbar(
                x, y, np.abs(ends - y), color=scorer_colour(k), marker="o", markersize=4, linewidth=1.5, label=arm
            )
        axes.set_xlabel("optimiser steps")
        axes.set_ylabel("win rate, %")
        plain_axes(axes)
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1))

    return inline_svg(name, label, (8.2, 3.6), draw)


def trade_off(results: Mapping[str, Any], arms: Sequence[str], name: str) -> Markup:
    """Return the arms in the plane of two trained rewards' win rates, the third as colour."""
    trained = [scorer["name"] for scorer in results["scorers"] if scorer["role"] == "trained"]
    rates = np.array(
        [[_value(results["arms"][arm]["win_rates"][scorer]) for scorer in trained] for arm in arms], dtype=float
    )
    label = f"Arms by their win rates under {' and '.join(trained[:2])}; the table has the numbers"

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        third = rates[:, 2] * 100 if len(trained) > 2 else None
        fill = {"color": BASE} if third is None else {"c": third, "cmap": "cividis"}
        drawn = axes.scatter(
            100 * rates[:, 0], 100 * rates[:, 1], s=44, edgecolors="#3c4650", linewidths=0.6, zorder=3, **fill
        )
        for number, point in enumerate(rates, 1):
            axes.annotate(str(number), 100 * point[:2], xytext=(5, 3), textcoords="offset points", fontsize=7.5)
        axes.axhline(50, color="#c3c9d0", linewidth=1)
        axes.axvline(50, color="#c3c9d0", linewidth=1)
        axes.set_xlabel(f"{trained[0]}, win rate %")
        axes.set_ylabel(f"{trained[1]}, win rate %")
        plain_axes(axes)
        if third is not None:
            figure.colorbar(drawn, ax=axes, label=f"{trained[2]}, win rate %", shrink=0.8)

    return inline_svg(name, label, (6.4, 4.8), draw)


def _value(interval: Mapping[str, Any] | None) -> float:
    return float("nan") if interval is None else interval["value"]
