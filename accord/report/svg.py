"""Matplotlib figures as SVG inside the page: same bytes for same data, text as text, nothing fetched.

Matplotlib lays text out in its own font; the browser then sets it in the page's, which is narrower.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any

import matplotlib
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from accord.report.words import compact

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.image_inline": True,
    "text.parse_math": False,  # names are names, also those with a dollar
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#9aa3ad",
    "axes.labelcolor": "#3c4650",
    "xtick.color": "#5b6570",
    "ytick.color": "#5b6570",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e9ec",
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "path.simplify": True,
}
METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}


def inline_svg(name: str, label: str, size: tuple[float, float], draw: Callable[[Figure], None]) -> Markup:
    """Return the figure that `draw` draws, safe to put into the page.

    name: unique on the page; ids inside the figure start with it. label: what the figure shows, for those who
    cannot see it. size: width and height in inches.
    """
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # a user's matplotlibrc has no say
        matplotlib.rcParams.update({**STYLE, "svg.hashsalt": name})
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata=METADATA, transparent=True)
    return Markup(_embedded(buffer.getvalue(), name, label))  # noqa: S704 - matplotlib has escaped its texts


def _embedded(text: str, name: str, label: str) -> str:
    """Return the svg element alone, without metadata, namespaces, page-wide styles, fixed size or common ids."""
    view = re.search(r'viewBox="[^"]*"', text)
    assert view is not None, "matplotlib writes a viewBox"
    body = text[text.index(">", text.index("<svg")) + 1 :]
    body = re.sub(r"<metadata>.*?</metadata>|<style type=\"text/css\">.*?</style>", "", body, flags=re.DOTALL)
    body = re.sub(r'(\bid="|url\(#|xlink:href="#)', lambda m: f"{m[1].removeprefix('xlink:')}{name}-", body)
    body = body.replace("'DejaVu Sans'", "system-ui, sans-serif").replace("xlink:href", "href")
    head = f'<svg class="figure" role="img" aria-label="{escape(label)}" {view[0]}>'
    return head + re.sub(r"\n\s*", "\n", body).strip()


def plain_axes(axes: Axes, num_x: int = 5, num_y: int = 5) -> None:
    """Give the axes few ticks, written in three digits."""
    for axis, num in ((axes.xaxis, num_x), (axes.yaxis, num_y)):
        axis.set_major_locator(MaxNLocator(num))
        axis.set_major_formatter(FuncFormatter(lambda value, _: compact(value)))
    axes.tick_params(length=0)
