"""`accord external`: ready scripts for scorers in an environment of their own."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from accord.cli.terminal import console


def external(
    name: Annotated[str, typer.Argument(help="template, vila_r, q_align or deqa")],
    folder: Annotated[Path, typer.Argument(help="Where the script, its requirements and accord_serve.py go.")],
) -> None:
    """Copy a ready script for a scorer that needs an environment of its own, and print what to do next."""
    from accord.scorers.external.library import copy_script

    script, requirements, _ = copy_script(name, folder)
    environment = folder / "venv"
    console.print(
        f"python3 -m venv {quote(str(environment))}\n"
        f"{quote(str(environment / 'bin' / 'pip'))} install -r {quote(str(requirements))}\n\n"
        "and in the run file:\n\n"
        f"[score.external.{name}]\n"
        f'command = ["{environment}/bin/python", "{script}"]',
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
