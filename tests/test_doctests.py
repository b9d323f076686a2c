"""The worked examples in docstrings are true."""

import doctest
import importlib
import pkgutil

import pytest

PACKAGES = ["calibrate", "diffusion", "losses", "noise", "report", "select", "stats", "targets"]


def modules() -> list[str]:
    found = []
    for package in PACKAGES:
        folder = importlib.import_module(f"accord.{package}").__path__
        found += [f"accord.{package}.{module.name}" for module in pkgutil.iter_modules(folder)]
    return found


@pytest.mark.parametrize("name", modules())
def test_examples(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_every_package_has_examples():
    finder = doctest.DocTestFinder(exclude_empty=True)
    for package in set(PACKAGES) - {"noise"}:  # its functions return nothing that can be shown
        names = [name for name in modules() if name.startswith(f"accord.{package}.")]
        examples = [test.examples for name in names for test in finder.find(importlib.import_module(name))]
        assert any(examples), f"accord.{package} has no worked example"
