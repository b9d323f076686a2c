"""One run folder for all tests of the report; tests that change it take a copy."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from example_run import write_example_run

from accord.report.page import write_report


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of 24 prompts; read only."""
    run = tmp_path_factory.mktemp("finished") / "run"
    write_example_run(run)
    return run


@pytest.fixture
def copied_run(finished_run: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, to be changed."""
    return Path(shutil.copytree(finished_run, tmp_path / "run"))


@pytest.fixture(scope="session")
def write_page() -> Callable[..., str]:
    """Write the page of a run and return it."""

    def write(run: Path, title: str = "A title", num_prompts_shown: int = 6, num_groups_drawn: int = 2) -> str:
        output = run.parent / f"{run.name}-page" / "index.html"
        write_report(run, output, title, num_prompts_shown, num_groups_drawn)
        return output.read_text(encoding="utf-8")

    return write


@pytest.fixture(scope="session")
def finished_page(finished_run: Path, write_page: Callable[..., str]) -> str:
    """The page of the finished run."""
    return write_page(finished_run)
