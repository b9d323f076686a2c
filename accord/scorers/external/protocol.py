"""The protocol of external scorers: what goes through the two pipes.

We write requests to the child's standard input, each one line of JSON:

    {"type": "hello", "protocol": 1, "device": "cpu"}
    {"type": "load"}
    {"type": "score", "id": 7, "rows": [{"prompt": "a cat", "bytes": 512}, ...]}   then the PNG files, back to back

It writes replies to its standard output, each one line of JSON after the ASCII character RS (RFC 7464, JSON text
sequences). Whatever else comes out of a library on standard output is no reply, and goes to the log:

    RS {"type": "hello", "protocol": 1, "card": {...}}
    RS {"type": "ready"}
    RS {"type": "score", "id": 7, "row": 0, "score": 0.25}        one line per row, in any order, as soon as it is known
    RS {"type": "score", "id": 7, "row": 1, "error": "no face"}   a row that cannot be scored
    RS {"type": "failed", "error": "no weights"}                  the scorer as a whole cannot go on

There is no pickle: both sides only ever read JSON and PNG.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image

VERSION = 1
RECORD = b"\x1e"  # begins every reply
MAX_REPLY = 1 << 20  # bytes; a reply is a number and a few words

Message = dict[str, Any]


def hello_request(device: str) -> bytes:
    """Return the request for the card. device: where the model should run, "cpu" or "cuda:0"."""
    return _line({"type": "hello", "protocol": VERSION, "device": device})


def load_request() -> bytes:
    """Return the request to load the model."""
    return _line({"type": "load"})


def score_request(number: int, pngs: Sequence[bytes], prompts: Sequence[str]) -> bytes:
    """Return the request to score these images, each a PNG with its prompt. number: comes back with each row."""
    rows = [{"prompt": prompt, "bytes": len(png)} for png, prompt in zip(pngs, prompts, strict=True)]
    return _line({"type": "score", "id": number, "rows": rows}) + b"".join(pngs)


def encode_png(pixels: np.ndarray) -> bytes:
    """Return the PNG of a uint8 RGB array (H, W, 3), packed lightly: it only goes through a pipe."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()


class ReplyReader:
    """Cuts the child's output into replies, wherever the pipe happens to cut it; `log` is given everything else."""

    def __init__(self, log: Callable[[bytes], object]) -> None:
        self.log = log
        self.pending = b""

    def feed(self, data: bytes) -> list[Message]:
        """Return the replies that these bytes complete, in their order. Raises ValueError for one without an end."""
        *lines, self.pending = (self.pending + data).split(b"\n")
        found = [reply for line in lines for reply in self._replies(line + b"\n")]
        start = self.pending.rfind(RECORD)
        if start < 0:  # no reply begins here, so nothing of this need be kept
            self.log(self.pending)
            self.pending = b""
        elif len(self.pending) - start > MAX_REPLY:
            raise ValueError(f"a reply is longer than {MAX_REPLY} bytes")
        return found

    def _replies(self, line: bytes) -> list[Message]:
        noise, record, text = line.rpartition(RECORD)
        try:
            reply = json.loads(text) if record else None
        except ValueError:  # also text that is not UTF-8
            reply = None
        if not isinstance(reply, dict):
            self.log(line)
            return []
        self.log(noise)
        return [reply]


def _line(value: Message) -> bytes:
    return json.dumps(value, ensure_ascii=True, allow_nan=False).encode("ascii") + b"\n"
