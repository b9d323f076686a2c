"""`accord export`: what other programs load."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.markup import escape

from accord.cli.terminal import console, progress_bars
from accord.wording import counted

export = typer.Typer(help="Write what other programs load.", no_args_is_help=True)

Run = Annotated[Path, typer.Argument(help="A run folder whose training has finished, or a soup.")]
Type = Annotated[Literal["float32", "bfloat16", "float16"], typer.Option(help="Type of the saved weights.")]
Out = Annotated[Path, typer.Argument(help="A new folder.")]


@export.callback()
def _export() -> None:
    """Write what other programs load."""


@export.command()
def adapter(
    run: Run,
    out: Out,
    layout: Annotated[
        Literal["diffusers", "comfyui"], typer.Option(help="comfyui is also what the web UIs load.")
    ] = "diffusers",
    dtype: Type = "float32",
) -> None:
    """The LoRA adapter as one file, in the layout of the program that is to load it."""
    from accord.export.adapter import export_adapter  # torch and diffusers take seconds to import

    path = export_adapter(run, out, layout, dtype)
    console.print(f"[green]✓[/] adapter for {layout} in {dtype}: {escape(str(path))}", soft_wrap=True)


@export.command()
def model(
    run: Run,
    out: Out,
    dtype: Type = "float32",
    base: Annotated[str, typer.Option(help="Where the base model is, if it was moved since training.")] = "",
) -> None:
    """A complete diffusers pipeline: the base model with what was trained merged into its weights."""
    from accord.export.model import export_model  # torch and diffusers take seconds to import

    export_model(run, out, dtype, base)
    console.print(f"[green]✓[/] pipeline in {dtype}: {escape(str(out))}", soft_wrap=True)


@export.command()
def pairs(
    run: Annotated[Path, typer.Argument(help="A run folder whose pairs are selected.")],
    out: Annotated[Path, typer.Argument(help="A folder; OUT/pairs is made.")],
    redo: Annotated[bool, typer.Option("--redo", help="Replace pairs that were exported from other tables.")] = False,
) -> None:
    """The run's pairs with their images as Parquet, in the layout of Pick-a-Pic."""
    from accord.own.export import export_pairs

    with progress_bars() as bar_of:
        outcome = export_pairs(run, out, redo, bar_of("export"))
    pairs = counted(outcome.manifest.counts["pairs"], "pairs")
    console.print(f"[green]✓[/] {pairs}: {escape(str(outcome.folder))}", soft_wrap=True)
