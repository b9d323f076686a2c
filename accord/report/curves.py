"""Training curves: each step faintly, a moving average on top."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from accord.report.colours import CHOSEN, LEVELS, REJECTED
from accord.report.noise_levels import CURVE, labels
from accord.report.records import Training
from accord.report.svg import inline_svg, plain_axes
from accord.report.words import plural

MAX_POINTS = 400
WINDOW_SHARE = 0.05  # of the run, averaged around each step
SPARSE = 0.5  # a curve with fewer of its steps than this was logged at intervals
SIZE = (4.3, 2.35)
LEGEND_COLUMNS = 3


@dataclass(frozen=True)
class Panel:
    """One figure: a title, what to see in it, and its curves as (name in the log, legend, colour)."""

    name: str
    title: str
    note: str
    curves: tuple[tuple[str, str, str], ...]
    line: float = float("nan")  # a level to compare with
    line_label: str = ""
    is_faint: bool = True  # show the log behind its moving average


def panels(training: Training, loss: str, mean_target: float) -> tuple[Panel, ...]:
    """Return the panels whose curves were logged. `loss`: its name; `mean_target`: over all visits, NaN: unknown."""
    pulled = loss.startswith("squared")  # only the squared loss has a value for the margin to reach
    margin: tuple[tuple[str, str, str], ...] = (("margin", "beta × margin", CHOSEN),)
    if pulled and "target" in training.curves:
        margin += (("target", "target of the pairs", REJECTED),)
        mean_target = float("nan")
    saturation = Panel(
        "saturation",
        "Saturation",
        "How much of a logistic loss's first push is gone: 1 where pairs are wholly satisfied.",
        (("saturation", "saturation", CHOSEN),),
        0.0,
    )
    found = (
        Panel("loss", "Loss", "What is minimised.", (("loss", "loss", CHOSEN),)),
        Panel(
            "margin",
            "Margin" + (" and its target" if pulled else ""),
            "Beta times the margin: by how much more the policy prefers the chosen image than the reference does."
            + (" The loss pulls it to its target." if pulled else ""),
            margin,
            *((mean_target, "mean target") if pulled else ()),
        ),
        Panel(
            "accuracy",
            "Accuracy",
            "Share of pairs in which the policy leans to the chosen image; one half is chance.",
            (("accuracy", "accuracy", CHOSEN),),
            0.5,
            "chance",
        ),
        _by_noise(training),
        Panel(
            "error",
            "Rise of the denoising error",
            "Policy minus reference. If both rise, the model pays for its margin; chosen should stay at or below 0.",
            (("error_chosen_rise", "chosen", CHOSEN), ("error_rejected_rise", "rejected", REJECTED)),
            0.0,
        ),
        Panel(
            "pull",
            "Pull of the loss",
            "How hard it pulls at the prediction of each image. Mostly rejected: it pushes away.",
            (("gradient_chosen", "chosen", CHOSEN), ("gradient_rejected", "rejected", REJECTED)),
        ),
        *(() if pulled else (saturation,)),
        Panel(
            "distance",
            "Distance from the initial model",
            "Relative change of the trained weights; with a reference that moves the margin does not show it.",
            (("distance", "distance", CHOSEN),),
        ),
        Panel("gradient", "Gradient norm", "Before clipping.", (("gradient_norm", "gradient norm", CHOSEN),)),
        Panel("rate", "Learning rate", "The schedule.", (("learning_rate", "learning rate", CHOSEN),)),
    )
    return tuple(panel for panel in found if any(_is_known(training, name) for name, _, _ in panel.curves))


def _by_noise(training: Training) -> Panel:
    curves = sorted(name for name in training.curves if name.startswith(CURVE))
    return Panel(
        "accuracy-by-noise",
        "Accuracy by noise level",
        "The same for each part of the schedule, from little noise (light) to much, over a fifth of the run.",
        tuple(zip(curves, labels(max(1, len(curves))), LEVELS, strict=False)),
        0.5,
        is_faint=False,
    )


def curve_figure(panel: Panel, training: Training) -> Markup:
    """Return the panel as a figure."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        if not math.isnan(panel.line):
            label = panel.line_label or None
            axes.axhline(panel.line, color="#3c4650", linewidth=1, linestyle=(0, (4, 3)), label=label)
        for name, label, colour in panel.curves:
            if _is_known(training, name):
                steps, values = thinned(training.steps, training.curves[name])
                if np.isfinite(values).mean() < SPARSE:  # logged now and then: points, nothing to average
                    known = np.isfinite(values)
                    axes.plot(steps[known], values[known], "o-", color=colour, markersize=3, linewidth=1.4, label=label)
                    continue
                if panel.is_faint:
                    axes.plot(steps, values, color=colour, alpha=0.25, linewidth=0.8)
                axes.plot(steps, smoothed(values), color=colour, linewidth=1.8, label=label)
        axes.set_xlabel("step")
        plain_axes(axes)
        axes.margins(x=0.01)
        if len(panel.curves) > 1 or panel.line_label:
            num_rows = math.ceil(len(axes.get_legend_handles_labels()[1]) / LEGEND_COLUMNS)
            top = 1.06 + 0.1 * num_rows
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, top), ncols=LEGEND_COLUMNS, borderaxespad=0)

    return inline_svg(f"curve-{panel.name}", _described(panel, training), SIZE, draw)


def thinned(steps: np.ndarray, values: np.ndarray, max_points: int = MAX_POINTS) -> tuple[np.ndarray, np.ndarray]:
    """Return at most `max_points` points: means over blocks of consecutive steps, what is not finite left out of them.

    >>> thinned(np.arange(4), np.array([1.0, 3.0, np.nan, 7.0]), max_points=2)
    (array([0.5, 2.5]), array([2., 7.]))
    """
    block = math.ceil(len(steps) / max_points)
    if block <= 1:
        return steps, values
    starts = np.arange(0, len(steps), block)
    is_known = np.isfinite(values)
    sums = np.add.reduceat(np.where(is_known, values, 0.0), starts)
    counts = np.add.reduceat(is_known.astype(np.int64), starts)
    means = np.divide(sums, counts, out=np.full(len(starts), np.nan), where=counts > 0)
    return np.add.reduceat(steps, starts) / np.diff(np.append(starts, len(steps))), means


def smoothed(values: np.ndarray) -> np.ndarray:
    """Return the centred moving average over a twentieth of the run, without what is not finite."""
    half = int(len(values) * WINDOW_SHARE / 2)
    is_known = np.isfinite(values)
    sums = np.concatenate([[0.0], np.cumsum(np.where(is_known, values, 0.0))])
    counts = np.concatenate([[0], np.cumsum(is_known)])
    low = np.maximum(np.arange(len(values)) - half, 0)
    high = np.minimum(np.arange(len(values)) + half + 1, len(values))
    num = counts[high] - counts[low]
    return np.divide(sums[high] - sums[low], num, out=np.full(len(values), np.nan), where=num > 0)


def _is_known(training: Training, name: str) -> bool:
    return name in training.curves and bool(np.isfinite(training.curves[name]).any())


def _described(panel: Panel, training: Training) -> str:
    """Return the figure in words: where each curve starts and ends."""
    parts = []
    for name, label, _ in panel.curves:
        if _is_known(training, name):
            values = smoothed(training.curves[name])
            known = values[~np.isnan(values)]
            parts.append(f"{label} from {known[0]:.3g} to {known[-1]:.3g}")
    return f"{panel.title} over {plural(len(training.steps), 'step')}: {', '.join(parts)}"
