"""What the terminal shows: messages, and a progress bar per stage with the time left."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from accord.types import Progress as Report

console = Console(highlight=False)
errors = Console(stderr=True, highlight=False, soft_wrap=True)


def fail(message: str, status: int = 1) -> NoReturn:
    """Print one error and end."""
    errors.print(f"[bold red]error:[/] {message}")
    sys.exit(status)


@contextmanager
def progress_bars() -> Iterator[Callable[[str], Report]]:
    """Give `bar_of(stage)`, which returns that stage's `progress(done, total, what)`."""
    columns = (
        TextColumn("{task.description:<32}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bars:
        tasks: dict[str, int] = {}

        def bar_of(stage: str) -> Report:
            def report(done: int, total: int, what: str) -> None:
                label = f"{stage}: {what}"
                if label not in tasks:
                    tasks[label] = bars.add_task(label, total=total or None)
                bars.update(tasks[label], completed=done, total=total or None)  # type: ignore[arg-type]

            return report

        yield bar_of
