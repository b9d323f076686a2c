"""Where a card meets the disk."""

from __future__ import annotations

from pathlib import Path

from accord.card.card import model_card
from accord.card.data import read_card
from accord.card.use import Use
from accord.files import write_bytes
from accord.manifest import Manifest

FILE = "README.md"


def write_card(run: Path, folder: Path, use: Use, trained: Manifest | None = None, recipe: str = "") -> None:
    """Write the card of what lies in `folder` and was trained by the run in `run`; equal runs give equal bytes.

    trained: what the manifest of training will say, while it is still being written.
    """
    write_bytes(folder / FILE, model_card(read_card(run, trained, recipe), use).encode())
