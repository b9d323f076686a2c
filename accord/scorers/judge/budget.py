"""What a judge may spend in a run, counted in a file that all worker processes and later runs share."""

from __future__ import annotations

import json
from pathlib import Path

from filelock import FileLock

from accord.errors import ScorerStopped
from accord.files import write_json


class Budget:
    """Requests and tokens spent so far. Every request is counted before it is sent, so the limit is never passed."""

    def __init__(self, name: str, path: Path, max_requests: int | None, max_tokens: int | None) -> None:
        """path: the file of the count. A limit that is None is none; it is counted all the same."""
        self.name, self.path = name, path
        self.max_requests, self.max_tokens = max_requests, max_tokens
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(path.with_suffix(".lock"))  # between the threads of a process and between processes

    def take_request(self) -> None:
        """Count one request. Raises ScorerStopped if the budget has no more."""
        with self._lock:
            spent = self.spent()
            self._require("requests", spent["requests"], self.max_requests)
            self._require("tokens", spent["tokens"], self.max_tokens)
            write_json(self.path, {**spent, "requests": spent["requests"] + 1})

    def add_tokens(self, tokens: int | None) -> None:
        """Count tokens that the endpoint reported. Raises ScorerStopped if it reports none but has a limit of them."""
        if tokens is None:
            if self.max_tokens is not None:
                raise ScorerStopped(
                    f"judge '{self.name}' has max_tokens, but its endpoint reports no usage; use max_requests instead"
                )
            return
        with self._lock:
            spent = self.spent()
            write_json(self.path, {**spent, "tokens": spent["tokens"] + tokens})

    def spent(self) -> dict[str, int]:
        """Return the requests and tokens so far."""
        try:
            return {"requests": 0, "tokens": 0, **json.loads(self.path.read_text(encoding="utf-8"))}
        except FileNotFoundError:
            return {"requests": 0, "tokens": 0}

    def _require(self, what: str, spent: int, limit: int | None) -> None:
        if limit is not None and spent >= limit:
            raise ScorerStopped(
                f"judge '{self.name}' has spent its budget of {limit} {what} (counted in {self.path}); what it scored "
                f"is kept: raise max_{what} and run the same command to go on"
            )
