"""A group in reward space: which images are on the frontiers, and which pairs were formed of them."""

from __future__ import annotations

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from accord.report.colours import BASE, CHOSEN, REJECTED
from accord.report.records import Group
from accord.report.svg import inline_svg, plain_axes
from accord.report.words import plural

SIZE = (4.6, 4.0)
MARKERS = (  # of images on the upper frontier, the lower one, both or neither
    ("upper", "^", CHOSEN, "upper frontier"),
    ("lower", "v", REJECTED, "lower frontier"),
    ("both", "D", "#009e73", "both frontiers"),
    ("neither", "o", BASE, "neither"),
)


def scatter_figure(group: Group, name: str) -> Markup:
    """Return the group as a scatter plot: first reward across, second upwards, third as colour.

    With a single reward, images are ranked upwards. Images without a reward are not drawn.
    """
    rewards = np.array([image.rewards for image in group.images], dtype=np.float64)
    return inline_svg(name, _described(group), SIZE, lambda figure: _draw(figure, group, rewards))


def _draw(figure: Figure, group: Group, rewards: np.ndarray) -> None:
    axes = figure.subplots()
    num_images, num_scorers = rewards.shape
    x = rewards[:, 0]
    y = rewards[:, 1] if num_scorers > 1 else np.arange(num_images, 0, -1.0)
    for chosen, rejected, _ in group.pairs:
        style = {"arrowstyle": "-|>", "color": "#7a8590", "alpha": 0.55, "linewidth": 0.8, "shrinkA": 5, "shrinkB": 5}
        axes.annotate("", (x[chosen], y[chosen]), (x[rejected], y[rejected]), arrowprops=style, zorder=1)
    colours = rewards[:, 2] if num_scorers > 2 else None
    _points(figure, axes, group, (x, y, colours))
    for n in range(num_images):
        if np.isfinite(x[n]) and np.isfinite(y[n]):
            axes.annotate(str(n + 1), (x[n], y[n]), xytext=(5, 4), textcoords="offset points", fontsize=7.5, zorder=4)
    axes.set_xlabel(group.scorers[0])
    axes.set_ylabel(group.scorers[1] if num_scorers > 1 else "rank")
    plain_axes(axes)
    axes.margins(0.09)


def _points(figure: Figure, axes: Axes, group: Group, places: tuple[np.ndarray, np.ndarray, np.ndarray | None]) -> None:
    """Draw the images of each kind with a marker of their own; a third reward fills them."""
    x, y, third = places
    drawn = None
    for kind, marker, edge, label in MARKERS:
        n = [i for i, image in enumerate(group.images) if _kind(image.is_upper, image.is_lower) == kind]
        if not n:
            continue
        fill = {"color": edge} if third is None else {"c": third[n], "cmap": "cividis", "vmin": 0, "vmax": 1}
        drawn = axes.scatter(x[n], y[n], marker=marker, s=46, edgecolors=edge, linewidths=1.3, zorder=3, **fill)
        axes.scatter([], [], marker=marker, s=40, facecolors="none", edgecolors=edge, linewidths=1.3, label=label)
    if third is not None and drawn is not None:
        bar = figure.colorbar(drawn, ax=axes, fraction=0.04, pad=0.02)
        bar.set_label(group.scorers[2])
        bar.outline.set_visible(False)  # type: ignore[operator]
        bar.ax.tick_params(length=0)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4, handletextpad=0.1, columnspacing=1.0)


def _kind(is_upper: bool, is_lower: bool) -> str:
    return {(True, True): "both", (True, False): "upper", (False, True): "lower"}.get((is_upper, is_lower), "neither")


def _described(group: Group) -> str:
    upper = [str(n + 1) for n, image in enumerate(group.images) if image.is_upper]
    lower = [str(n + 1) for n, image in enumerate(group.images) if image.is_lower]
    axes = " against ".join(group.scorers[:2])
    return (
        f"Calibrated rewards of {plural(len(group.images), 'image')}, {axes}. "
        f"Upper frontier: {', '.join(upper) or 'none'}; lower frontier: {', '.join(lower) or 'none'}; "
        f"{plural(len(group.pairs), 'pair')}, an arrow from rejected to chosen each."
    )
