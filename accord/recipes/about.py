"""What a recipe's comment says, taken apart: the paper, what differs from it, and what to expect."""

from __future__ import annotations

from dataclasses import dataclass

from accord.errors import RegistryError

DIFFERS = "What differs from the paper, and why:"


@dataclass(frozen=True)
class About:
    """The comment above a recipe's `[method]`, each part on one line."""

    title: str  # method, authors, venue, number
    summary: str
    differences: tuple[str, ...]
    notes: tuple[str, ...]  # "Hardware: ...", "Expected: ..."


def read_about(text: str) -> About:
    """Return the parts of a recipe's comment: title and summary; `- ` for each difference; notes, each `Word: ...`.

    Lines that are indented further than the first of a part continue it. Raises RegistryError for a comment without
    these three paragraphs.
    """
    comment = [line.removeprefix("#").removeprefix(" ") for line in _comment_lines(text)]
    parts = [part.splitlines() for part in "\n".join(comment).split("\n\n")]
    if len(parts) != 3 or parts[1][0] != DIFFERS:
        raise RegistryError(f"the comment of a recipe needs three paragraphs, the second headed '{DIFFERS}'")
    (title, *summary), (_, *differences), notes = parts
    return About(
        title.rstrip("."),
        " ".join(summary),
        tuple(each.removeprefix("  - ") for each in _joined(differences, "    ")),
        tuple(_joined(notes, "  ")),
    )


def _comment_lines(text: str) -> list[str]:
    """Return the lines before the first that is no comment."""
    lines = text.splitlines()
    return lines[: next((n for n, line in enumerate(lines) if not line.startswith("#")), len(lines))]


def _joined(lines: list[str], indent: str) -> list[str]:
    """Return the lines, those that begin with the indent added to the one before."""
    found: list[str] = []
    for line in lines:
        if found and line.startswith(indent):
            found[-1] += " " + line.strip()
        else:
            found.append(line)
    return found
