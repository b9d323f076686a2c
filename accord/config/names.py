"""Whether the names in a run file are names of something."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from accord import registry
from accord.errors import RegistryError, did_you_mean
from accord.outside import Definition


def registered(kind: str, name: str) -> str:
    """Return the name of a plug-in of this kind. Raises ValueError for any other."""
    try:
        registry.check(kind, name)
    except RegistryError as error:
        raise ValueError(str(error)) from None
    return name


def distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names. Raises ValueError if one is there twice."""
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"'{name}' is named twice")
    return names


def known_scorers(names: Iterable[str], defined: Mapping[str, Definition]) -> None:
    """Raise ValueError unless each name is registered, or defined by the run file itself."""
    known = [*registry.names("scorers"), *defined]
    for name in names:
        if name not in known:
            raise ValueError(f"no scorer is called '{name}'{did_you_mean(name, known)}")
