"""Which layout rows have, by their columns."""

from __future__ import annotations

from collections.abc import Set

from accord import registry
from accord.errors import DataError
from accord.own.record import Layout

CAPTIONS = ("caption", "prompt", "text")


def choose_layout(columns: Set[str]) -> tuple[str, Layout]:
    """Return the name and the function of the first layout whose columns are all there.

    Raises DataError that says which columns each layout needs.
    """
    known = registry.names("layouts")
    for name in known:
        layout = registry.load("layouts", name)
        if any(needed <= columns for needed in layout.columns):
            _require_caption(columns)
            return name, layout
    told = "; ".join(f"{name}: {_words(registry.load('layouts', name))}" for name in known)
    raise DataError(
        f"found the columns {', '.join(sorted(columns)) or '(none)'}, which are of no known layout ({told}); "
        "name columns anew with --rename THEIRS=OURS"
    )


def _require_caption(columns: Set[str]) -> None:
    if not columns & set(CAPTIONS):
        raise DataError(
            f"needs a column with the prompts ({', '.join(CAPTIONS)}), found {', '.join(sorted(columns))}; "
            "name one anew with --rename THEIRS=caption"
        )


def _words(layout: Layout) -> str:
    return " or ".join(", ".join(sorted(needed)) for needed in layout.columns)  # type: ignore[attr-defined]
