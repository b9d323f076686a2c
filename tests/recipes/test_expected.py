"""What a recipe says to expect is what docs/results.md says was measured."""

import re
from pathlib import Path

import pytest

from accord.recipes.initial import load_recipe, recipes

RESULTS = Path(__file__).parents[2] / "docs" / "results.md"
EXPECTED = re.compile(r"a mean win rate of ([\d.]+) % \(([\d.]+-[\d.]+)\).*That is arm (\w+) of docs/results\.md")


def rows_of(arm: str) -> list[list[str]]:
    """Return the cells of the tables' rows that are about the arm, without marks."""
    rows = [line.strip("|").split("|") for line in RESULTS.read_text().splitlines() if line.startswith("| ")]
    cells = [[cell.strip(" *≈") for cell in row] for row in rows]
    several = arm.split("_")  # the table of several rewards names method and rewards apart: capo | FRS
    return [row for row in cells if arm in row[:2] or row[:2] == [several[0], several[-1].upper()]]


@pytest.mark.parametrize("name", list(recipes()))
def test_the_expected_figure_is_in_the_results(name):
    [note] = [note for note in load_recipe(name).about.notes if note.startswith("Expected:")]
    found = EXPECTED.search(note)
    assert found, note
    value, interval, arm = found.groups()
    assert any(f"{value} ({interval})" in row for row in rows_of(arm)), (arm, value, interval)
