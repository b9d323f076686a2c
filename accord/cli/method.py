"""`accord show METHOD`: a recipe as its equation, its choices, its beta, and what differs from its paper."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from typing import Any

from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from accord import registry
from accord.card.papers import SHARED_FILES
from accord.cli.terminal import console
from accord.config import METHOD_KINDS, Choice
from accord.recipes.about import DIFFERS
from accord.recipes.choices import recipe_method
from accord.recipes.elsewhere import BETAS
from accord.recipes.initial import Recipe, load_recipe

FAMILY = "world"  # whose choices are told; what other families need is in the table of betas
FIELDS = ("pairs", "target", "loss", "noise", "reference", "calibration", "weighting", "timesteps")
SYMBOLS = {
    "margin": "r(chosen) - r(rejected)",
    "r": "1/2 w_t (err of the reference - err of the policy), the implicit reward of an image",
    "err": "mean over channels, height and width of the squared error of the prediction",
}


def show_method(name: str) -> None:
    """Print what a recipe minimises and chooses, its beta here and elsewhere, and what differs from its paper.

    Raises RegistryError with the nearest name.
    """
    recipe = load_recipe(name)
    method = recipe_method(name, FAMILY)
    chosen = {field: Choice.model_validate(method[field]) for field in FIELDS}
    console.print(f"[bold]{escape(recipe.about.title)}[/]\n{escape(recipe.about.summary)}")
    _head("Minimised")
    _grid(_equations(chosen["loss"].name, chosen["target"].name))
    _head("Choices, as for the embedded world")
    rows = [(field, _told(choice), summary_of(METHOD_KINDS[field], choice.name)) for field, choice in chosen.items()]
    _table(("", "choice", "what it is"), [*rows, ("error space", str(method["error_space"]), _space(method))])
    _beta(recipe, chosen["loss"].name)
    _head(DIFFERS.rstrip(":"))
    _grid(("-", each) for each in recipe.about.differences)
    console.print()
    _grid((f"{word}:", rest.strip()) for word, _, rest in (note.partition(":") for note in recipe.about.notes))
    console.print(f"\nThe run file: accord init FAMILY --recipe {name}", markup=False)


def equation(kind: str, name: str) -> str:
    """Return the equation in the documentation of a loss or target: its `loss = ...` line, or what is in backticks."""
    about = inspect.getdoc(inspect.getmodule(registry.load(kind, name))) or ""
    line = re.search(rf"^\s*{registry.singular(kind)} = (.+)$", about, re.MULTILINE)
    quoted = re.search(r"`([^`]+)`", about)
    return line[1].strip() if line else quoted[1] if quoted else about.splitlines()[0]


def _equations(loss: str, target: str) -> list[tuple[str, str]]:
    """Return symbol and meaning of what is minimised, and of what that needs."""
    told = {"loss": equation("losses", loss), "target": equation("targets", target)}
    if re.search(r"\bmargin\b", told["loss"]):
        told["margin"] = SYMBOLS["margin"]
    if "margin" in told or re.search(r"\br\b", told["loss"]):
        told["r"] = SYMBOLS["r"]
    told["err"] = SYMBOLS["err"]
    return [(symbol, re.sub(r",? {3,}", "\n", meaning)) for symbol, meaning in told.items()]


def _beta(recipe: Recipe, loss: str) -> None:
    """Print the recipe's beta for each family with what else differs there, and how betas of this loss convert."""
    _head("Beta to start from")
    keys = [key for key in recipe.values if key != "beta"]
    rows = []
    for family, beta in recipe.values["beta"].items():
        method = recipe_method(recipe.name, family)
        rows.append((family, f"{beta:g}", *(_told(Choice.model_validate(method[key])) for key in keys)))
    _table(("family", "beta", *(key.replace("_", " ") for key in keys)), rows)
    if loss in BETAS:
        console.print(f"\n  {escape(BETAS[loss].meaning)}")
        _table(("a beta of", "is here"), BETAS[loss].conversions)


def _told(choice: Choice) -> str:
    options = ", ".join(f"{key} {value}" for key, value in choice.options.items())
    return f"{choice.name} ({options})" if options else choice.name


def _space(method: dict[str, Any]) -> str:
    return {
        "epsilon": "Errors of the predicted noise; those of velocities are converted",
        "native": "Errors of what the model predicts, as they are",
    }[method["error_space"]]


def summary_of(kind: str, name: str) -> str:
    """Return the first sentence of a plug-in's documentation, without shapes and sources."""
    plugin: Any = registry.load(kind, name)
    about = inspect.getdoc(inspect.getmodule(plugin)) if kind not in SHARED_FILES else None
    first = (about or inspect.getdoc(plugin) or "").split("\n\n")[0].replace("\n", " ")
    first = re.split(r"\. (?=[A-Z]|\w+:)", first)[0]
    first = re.sub(r",? \(B,\)( float64)?( in [\[(][^\])]*[\])])?| \([^()]*(arXiv[^()]*\)|\)$)", "", first)
    first = first.removeprefix("Return ").rstrip(".")
    return first[:1].upper() + first[1:]


def _head(text: str) -> None:
    console.print(f"\n[bold]{escape(text)}[/]")


def _grid(rows: Iterable[tuple[str, str]]) -> None:
    """Print two columns without lines, the second wrapped under itself."""
    grid = Table.grid(padding=(0, 2))
    for first, second in rows:
        grid.add_row(escape(first), escape(second))
    console.print(Padding(grid, (0, 0, 0, 2)))


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    table = Table(*head, box=None, show_edge=False, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for row in rows:
        table.add_row(*map(escape, row))
    console.print(Padding(table, (0, 0, 0, 2)))
