"""`accord list` and `accord show`: what can be named in a run file, and what each name means."""

from __future__ import annotations

import inspect
from dataclasses import asdict
from importlib.resources import files

from rich.markup import escape
from rich.table import Column, Table

from accord import registry
from accord.cli.method import show_method, summary_of
from accord.cli.terminal import console
from accord.engine.scorers import scorer_card
from accord.errors import RegistryError, did_you_mean

RECIPES = "recipes"


def show_list(kind: str) -> None:
    """Print the names of one kind with a line on each; without a kind, the kinds."""
    kinds = [*registry.TABLES, RECIPES]
    if not kind:
        table = Table("kind", "names")
        for each in kinds:
            table.add_row(each, ", ".join(_names(each)))
        console.print(table)
        return
    if kind not in kinds:
        raise RegistryError(f"no kind of plug-in is called '{kind}'{did_you_mean(kind, kinds)}")
    if kind == "scorers":
        _list_scorers()
        return
    table = Table(kind, "what it is")
    for name in _names(kind):
        table.add_row(name, escape(_summary(kind, name)))
    console.print(table)


def show_plugin(kind: str, name: str) -> None:
    """Print one plug-in: a method, a scorer's card, or the documentation and options of a function."""
    if kind == "beta":
        console.print(files("accord.recipes").joinpath("beta.txt").read_text(encoding="utf-8"), markup=False)
        return
    if not name and kind in _names(RECIPES):
        show_method(kind)
        return
    many = {registry.singular(each): each for each in registry.TABLES} | {"recipe": RECIPES}
    many |= {plural: plural for plural in [*registry.TABLES, RECIPES]}
    if kind not in many:
        raise RegistryError(f"cannot show a '{kind}'{did_you_mean(kind, [*many, 'beta', *_names(RECIPES)])}")
    if many[kind] == RECIPES:
        show_method(name)
    elif many[kind] == "scorers":
        _show_scorer(name)
    else:
        _show_function(many[kind], name)


def _names(kind: str) -> list[str]:
    from accord.recipes.initial import recipes

    return list(recipes()) if kind == RECIPES else list(registry.names(kind))


def _summary(kind: str, name: str) -> str:
    from accord.recipes.initial import load_recipe

    if kind == RECIPES:
        return load_recipe(name).title
    if kind == "scorers":
        return scorer_card(name).summary
    return summary_of(kind, name)


def _list_scorers() -> None:
    """Print what users choose by: what it scores, gigabytes of weights in 16 bits, and their terms."""
    table = Table(Column("scorer", no_wrap=True), "what it scores", "GB", "weights")
    for name in _names("scorers"):
        card = scorer_card(name)
        terms = card.licence_of_weights + ("" if card.is_commercial_use_allowed else "; not commercial")
        table.add_row(name, escape(card.summary), f"{card.memory_gb:g}" if card.memory_gb else "", escape(terms))
    console.print(table)


def _show_scorer(name: str) -> None:
    registry.check("scorers", name)
    scorer = registry.load("scorers", name)
    console.print(f"{inspect.getdoc(inspect.getmodule(scorer)) or ''}\n", markup=False)
    table = Table(show_header=False)
    for key, value in asdict(scorer_card(name)).items():
        if value not in ("", None):
            table.add_row(key.replace("_", " "), escape(str(value)))
    console.print(table)
    for option in registry.options_of(scorer).values():
        console.print(f"option {option}", markup=False)


def _show_function(kind: str, name: str) -> None:
    function = registry.load(kind, name)
    console.print(f"[bold]{name}[/] ({registry.singular(kind)})\n")
    module = inspect.getdoc(inspect.getmodule(function))
    console.print(f"{module or ''}\n\n{inspect.getdoc(function) or ''}", markup=False)
    for option in registry.options_of(function).values():
        console.print(f"\noption {option}", markup=False)
