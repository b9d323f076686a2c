"""Figures: the same bytes for the same data, safe to put beside each other in one page, and right in their numbers."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure

from accord.report.axis import share_axis, win_rate_axis
from accord.report.colours import diverging
from accord.report.curves import curve_figure, panels, smoothed, thinned
from accord.report.pictures import picture
from accord.report.read_images import evenly_spaced
from accord.report.records import Estimate, Group, GroupImage, Training
from accord.report.scatter import scatter_figure
from accord.report.svg import inline_svg

NAN = float("nan")


def training(num_steps: int = 60, **curves: np.ndarray) -> Training:
    steps = np.arange(1, num_steps + 1)
    own = {"loss": 1.0 / steps, "margin": steps / 100.0, "learning_rate": np.full(num_steps, 1e-4)}
    return Training(steps, {**own, **curves}, 1, 1, 1)


def group(rewards: np.ndarray, names: tuple[str, ...]) -> Group:
    shown = picture(b"", 64)
    images = [GroupImage(shown, tuple(row), n == 0, n == len(rewards) - 1) for n, row in enumerate(rewards.tolist())]
    return Group("a prompt", names, tuple(images), ((0, len(rewards) - 1, 0.5),))


def test_figures_do_not_depend_on_the_users_settings() -> None:
    panel = panels(training(), "squared", 0.3)[0]
    first = curve_figure(panel, training())
    with matplotlib.rc_context({"font.size": 20, "axes.grid": False, "svg.fonttype": "path", "axes.linewidth": 9}):
        assert curve_figure(panel, training()) == first
        assert matplotlib.rcParams["font.size"] == 20


def test_figures_are_single_elements_that_name_nothing_outside() -> None:
    svg = str(inline_svg("one", 'a "label" <b>', (2, 2), lambda figure: figure.subplots().plot([0, 1])))
    root = ElementTree.fromstring(svg)
    assert root.tag == "svg"
    assert root.attrib["aria-label"] == 'a "label" <b>'
    assert "http" not in svg
    assert "<style" not in svg
    assert "metadata" not in svg
    ids = re.findall(r'\bid="([^"]*)"', svg)
    assert ids
    assert all(found.startswith("one-") for found in ids)
    assert set(re.findall(r'(?:url\(|href=")#([^)"]*)', svg)) <= set(ids)


def test_names_in_figures_are_text_and_not_markup() -> None:
    name = '<script>alert(1)</script> $x^2$ & "quoted"'

    def draw(figure: Figure) -> None:
        figure.subplots().set_xlabel(name)

    root = ElementTree.fromstring(str(inline_svg("one", "", (3, 2), draw)))
    assert name in {element.text for element in root.iter("text")}
    assert not list(root.iter("script"))


@pytest.mark.parametrize("num_scorers", [1, 2, 3, 5])
def test_groups_of_any_number_of_rewards_are_drawn(num_scorers: int) -> None:
    rewards = np.random.default_rng(0).random((6, num_scorers))
    names = tuple(f"scorer_{k}" for k in range(num_scorers))
    root = ElementTree.fromstring(str(scatter_figure(group(rewards, names), "g")))
    shown = {element.text for element in root.iter("text")}
    assert {"1", "2", "3", "4", "5", "6", "upper frontier", "lower frontier", "neither"} <= shown
    assert set(names[:3]) <= shown


def test_images_without_a_reward_are_not_drawn() -> None:
    rewards = np.array([[0.9, 0.8, 0.7], [0.5, NAN, 0.5], [NAN, NAN, NAN], [0.1, 0.2, 0.3]])
    root = ElementTree.fromstring(str(scatter_figure(group(rewards, ("a", "b", "c")), "g")))
    shown = {element.text for element in root.iter("text")}
    assert {"1", "4"} <= shown
    assert not {"2", "3"} & shown
    assert "nan" not in str(scatter_figure(group(rewards, ("a", "b", "c")), "g")).lower()


def test_panels_show_what_was_logged_and_the_target_of_the_squared_loss_only() -> None:
    names = [panel.name for panel in panels(training(), "squared", 0.3)]
    assert names == ["loss", "margin", "rate"]
    margin = panels(training(), "squared", 0.3)[1]
    assert (margin.line, margin.line_label) == (0.3, "mean target")
    logged = panels(training(target=np.full(60, 0.4)), "squared", 0.3)[1]
    assert np.isnan(logged.line)
    assert "target" in [name for name, _, _ in logged.curves]
    assert np.isnan(panels(training(), "logistic", 1.0)[1].line)


def test_curves_with_gaps_are_drawn_and_empty_ones_left_out() -> None:
    gaps = np.where(np.arange(60) % 7 == 0, NAN, 1.0)
    log = training(accuracy=gaps, gradient_norm=np.full(60, NAN), error_chosen_rise=np.full(60, np.inf))
    found = panels(log, "squared", NAN)
    assert [panel.name for panel in found] == ["loss", "margin", "accuracy", "rate"]
    for panel in found:
        assert "nan" not in str(curve_figure(panel, log)).lower()


def test_a_long_log_stays_small() -> None:
    noise = np.random.default_rng(0).normal(size=50_000)
    log = training(50_000, loss=noise)
    assert len(curve_figure(panels(log, "squared", NAN)[0], log)) < 60_000
    steps, values = thinned(log.steps, noise)
    assert len(steps) == len(values) == 400
    assert values.mean() == pytest.approx(noise.mean())
    assert steps.mean() == pytest.approx(log.steps.mean())


def test_the_moving_average_keeps_levels_and_skips_gaps() -> None:
    assert smoothed(np.full(100, 3.0)) == pytest.approx(np.full(100, 3.0))
    values = np.zeros(100)
    values[50] = 5.0  # the window is 5 steps wide
    assert smoothed(values)[47:54].tolist() == pytest.approx([0, 1, 1, 1, 1, 1, 0])
    values[50] = NAN
    assert smoothed(values)[50] == 0
    assert len(smoothed(np.array([]))) == 0


def test_the_axis_of_win_rates_is_centred_and_holds_every_interval() -> None:
    axis = win_rate_axis([Estimate(0.6, 0.55, 0.72), Estimate(0.5, NAN, NAN)])
    assert (axis.low, axis.high) == pytest.approx((0.2, 0.8))
    assert axis.at(0.5) == "50.00%"
    assert axis.ticks == pytest.approx((0.2, 0.35, 0.5, 0.65, 0.8))
    assert (win_rate_axis([]).low, win_rate_axis([]).high) == (0.4, 0.6)
    assert win_rate_axis([Estimate(1.0, 1.0, 1.0)]).high == 1.0


@pytest.mark.parametrize(("low", "high"), [(0.31, 0.42), (0.0, 1.0), (0.5, 0.5), (1.0, 1.0), (0.0, 0.0)])
def test_the_axis_of_shares_holds_every_interval(low: float, high: float) -> None:
    axis = share_axis([Estimate((low + high) / 2, low, high)])
    assert 0 <= axis.low <= low <= high <= axis.high <= 1
    assert axis.low < axis.high
    assert 2 <= len(axis.ticks) <= 6
    assert all(axis.low - 1e-9 <= tick <= axis.high + 1e-9 for tick in axis.ticks)


def test_colours_of_correlations() -> None:
    assert diverging(0.0) == diverging(NAN) == "#ffffff"
    assert diverging(1.0) == "#56b4e9"
    assert diverging(-1.0) == diverging(-3.0) == "#e69f00"


@pytest.mark.parametrize(("num_available", "num_wanted"), [(10, 3), (3, 10), (0, 5), (100, 12), (7, 7)])
def test_spread_positions_are_distinct_and_symmetric(num_available: int, num_wanted: int) -> None:
    found = evenly_spaced(num_available, num_wanted)
    assert len(found) == len(set(found)) == min(num_available, num_wanted)
    assert all(0 <= position < num_available for position in found)
    if found:
        assert abs(found[0] - (num_available - 1 - found[-1])) <= 1
