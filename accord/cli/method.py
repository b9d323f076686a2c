"""`accord show METHOD`: a recipe as its choices, its equation and its beta."""

from __future__ import annotations

import inspect
import re
from typing import Any

from rich.markup import escape
from rich.table import Table

from accord import registry
from accord.cli.terminal import console
from accord.config import METHOD_KINDS, Choice
from accord.recipes.choices import recipe_method
from accord.recipes.initial import load_recipe

#: Loss -> how its beta relates to that of other tools. Losses of the margin share the convention of `accord show beta`.
BETA = {
    "logistic": "thousands: beta * margin of order 1 at the end. Official Diffusion-DPO, InPO and SmPO code: the same "
    "number; diffusers' SD1.5 example has no factor one half: ours is twice theirs",
    "hinge": "as for the logistic loss; diffusers' example has no factor one half: ours is twice theirs",
    "squared": "tens to hundreds for small models, more for large ones: beta * margin must reach the target. Where a "
    "tool has the target 1/(2 beta) on a margin without our half (diffusers' IPO): ours is four times theirs",
    "kto": "the official code has no factor one half: ours is twice theirs, 2000 for their 1000",
    "mapo": "no margin: weighs the preference against fine-tuning; the same number as the official code, 0.1",
    "dspo": "inside the sigmoid alone; the official code uses one number, 0.001, for it and for `factor`",
}


def show_method(name: str) -> None:
    """Print what a recipe chooses, what it minimises, and how its beta reads elsewhere."""
    recipe = load_recipe(name)
    chosen = recipe_method(name, "world")
    console.print(f"[bold]{escape(recipe.title)}[/]\n")
    table = Table("choice", "what", "how", show_edge=False, pad_edge=False)
    for field in ("pairs", "target", "loss", "noise", "reference", "calibration", "weighting", "timesteps"):
        choice = Choice.model_validate(chosen[field])
        table.add_row(field, escape(_told(choice)), escape(_summary(METHOD_KINDS[field], choice.name)))
    table.add_row("error space", str(chosen["error_space"]), "of the embedded world; families differ, see below")
    console.print(table)
    loss = Choice.model_validate(chosen["loss"]).name
    console.print(f"\n[bold]minimised[/]  {escape(equation(loss))}", soft_wrap=True)
    console.print(
        "           margin = reward(chosen) - reward(rejected), reward = 1/2 w_t (error of reference - of policy)"
    )
    betas = ", ".join(f"{family} {beta:g}" for family, beta in recipe.values["beta"].items())
    console.print(f"\n[bold]beta[/]       {escape(betas)}")
    console.print(f"           {escape(BETA.get(loss, 'see accord show beta'))}\n")
    console.print(recipe.text[: recipe.text.index("[method]")].rstrip(), markup=False)
    console.print(f"\nThe run file: accord init FAMILY --recipe {name}", markup=False)


def equation(loss: str) -> str:
    """Return the equation in the documentation of a loss: its `loss = ...` line, or what stands in backticks."""
    about = inspect.getdoc(inspect.getmodule(registry.load("losses", loss))) or ""
    line = re.search(r"^\s*loss = (.+)$", about, re.MULTILINE)
    quoted = re.search(r"`([^`]+)`", about)
    return line[1].strip() if line else quoted[1] if quoted else about.splitlines()[0]


def _told(choice: Choice) -> str:
    options = ", ".join(f"{key} {value}" for key, value in choice.options.items())
    return f"{choice.name} ({options})" if options else choice.name


def _summary(kind: str, name: str) -> str:
    plugin: Any = registry.load(kind, name)
    several_in_a_file = ("weightings", "timestep_samplings", "references")
    about = inspect.getdoc(inspect.getmodule(plugin)) if kind not in several_in_a_file else None
    return (about or inspect.getdoc(plugin) or "").split("\n\n")[0].replace("\n", " ")
