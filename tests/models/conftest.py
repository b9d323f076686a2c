"""Tiny pipelines saved once, and opened once where no test changes them."""

import pytest
from tiny_models import FAMILIES

from accord.models import ModelSettings, open_model
from accord.testing.pipelines import FAMILY_OF


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
