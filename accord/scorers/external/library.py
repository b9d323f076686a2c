"""The ready scripts for scorers in an environment of their own, and a template: copied to where the user runs them."""

from __future__ import annotations

import shutil
from pathlib import Path

from accord.errors import ScoringError, did_you_mean

FOLDER = Path(__file__).parent / "scripts"
SERVE = "accord_serve.py"  # the child's half of the protocol, which every script needs beside it


def scripts() -> list[str]:
    """Return the names of the ready scripts, the template among them."""
    return sorted(path.stem for path in FOLDER.glob("*.py") if path.name != SERVE)


def copy_script(name: str, folder: Path) -> list[Path]:
    """Copy a script, what it needs beside it and its requirements into a folder; return the files, the script first.

    Raises ScoringError for an unknown name, or where another file is in the way.
    """
    if name not in scripts():
        raise ScoringError(f"no ready script is called '{name}'{did_you_mean(name, scripts())}")
    copied = []
    for file in (f"{name}.py", f"{name}.requirements.txt", SERVE):
        target = folder / file
        if target.exists() and target.read_bytes() != (FOLDER / file).read_bytes():
            raise ScoringError(f"{target} is there already and differs; choose another folder, or move it away")
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(FOLDER / file, target)
        copied.append(target)
    return copied
