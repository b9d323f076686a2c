"""Repositories of a model hub: how their ids are written, and the command that fetches one."""

from __future__ import annotations

import re
from collections.abc import Iterable


def is_hub_id(path: str) -> bool:
    """Return whether this is written like a hub id `owner/name`.

    >>> is_hub_id("openai/clip-vit-large-patch14"), is_hub_id("./weights/clip"), is_hub_id("weights")
    (True, False, False)
    """
    return re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", path) is not None


def download_command(hub_id: str, files: Iterable[str] = (), revision: str | None = None) -> str:
    """Return the command that fetches a repository, or these files of it, into the local cache.

    >>> download_command("owner/name", ["config.json"], "main")
    'hf download owner/name config.json'
    """
    revised = () if revision in (None, "main") else ("--revision", str(revision))
    return " ".join(["hf", "download", hub_id, *files, *revised])
