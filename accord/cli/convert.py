"""`accord convert`: official weights that come as a pickle, once turned into safetensors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from accord.cli.terminal import console


def convert(
    files: Annotated[list[Path], typer.Argument(help="The official PyTorch files: .pt, .pth, .bin.")],
    output: Annotated[
        Path | None, typer.Option(help="The new file, for one file; beside the old one if absent.")
    ] = None,
) -> None:
    """Turn the weights of a reward model into safetensors, once. Reads tensors only and runs no code of the file."""
    from accord.errors import ScoringError
    from accord.files import sha256
    from accord.scorers.convert import convert

    if output is not None and len(files) > 1:
        raise ScoringError(f"--output names one file, but {len(files)} are to be converted; leave it out")
    for file in files:
        written = convert(file, output)
        console.print(f"[green]✓[/] {escape(str(written))}, SHA-256 {sha256(written)}", soft_wrap=True)
