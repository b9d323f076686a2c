"""What the docs repeat from the code is what the code says."""

import ast
import importlib.util
import inspect
import re
import typing
from pathlib import Path

import pytest

from accord.config import Choice, Config, Section
from accord.registry import TABLES

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "guide"


def script():
    spec = importlib.util.spec_from_file_location("generate_reference", ROOT / "docs" / "generate_reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", list(script().PAGES))
def test_reference_pages_are_what_the_script_writes(name):
    written = (ROOT / "docs" / "reference" / name).read_text(encoding="utf-8")
    assert written == script().PAGES[name](), "run `make docs` to write the reference pages again"


def described(section):
    """Every field of a section and of the sections below it, with its description; sections tell by their docstring."""
    for name, field in section.model_fields.items():
        inner = [field.annotation, *typing.get_args(field.annotation)]
        sections = [each for each in inner if inspect.isclass(each) and issubclass(each, Section)]
        is_table = field.annotation in sections and field.annotation is not Choice
        yield f"{section.__name__}.{name}", section.__doc__ if is_table else field.description
        for each in sections:
            yield from described(each)


def test_every_field_of_a_run_file_says_what_it_is():
    found = dict(described(Config))
    assert {"Config.seed", "TrainConfig.beta", "ExternalConfig.command", "Choice.name"} <= found.keys()
    assert [name for name, text in found.items() if not (text or "").strip(" .")] == []


def test_the_beta_page_holds_what_show_beta_prints():
    printed = (ROOT / "accord" / "recipes" / "beta.txt").read_text(encoding="utf-8")
    assert printed in (GUIDE / "beta.md").read_text(encoding="utf-8")


def test_the_method_table_names_every_built_in_choice():
    text = (GUIDE / "methods.md").read_text(encoding="utf-8")
    for kind in ("selectors", "targets", "losses", "noises", "references"):
        for name in TABLES[kind]:
            assert f"`{name}`" in text, f"{name} is not among the {kind} of methods.md"


def test_the_run_file_page_speaks_of_every_section():
    text = (GUIDE / "run-file.md").read_text(encoding="utf-8")
    sections = [name for name in Config.model_fields if name not in ("folder", "seed")]
    assert [name for name in sections if f"**[{name}]**" not in text] == []


def test_figures_of_the_base_models_are_their_cards():
    weights = ROOT / "accord" / "world" / "weights"
    card = "".join((weights / base / "README.md").read_text(encoding="utf-8") for base in ("flow", "epsilon"))
    quoted = re.findall(r"\b0\.\d{3}\b", (GUIDE / "embedded-world.md").read_text(encoding="utf-8"))
    assert quoted
    assert [figure for figure in quoted if figure not in card] == []


def test_the_file_tree_of_the_readme_is_the_tree():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    tree = re.search(r"```text\n(accord/\n.*?)```", text, re.S)[1]
    shown = {line.split()[0].rstrip("/") for line in re.findall(r"^  (\S.*)$", tree.split("docs/\n")[0], re.M)}
    package = ROOT / "accord"
    modules = {path.name for path in package.glob("*.py")} - {"__init__.py", "__main__.py"}
    folders = {path.parent.name for path in package.glob("*/__init__.py")} | {"recipes"}
    assert shown == modules | folders


def test_layers_of_the_decision_are_those_of_the_test():
    from tests.test_layers import LAYERS

    text = (ROOT / "docs" / "decisions" / "0005-layers-and-plug-ins.md").read_text(encoding="utf-8")
    for number, areas in enumerate(LAYERS):
        row = re.search(rf"^\| {number} \| (.*?) \|", text, re.M)[1]
        assert set(re.findall(r"`(\w+)`", row)) == areas - {"__main__"}


def test_messages_of_the_troubleshooting_page_are_messages_of_the_code():
    """Of every message in the first column, each piece between `...` stands in the code."""
    text = (GUIDE / "troubleshooting.md").read_text(encoding="utf-8")
    constants = {
        node.value
        for path in (ROOT / "accord").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    messages = re.findall(r"^\| `(.+?)` \|", text, re.M)
    assert messages
    for message in messages:
        for piece in filter(None, (each.strip(" '()") for each in message.split("..."))):
            assert any(piece in constant for constant in constants), f"no message says '{piece}' ({message})"
