"""`accord soup`: the average of what several runs trained."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from accord.cli.terminal import console
from accord.errors import ConfigError


def soup(
    out: Annotated[Path, typer.Argument(help="A new folder for the result.")],
    runs: Annotated[list[Path], typer.Argument(help="Run folders, or folders that hold an adapter.")],
    weights: Annotated[str, typer.Option(help="One per run, summing to 1: 0.5,0.5. Default: all equal.")] = "",
) -> None:
    """Average what several runs of one base model trained, exactly."""
    told = _numbers(weights) if weights else None
    from accord.models.soup import soup as average  # torch and diffusers take seconds to import

    record = average(runs, out, told)
    size = f"rank {record['rank']}" if record["kind"] == "lora" else f"{record['tensors']} tensors"
    console.print(f"[green]✓[/] soup of {len(runs)} run(s), {size}: {escape(str(out))}", soft_wrap=True)


def _numbers(text: str) -> list[float]:
    try:
        return [float(number) for number in text.split(",")]
    except ValueError as error:
        raise ConfigError(f"--weights needs numbers with commas between, such as 0.5,0.5, not '{text}'") from error
