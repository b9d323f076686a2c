"""The files of a reward model: found in a local folder or in the hub's cache, and known by their hash.

Nothing here is downloaded unless the hub may be reached, nothing is unpickled, and no code comes with weights.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from shlex import quote

from accord.errors import ScoringError
from accord.files import sha256
from accord.hub import download_command, is_hub_id


def find_file(path: str, name: str, revision: str = "main", instead: str = "") -> Path:
    """Return the file `name` of a checkpoint: of the local folder `path`, or of the hub repository `path`.

    Raises ScoringError with the command that gets the file: `instead` if given, else a download from the hub.
    """
    from huggingface_hub import hf_hub_download

    folder = Path(path).expanduser()
    if folder.is_dir():
        if not (folder / name).is_file():
            raise ScoringError(f"{folder} has no {name}; {instead or 'put the file there, or give another folder'}")
        return folder / name
    if not is_hub_id(path):
        raise ScoringError(f"there is no folder {path}; {instead or 'give the folder that holds ' + name}")
    try:
        return Path(hf_hub_download(path, name, revision=revision))
    except Exception as error:  # offline, not found, gated, no network: a dozen classes, one remedy
        command = instead or f"get it with `{download_command(path, (name,), revision)}`, or give a local folder"
        raise ScoringError(
            f"{name} of '{path}' is not here and cannot be fetched ({type(error).__name__}); {command}"
        ) from error


def find_any(path: str, names: Sequence[str], revision: str = "main", instead: str = "") -> Path:
    """Return the first of several file names that the checkpoint has."""
    failure: ScoringError | None = None
    for name in names:
        try:
            return find_file(path, name, revision, instead)
        except ScoringError as error:
            failure = failure or error
    assert failure is not None, "at least one name is given"
    raise failure


def weight_files(path: str, revision: str = "main") -> list[Path]:
    """Return the safetensors files of a checkpoint that has been opened: of a local folder, or of the hub's cache."""
    from huggingface_hub import snapshot_download

    folder = Path(path).expanduser()
    if not folder.is_dir():
        folder = Path(snapshot_download(path, revision=revision, local_files_only=True))
    return sorted(folder.glob("*.safetensors"))


def get_and_convert(download: str, folder: str, file: str) -> str:
    """Return the advice for an official pickle: the command that brings `file` into `folder`, and its conversion."""
    return f"get it with `{download}` and `accord convert {quote(f'{folder}/{file}')}`"


def from_hub(repository: str, file: str, folder: str) -> str:
    """Return the command that downloads one file of a hub repository into a folder."""
    return f"hf download {repository} {quote(file)} --local-dir {quote(folder)}"


def from_address(address: str, folder: str) -> str:
    """Return the command that downloads the file at an address into a folder."""
    return f"curl -L --create-dirs -o {quote(f'{folder}/{PurePosixPath(address).name}')} {address}"


def hashes(files: Iterable[Path]) -> dict[str, str]:
    """Return name -> SHA-256 of each file, for the score table."""
    return {file.name: _known_hash(file) or sha256(file) for file in files}


def _known_hash(file: Path) -> str:
    """Return the hash that the hub's cache names a large file by, else ''."""
    blob = file.resolve()
    return blob.name if blob.parent.name == "blobs" and re.fullmatch(r"[0-9a-f]{64}", blob.name) else ""
