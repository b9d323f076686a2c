"""Settings for all tests: one thread, no network, and a small run of the embedded world."""

import os

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
