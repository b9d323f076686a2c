"""Tiny pipelines saved once, and opened once where no test changes them."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tiny_models import FAMILIES

from accord.models import ModelSettings, open_model
from accord.testing.pipelines import FAMILY_OF, save_tiny_pipeline


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def folder_of(tmp_path_factory) -> Callable[[str], Path]:
    """Return the folder of a family's tiny pipeline, made at its first use."""
    made: dict[str, Path] = {}

    def folder(family: str) -> Path:
        if family not in made:
            made[family] = save_tiny_pipeline(family, tmp_path_factory.mktemp("tiny") / family)
        return made[family]

    return folder


@pytest.fixture(scope="session")
def shared(folder_of):
    """Return the family's opened model; tests must leave it as it is."""
    opened: dict[str, object] = {}

    def model(family: str):
        if family not in opened:
            opened[family] = open_model(ModelSettings(FAMILY_OF[family], str(folder_of(family))))
        return opened[family]

    return model


@pytest.fixture(params=FAMILIES)
def family(request) -> str:
    return request.param
