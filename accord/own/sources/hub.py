"""Rows of a dataset repository, streamed through the `datasets` library, so that nothing has to fit on the disk."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from accord.errors import DataError, MissingDependency
from accord.own.record import Row, Source


def hub_source(name: str, split: str = "train", subset: str | None = None, revision: str | None = None) -> Source:
    """Return the rows of a repository `owner/name`, or of a local folder that `datasets` can load.

    Raises MissingDependency if the library is not installed, and DataError if the dataset cannot be had.
    """
    try:
        import datasets
    except ModuleNotFoundError as error:
        raise MissingDependency(
            f"reading the dataset '{name}' needs the package 'datasets': pip install datasets"
        ) from error
    try:
        found = datasets.load_dataset(name, subset, split=split, revision=revision, streaming=True).decode(False)
        columns = frozenset(found.column_names or next(iter(found)))
    except Exception as error:  # of the library, of the hub's client or of the network below it
        raise DataError(_unreachable(name, error)) from error
    splits = found.info.splits or {}
    total = splits[split].num_examples if split in splits else None
    identity = {"dataset": name, "split": split, "subset": subset, "revision": revision}
    return Source(columns, total or None, identity, partial(_rows, found, name))


def _rows(found: Any, name: str, start: int) -> Iterator[Row]:
    try:
        for number, values in enumerate(found.skip(start) if start else found, start):
            yield Row(f"{name} row {number}", values)
    except Exception as error:  # as above, in the middle
        raise DataError(
            f"dataset '{name}' stopped after some rows ({_first_line(error)}); what was imported is kept: run the same "
            "command again"
        ) from error


def _unreachable(name: str, error: Exception) -> str:
    return (
        f"'{name}' is no file or folder here, and no dataset of this name could be had ({_first_line(error)}). "
        f"Without a network: `hf download --repo-type dataset {name} --local-dir DIR` elsewhere, then give DIR"
    )


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:200]
