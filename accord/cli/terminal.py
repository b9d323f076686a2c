"""What the terminal shows: messages, and a progress bar per stage with the time left.

In a log there are no bars, but now and then a line.
"""

from __future__ import annotations

import sys
import time
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


EVERY = 60.0
"""Seconds from one line of progress to the next where the output is no terminal."""


@contextmanager
def progress_bars() -> Iterator[Callable[[str], Report]]:
    """Give `bar_of(stage)`, which returns that stage's `progress(done, total, what)`."""
    if not console.is_terminal:
        yield progress_lines
        return
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


def progress_lines(stage: str) -> Report:
    """Return the stage's `progress(done, total, what)` that prints a line a minute, for logs and pipes."""
    begun: dict[str, tuple[float, int]] = {}  # what -> when it was first told of, and how much was done then
    told = time.monotonic()

    def report(done: int, total: int, what: str) -> None:
        nonlocal told
        now = time.monotonic()
        since, before = begun.setdefault(what, (now, done))
        if now - told < EVERY:
            return
        told = now
        left = f", {_clock((now - since) * (total - done) / (done - before))} left" if total and done > before else ""
        of = f" of {total}" if total else ""
        console.print(f"{stage}: {what} {done}{of} after {_clock(now - since)}{left}", soft_wrap=True, markup=False)

    return report


def _clock(seconds: float) -> str:
    """Return seconds as h:mm:ss."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
