"""Reading and writing run files: strict TOML.

An unknown key is an error that names the nearest valid one, and all mistakes are reported at once, each with its path.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError

from accord.config import Config
from accord.errors import ConfigError, did_you_mean

S = TypeVar("S", bound=BaseModel)


def load_config(path: Path, overrides: Sequence[str] = ()) -> Config:
    """Read a run file, apply `--set section.key=value` overrides, and check what can be checked without work.

    Raises ConfigError that lists every mistake, one a line, each with its path in the file.
    """
    if path.is_dir():
        raise ConfigError(f"{path} is a folder; give a run file, such as {path / 'run.toml'}")
    if not path.is_file():
        raise ConfigError(f"no run file {path}; `accord init world > {path}` writes one to start from")
    return parse_config(read_toml(path, overrides), str(path))


def read_toml(path: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Return the values of a TOML file with `section.key=value` overrides. Raises ConfigError if it cannot be read."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from error
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error
    for override in overrides:
        _apply(values, override)
    return values


def parse_config(values: dict[str, Any], origin: str = "run file") -> Config:
    """Return the checked config. Raises ConfigError listing every mistake."""
    return validated(Config, values, origin)


def validated(section: type[S], values: dict[str, Any], origin: str) -> S:
    """Return the values as this section. Raises ConfigError listing every mistake, one a line, with its path."""
    try:
        return section.model_validate(values)
    except ValidationError as error:
        raise ConfigError("\n".join(f"{origin}: {_describe(e, section)}" for e in error.errors())) from None


def dump_config(config: Config) -> str:
    """Return the config as TOML text that loads to the same config."""
    import tomli_w

    return tomli_w.dumps(config.model_dump(mode="json", exclude_none=True))


def _apply(values: dict[str, Any], override: str) -> None:
    """Set one `a.b=value`; the value is TOML, or plain text where it is not valid TOML."""
    path, equals, text = override.partition("=")
    keys = [key.strip() for key in path.split(".")]
    if not equals or not all(keys):
        raise ConfigError(f"--set needs section.key=value, not '{override}'")
    try:
        value = tomllib.loads(f"value = {text.strip()}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    for depth, key in enumerate(keys[:-1]):
        values = values.setdefault(key, {})
        if not isinstance(values, dict):
            raise ConfigError(f"--set {override}: {'.'.join(keys[: depth + 1])} is a value, not a section")
    values[keys[-1]] = value


def _describe(error: Any, section: type[BaseModel]) -> str:
    """Return one mistake as `section.key: what was needed, what was found`."""
    where = [str(part) for part in error["loc"]]
    path = ".".join(where) or "whole file"
    if error["type"] == "extra_forbidden":
        return f"{path}: no such key{did_you_mean(where[-1], _fields_at(where[:-1], section))}"
    message = error["msg"].removeprefix("Value error, ")
    found = "" if error["type"] == "value_error" else f" (found {error['input']!r})"
    return f"{path}: {message}{found}"


def _fields_at(where: Sequence[str], section: type[BaseModel]) -> list[str]:
    model: Any = section
    for part in where:
        if get_origin(model) is dict:  # sections by name, such as score.external.NAME
            model = get_args(model)[1]
        else:
            model = model.model_fields[part].annotation if part in getattr(model, "model_fields", {}) else None
    return list(getattr(model, "model_fields", {}))
