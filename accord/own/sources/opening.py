"""From what a user names to its rows: by what is there, a file's suffix, or the form `owner/name`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from accord.errors import DataError, did_you_mean
from accord.manifest import FILE
from accord.own.folders import POOL
from accord.own.record import Row, Source
from accord.own.sources.folder import folder_source, is_folder_of_pairs
from accord.own.sources.hub import hub_source
from accord.own.sources.json_files import json_source
from accord.own.sources.parquet import parquet_source

SUFFIXES = (".parquet", ".json", ".jsonl")
SHARD = re.compile(r"(.+?)-\d{5}-of-\d{5}")  # train-00003-of-00645, as the `datasets` library names files
REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class SourceOptions:
    """How to read what was named. `rename`: column as it is called there -> as a layout calls it."""

    images: str = ""  # the folder that relative paths of images are in; empty: where the JSON file is
    split: str = "train"  # of a dataset repository
    subset: str | None = None
    revision: str | None = None
    rename: Mapping[str, str] = field(default_factory=dict)
    allow_damage: bool = False  # go on without files that cannot be opened, and name them


def open_source(names: Sequence[str], options: SourceOptions) -> Source:
    """Return the rows of these files, of one folder, or of one dataset repository.

    Raises DataError if there is nothing there, or nothing that can be read.
    """
    paths = [Path(name).expanduser() for name in names]
    if len(names) == 1 and not paths[0].exists():
        if not REPOSITORY.fullmatch(names[0]) or paths[0].suffix in SUFFIXES:
            raise DataError(f"there is no file or folder '{names[0]}'")
        return _renamed(hub_source(names[0], options.split, options.subset, options.revision), options.rename)
    missing = next((path for path in paths if not path.exists()), None)
    if missing is not None:
        raise DataError(f"there is no file or folder '{missing}'")
    if len(paths) == 1 and paths[0].is_dir() and is_folder_of_pairs(paths[0]):
        return _renamed(folder_source(paths[0]), options.rename)
    return _renamed(_of_files(_files(paths), options), options.rename)


def _files(paths: Sequence[Path]) -> list[Path]:
    """Return the data files among and below these paths, folders in the order of names."""
    found: list[Path] = []
    for path in paths:
        if (path / POOL / FILE).is_file():
            raise DataError(
                f"{path} was filled by `accord import`, which checked it; give the data it was imported from"
            )
        if path.is_dir():
            below = [file for file in sorted(path.rglob("*.parquet")) if not file.name.startswith(".")]
            if not below:
                raise DataError(
                    f"{path} holds neither Parquet files nor the folders chosen/ and rejected/; give the files to read"
                )
            found += _one_split(path, below)
        else:
            found.append(path)
    name, times = Counter(path.name for path in found).most_common(1)[0]
    if times > 1:
        raise DataError(f"{times} files are called {name}; give files of different names")
    return found


def _one_split(folder: Path, files: list[Path]) -> list[Path]:
    """Return the files, unless their names tell that they are several splits of a dataset."""
    splits = sorted({found[1] for found in (SHARD.match(file.name) for file in files) if found})
    if len(splits) > 1:
        raise DataError(f"{folder} holds the splits {', '.join(splits)}; give the files of one, such as {splits[0]}-*")
    return files


def _of_files(files: Sequence[Path], options: SourceOptions) -> Source:
    suffixes = {file.suffix for file in files}
    if len(suffixes) > 1 or not suffixes <= set(SUFFIXES):
        raise DataError(f"needs files of one kind ({', '.join(SUFFIXES)}), found {', '.join(sorted(suffixes))}")
    if suffixes == {".parquet"}:
        found = parquet_source(files, options.allow_damage)
        return replace(found, roots=(options.images or str(files[0].parent),))
    return json_source(files, options.images)


def _renamed(source: Source, names: Mapping[str, str]) -> Source:
    """Return the source with its columns called as `names` says. Raises DataError for a column that is not there."""
    for old in names:
        if old not in source.columns:
            raise DataError(f"--rename {old}={names[old]}: no column '{old}'{did_you_mean(old, source.columns)}")
    if not names:
        return source

    def rows(start: int) -> Iterator[Row]:
        for row in source.rows(start):
            values = None if row.values is None else {names.get(key, key): value for key, value in row.values.items()}
            yield Row(row.where, values, row.problem)

    columns = frozenset(names.get(column, column) for column in source.columns)
    return replace(source, columns=columns, identity={**source.identity, "rename": dict(names)}, rows=rows)
