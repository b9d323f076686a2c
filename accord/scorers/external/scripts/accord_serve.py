"""The child's half of Accord's protocol for external scorers: everything but the model.

Copy this file beside your script. It needs Python 3.8 and its standard library, and knows nothing of Accord:

    from accord_serve import serve

    def load(device):
        model = ...                       # once, and as slowly as it must be
        def score(pngs, prompts):         # PNG files as bytes, one prompt each
            return [...]                  # one number per image; None where there is none
        return score

    serve({"name": ..., "version": ..., ...}, load)

What libraries print goes to standard error; the replies have the pipe for themselves.
"""

from __future__ import annotations

import json
import math
import os
import sys
from typing import Any, Callable, Iterator, List, Optional  # noqa: UP035 - for Python 3.8

PROTOCOL = 1
Score = Callable[[List[bytes], List[str]], List[Optional[float]]]  # noqa: UP006, UP045


def serve(card: dict[str, Any], load: Callable[[str], Score]) -> None:
    """Answer requests until standard input closes. card: a dict; load(device) returns score(pngs, prompts)."""
    requests = os.fdopen(os.dup(0), "rb")
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # from here on, print() and everything that C libraries print go to standard error
    device = "cpu"
    score: Any = None

    def reply(**values: object) -> None:
        replies.write(b"\x1e" + json.dumps(values).encode("ascii") + b"\n")
        replies.flush()

    for line in requests:
        request = json.loads(line.decode("utf-8"))
        if request["type"] == "hello":
            device = request["device"]
            reply(type="hello", protocol=PROTOCOL, card=card)
        elif request["type"] == "load":
            try:
                score = load(device)
            except Exception as error:
                reply(type="failed", error=_words(error))
                raise
            reply(type="ready")
        elif request["type"] == "score":
            pngs = [requests.read(row["bytes"]) for row in request["rows"]]
            prompts = [row["prompt"] for row in request["rows"]]
            for row, answer in _answers(score, pngs, prompts):
                reply(type="score", id=request["id"], row=row, **answer)
        else:
            reply(type="failed", error=f"unknown request {request['type']!r}")
            sys.exit(1)


def use_only(device: str) -> None:
    """Hide all GPUs but this one ("cuda:1") from this process, or all ("cpu"); before TensorFlow or JAX is imported."""
    visible = [gpu for gpu in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if gpu]
    number = int(device.partition(":")[2] or 0)
    if device.startswith("cuda"):
        os.environ["CUDA_VISIBLE_DEVICES"] = visible[number] if visible else str(number)
    else:
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")  # or TensorFlow takes all of the GPU's memory


def _answers(score: Score, pngs: list[bytes], prompts: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (row, score or error) of every row; where the batch fails as a whole, each row is tried alone."""
    try:
        scores = list(score(pngs, prompts))
        if len(scores) != len(pngs):
            raise ValueError(f"score() returned {len(scores)} numbers for {len(pngs)} images")
    except Exception as error:
        if len(pngs) == 1:
            print(_words(error), file=sys.stderr, flush=True)
            yield 0, {"error": _words(error)}
            return
        for row in range(len(pngs)):
            for _, answer in _answers(score, pngs[row : row + 1], prompts[row : row + 1]):
                yield row, answer
        return
    for row, value in enumerate(scores):
        if value is not None and math.isfinite(value):
            yield row, {"score": float(value)}
        else:
            yield row, {"error": f"the scorer returned {value}"}


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
