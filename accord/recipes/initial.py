"""`accord init`: a complete, commented run file from a family's sizes and a recipe's five choices."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from accord.errors import ConfigError, RegistryError, did_you_mean
from accord.recipes.about import About, read_about

FOLDER = files("accord.recipes")
UNLESS_SAID: dict[str, Any] = {"num_train": None, "targets": ()}  # of a family's sizes
_VALUE = r'(?:"[^"]*"|\{[^}]*\})'  # of a choice: a name, or a table on one line


@dataclass(frozen=True)
class Recipe:
    """A paper's five choices: the text of its `[method]` section, and the values that go with each family."""

    name: str
    text: str  # comments and [method] section
    values: dict[str, Any]

    @property
    def title(self) -> str:
        """The first line of its comment: method, authors, venue."""
        return self.about.title

    @property
    def about(self) -> About:
        """Its comment, taken apart."""
        return read_about(self.text)


def recipes() -> tuple[str, ...]:
    """Return the names of all recipes."""
    return tuple(sorted(f.name.removesuffix(".toml") for f in FOLDER.iterdir() if f.name.endswith(".toml")))


def families() -> tuple[str, ...]:
    """Return the families that a run file can be written for."""
    names = (f.name for f in (FOLDER / "families").iterdir())
    return tuple(sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml")))


def load_recipe(name: str) -> Recipe:
    """Return the recipe of this name. Raises RegistryError with the nearest name."""
    if name not in recipes():
        raise RegistryError(f"no recipe is called '{name}'{did_you_mean(name, recipes())}")
    text = (FOLDER / f"{name}.toml").read_text(encoding="utf-8")
    return Recipe(name, text[: text.index("[values]")].rstrip(), tomllib.loads(text)["values"])


def initial_run_file(family: str, recipe: str) -> str:
    """Return the text of a run file for this family and recipe. Raises RegistryError for unknown names."""
    import jinja2

    if family not in families():
        raise RegistryError(f"no run file can be written for '{family}'{did_you_mean(family, families())}")
    chosen = load_recipe(recipe)
    sizes = tomllib.loads((FOLDER / "families" / f"{family}.toml").read_text(encoding="utf-8"))
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True, autoescape=False)  # noqa: S701 - TOML from our own files, no page
    template = environment.from_string((FOLDER / "families" / "_run.toml.j2").read_text(encoding="utf-8"))
    text = template.render(
        family={
            **UNLESS_SAID,
            "model_family": family,
            **sizes,
            "name": family,
            "folder": f"runs/{family}",
        },
        recipe_name=recipe,
        recipe_title=chosen.title,
        method=with_values(chosen, family),
        beta=chosen.values["beta"][family],
    )
    return "".join(_aligned(line) + "\n" for line in text.splitlines())


def with_values(recipe: Recipe, family: str) -> str:
    """Return the recipe's text with the choices that another family needs.

    `[values]` may name any key of `[method]`, for some families or all: a name, or a table with options as text.
    Raises ConfigError for a key that `[method]` does not set on one line of its own.
    """
    text = recipe.text
    for key, by_family in recipe.values.items():
        if key == "beta" or family not in by_family:
            continue
        value = by_family[family] if by_family[family].startswith("{") else f'"{by_family[family]}"'
        text, found = _replaced(text, key, value)
        if found != 1:
            raise ConfigError(f"recipe '{recipe.name}' has [values] of '{key}', but sets it {found} times in [method]")
    return text


def _replaced(text: str, key: str, value: str) -> tuple[str, int]:
    """Return the text with another value of this key, and how often the key was set."""
    return re.subn(rf"^{key} = {_VALUE}", lambda _: f"{key} = {value}", text, flags=re.MULTILINE)


def _aligned(line: str) -> str:
    """Return the line with its trailing comment, if it has one, in the column of the others."""
    found = re.match(r"^([^#\s][^#]*?)\s+(# .*)$", line)
    return f"{found[1]:<36} {found[2]}" if found else line
