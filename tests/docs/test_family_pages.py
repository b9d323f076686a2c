"""The pages of the families are what the script writes, and `accord init` promises no less memory than they count."""

import importlib.util
import re
import tomllib
from pathlib import Path

import pytest

from accord.registry import TABLES

ROOT = Path(__file__).parents[2]
INIT = ROOT / "accord" / "recipes" / "families"


def script():
    spec = importlib.util.spec_from_file_location("generate_families", ROOT / "docs" / "generate_families.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def made():
    return script()


def test_every_family_but_the_world_has_a_page(made):
    assert set(made.FAMILIES) == set(TABLES["families"]) - {"world"}
    assert {path.stem for path in made.FOLDER.glob("*.md")} == set(made.FAMILIES)


@pytest.mark.parametrize("name", script().FAMILIES)
def test_a_page_is_what_the_script_writes(name, made):
    written = (made.FOLDER / f"{name}.md").read_text(encoding="utf-8")
    assert written == made.page(name), "run `make docs` to write the pages of the families again"


@pytest.mark.parametrize(
    ("name", "published"),
    [("sd15", 860e6), ("sd21", 866e6), ("sdxl", 2.57e9), ("sd3", 2.03e9), ("flux", 11.9e9), ("sana", 1.6e9)],
)
def test_the_counts_are_the_published_ones(name, published, made):
    assert made.count(made.TOLD[name]["variants"][0]) == pytest.approx(published, rel=0.005)


@pytest.mark.parametrize("name", script().FAMILIES)
def test_the_hardware_that_init_names_holds_the_weights(name, made):
    """Half of it is left for activations; a GB of a graphics card is at least 10^9 bytes."""
    notes = " ".join(tomllib.loads((INIT / f"{name}.toml").read_text())["notes"])
    told = int(re.search(r"one GPU with (\d+) GB", notes)[1])
    assert made.weights_gib(name) * 2**30 < 0.5 * told * 1e9
