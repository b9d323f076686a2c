"""`accord world`: the embedded world's own commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from accord.cli.terminal import console

world = typer.Typer(
    help="The embedded world: a small trained model that shows everything on a laptop.", no_args_is_help=True
)


@world.callback()
def _world() -> None:
    """The embedded world: a small trained model that shows everything on a laptop."""


@world.command()
def train(
    folder: Annotated[Path, typer.Argument(help="Where checkpoints, curves and the finished pipeline go.")],
    objective: Annotated[str, typer.Option(help="flow or epsilon")] = "flow",
    workers: Annotated[int, typer.Option(help="Processes of one thread each; 0: one per core, 4 at most.")] = 0,
    seed: Annotated[int, typer.Option(help="Seed of data, weights and noise.")] = 0,
) -> None:
    """Train the base model from nothing: autoencoder, denoiser, text encoder. About one core-hour; resumable."""
    from accord.engine.devices import MAX_CPU_WORKERS, num_cores
    from accord.world.train import train_world

    done = train_world(folder, workers=workers or min(num_cores(), MAX_CPU_WORKERS), seed=seed, objective=objective)
    console.print(f"[green]✓[/] pipeline in {done}: use it with --set model.path={done}", soft_wrap=True)
