"""The figures of the comparison's page."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from accord.compare.labels import FONT, place_labels
from accord.compare.tables import judges, rate_of
from accord.report.colours import BASE, REJECTED, TUNED, scorer_colour
from accord.report.svg import inline_svg, plain_axes

ROW = 0.3  # inches per arm
PANELS = 7  # of the forest, side by side
NAME = 24  # letters of a name in a figure; the tables have it in full
LINES = ("-", (0, (4, 2)), (0, (1, 1.5)))  # after eight arms the colours come again
QUANTITIES = {"mean_trained": "mean of rewards", "skill": "skill, points"}


def forest(results: Mapping[str, Any], arms: Sequence[str], name: str) -> Markup:
    """Return one panel per quantity, a row per arm: interval, mean, and a dot for each training seed."""
    shown = ["mean_trained", *judges(results)]
    shown += ["skill"] if any(results["arms"][arm]["skill"] for arm in arms) else []
    num_rows = -(-len(shown) // PANELS)
    num_columns = -(-len(shown) // num_rows)
    size = (11.5, num_rows * (0.62 + ROW * len(arms)))
    label = (
        f"Win rates against the base model of {len(arms)} arms under {len(shown)} measures; the table has the numbers"
    )

    def draw(figure: Figure) -> None:
        grid = figure.subplots(num_rows, num_columns, sharey=True, squeeze=False)
        for axes in grid.flat[len(shown) :]:
            axes.set_visible(False)
        for axes, quantity in zip(grid.flat, shown, strict=False):
            _forest_panel(axes, [rate_of(results["arms"][arm], quantity) for arm in arms], quantity == "skill")
            axes.set_title(shortened(QUANTITIES.get(quantity, quantity), 20), fontsize=8.5, loc="left")
        for axes in grid[:, 0]:
            axes.set_yticks(range(len(arms)), [shortened(arm) for arm in arms])
            axes.set_ylim(len(arms) - 0.45, -0.55)

    return inline_svg(name, label, size, draw)


def _forest_panel(axes: Axes, rows: Sequence[Mapping[str, Any] | None], is_difference: bool) -> None:
    middle = 0.0 if is_difference else 0.5
    axes.axvline(100 * middle, color="#77828d", linestyle=(0, (3, 3)), linewidth=1)
    for y, row in enumerate(rows):
        if row is None:
            continue
        colour = TUNED if row["low"] > middle else REJECTED if row["high"] < middle else BASE
        axes.plot([100 * row["low"], 100 * row["high"]], [y, y], color=colour, alpha=0.45, linewidth=3)
        axes.plot(100 * row["value"], y, "o", color=colour, markersize=4.8)
        seeds = [100 * value for value in row["by_seed"]]
        axes.plot(seeds, [y + 0.3] * len(seeds), "o", color="#77828d", markersize=2.2)
    plain_axes(axes, 4, max(1, len(rows)))
    axes.grid(visible=False, axis="y")
    axes.margins(x=0.06)


def curves(results: Mapping[str, Any], arms: Sequence[str], name: str) -> list[tuple[str, Markup]]:
    """Return, per quantity, its name and the win rate against the number of optimiser steps, a line per arm."""
    found = []
    for k, quantity in enumerate(["mean_trained", *judges(results)]):
        lines = {arm: _line(results["curves"][arm], quantity) for arm in arms}
        title = QUANTITIES.get(quantity, quantity)
        label = f"Win rate on {title} by optimiser steps: " + "; ".join(
            f"{arm} {line[-1][1]:.1f} % after {line[-1][0]:.0f}" for arm, line in lines.items() if len(line) > 1
        )
        found.append((title, inline_svg(f"{name}-{k}", label, (4.3, 2.7), lambda figure, s=lines: _curves(figure, s))))  # type: ignore[misc]
    return found


def _line(curve: Mapping[str, Any], quantity: str) -> np.ndarray:
    """Return steps, win rate, both ends of its interval, in per cent, (S, 4), from the base model at 0 steps."""
    known = [(point["steps"], point["rates"][quantity]) for point in curve["points"] if point["rates"][quantity]]
    rows = [(steps, *(100 * rate[end] for end in ("value", "low", "high"))) for steps, rate in known]
    return np.array([(0, 50, 50, 50), *rows], dtype=np.float64)


def _curves(figure: Figure, lines: Mapping[str, np.ndarray]) -> None:
    axes = figure.subplots()
    axes.axhline(50, color="#77828d", linestyle=(0, (3, 3)), linewidth=1)
    longest = max(line[-1, 0] for line in lines.values())
    for k, line in enumerate(lines.values()):
        x = line[:, 0] + 0.008 * longest * (k - (len(lines) - 1) / 2) * (line[:, 0] > 0)  # whiskers side by side
        axes.vlines(x[1:], line[1:, 2], line[1:, 3], color=scorer_colour(k), alpha=0.45, linewidth=2)
        style = LINES[k // 8 % len(LINES)]
        axes.plot(x, line[:, 1], color=scorer_colour(k), linestyle=style, marker="o", markersize=3.5, linewidth=1.5)
    axes.set_xlabel("optimiser steps")
    axes.set_ylabel("win rate, %")
    plain_axes(axes)


def trade_offs(results: Mapping[str, Any], arms: Sequence[str], name: str) -> list[Markup]:
    """Return, for each two trained rewards, the arms in the plane of their win rates."""
    rewards = [scorer["name"] for scorer in results["scorers"] if scorer["role"] == "trained"]
    found = []
    for k, (one, two) in enumerate(itertools.combinations(rewards[:3], 2)):
        rates = [(arm, rate_of(results["arms"][arm], one), rate_of(results["arms"][arm], two)) for arm in arms]
        known = {arm: (100 * a["value"], 100 * b["value"]) for arm, a, b in rates if a and b}
        if len(known) > 1:
            label = f"Arms by win rate under {one} and {two}; the table has the numbers"
            draw = _trade_off(known, one, two)
            found.append(inline_svg(f"{name}-{k}", label, (4.6, 3.9), draw))
    return found


def _trade_off(known: Mapping[str, tuple[float, float]], one: str, two: str) -> Any:
    frame = (4.0 * 72, 3.35 * 72)  # points that the axes take up of the figure, about

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        points = np.array([*known.values(), (50.0, 50.0)])
        low, high = points.min(axis=0), points.max(axis=0)
        low, high = low - 0.12 * (high - low) - 0.5, high + 0.12 * (high - low) + 0.5
        axes.set_xlim(low[0], high[0])
        axes.set_ylim(low[1], high[1])
        axes.plot(points[:-1, 0], points[:-1, 1], "o", color=TUNED, markersize=5)
        axes.plot(50, 50, "s", color=BASE, markersize=5)
        places = (points - low) / (high - low) * np.array(frame)
        names = [*(shortened(arm) for arm in known), "base"]
        labels = place_labels(names, [(float(x), float(y)) for x, y in places], frame)
        for label, point in zip(labels, points, strict=True):
            line = {"arrowstyle": "-", "color": "#aab3bc", "linewidth": 0.6, "shrinkA": 1, "shrinkB": 3}
            axes.annotate(
                label.text, (point[0], point[1]), (label.dx, label.dy), textcoords="offset points", fontsize=FONT,
                ha="center", va="center", arrowprops=line if label.is_far else None, annotation_clip=False,
            )  # fmt: skip
        axes.set_xlabel(f"{one}, win rate %")
        axes.set_ylabel(f"{two}, win rate %")
        plain_axes(axes)

    return draw


def shortened(name: str, letters: int = NAME) -> str:
    """Return a name with its middle left out if it is too long for a figure.

    >>> shortened("capo_with_a_very_long_name_indeed", 15)
    'capo_wi…_indeed'
    """
    half = (letters - 1) // 2
    return name if len(name) <= letters else f"{name[:half]}…{name[-half:]}"
