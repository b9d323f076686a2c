"""Settings for all tests: one thread, no network; and the folders of tiny pipelines, saved once."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: 20 times slower otherwise on a busy machine
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--with-weights`: tests that need official checkpoints, and the pictures that their authors score."""
    parser.addoption("--with-weights", action="store_true", help="also run tests that need official checkpoints")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what needs official checkpoints, unless they are said to be there."""
    if not config.getoption("--with-weights"):
        for item in items:
            if "weights" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="needs official checkpoints: --with-weights"))


@pytest.fixture(scope="session")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return the folder of a family's tiny pipeline, made at its first use; tests must leave it as it is."""
    made: dict[str, Path] = {}

    def folder(family: str) -> Path:
        import torch

        from accord.testing.pipelines import save_tiny_pipeline

        torch.set_num_threads(1)  # sums of one order, so that bits can be compared
        if family not in made:
            made[family] = save_tiny_pipeline(family, tmp_path_factory.mktemp("tiny") / family)
        return made[family]

    return folder
