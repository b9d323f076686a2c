"""A real HTTP server on this machine that answers as a served vision-language model would, or misbehaves on request.

with serving(lambda question: completion("Final Score: 4")) as server:
    JudgeConfig(url=server.url, model="any", rubric="unified_reward")
"""

from __future__ import annotations

import base64
import io
import json
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from PIL import Image

MAX_QUESTIONS = 500  # a test that asks more often has lost its way


@dataclass(frozen=True)
class Question:
    """One request as it arrived."""

    body: dict[str, Any]
    headers: Mapping[str, str]
    path: str
    number: int  # 0 for the first that came

    @property
    def text(self) -> str:
        """What is asked."""
        return str(self.body["messages"][0]["content"][-1]["text"])

    @property
    def images(self) -> list[np.ndarray]:
        """The images it is asked about, uint8 (H, W, 3)."""
        parts = self.body["messages"][0]["content"][:-1]
        pngs = [base64.b64decode(part["image_url"]["url"].removeprefix("data:image/png;base64,")) for part in parts]
        return [np.asarray(Image.open(io.BytesIO(png)).convert("RGB")) for png in pngs]


@dataclass(frozen=True)
class Response:
    """What is sent back. The last four are what a good server does not do."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_seconds: float = 0.0
    cut_to: int | None = None  # bytes of the body that are sent; the length that was announced stays
    drip_seconds: float = 0.0  # between one byte and the next
    drops: bool = False  # closes the connection without a word


def completion(text: str = "", first: Mapping[str, float] | None = None, tokens: int | None = 10) -> Response:
    """Return a chat completion. first: likeliest first tokens -> probability. tokens: its usage, None for nothing."""
    choice: dict[str, Any] = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    if first is not None:
        listed = [{"token": token, "logprob": math.log(p), "bytes": None} for token, p in first.items()]
        choice["logprobs"] = {"content": [{**listed[0], "top_logprobs": listed}]}
    usage = {} if tokens is None else {"usage": {"total_tokens": tokens}}
    return Response(json.dumps({"object": "chat.completion", "choices": [choice], **usage}).encode())


class Server:
    """Answers at `url`, on this machine only. `questions` has all that were asked, in the order of their arrival."""

    def __init__(self, answer: Callable[[Question], Response]) -> None:
        self.answer = answer
        self.questions: list[Question] = []
        self.most_at_a_time = 0
        self.port = 0  # any that is free, and the same after a restart
        self._at_a_time = 0
        self._lock = threading.Lock()
        self._http: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        """The endpoint, as a run file names it."""
        return f"http://127.0.0.1:{self.port}/v1"

    def start(self) -> None:
        """Listen, unless it does already."""
        if self._http is not None:
            return
        self._http = ThreadingHTTPServer(("127.0.0.1", self.port), _handler_of(self))
        self._http.daemon_threads = True
        self.port = self._http.server_port
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def stop(self) -> None:
        """Listen no more: connections are refused."""
        if self._http is not None:
            self._http.shutdown()
            self._http.server_close()
            self._http = None

    def take(self, body: dict[str, Any], headers: Mapping[str, str], path: str) -> Response:
        """Return the answer to one request, and count it."""
        with self._lock:
            question = Question(body, headers, path, len(self.questions))
            if question.number >= MAX_QUESTIONS:
                return Response(b"too many questions", status=403)
            self.questions.append(question)
            self._at_a_time += 1
            self.most_at_a_time = max(self.most_at_a_time, self._at_a_time)
        try:
            return self.answer(question)
        finally:
            with self._lock:
                self._at_a_time -= 1


@contextmanager
def serving(answer: Callable[[Question], Response]) -> Iterator[Server]:
    """Give a server for the length of a block."""
    server = Server(answer)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def _handler_of(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            response = server.take(body, dict(self.headers), self.path)
            with suppress(ConnectionError):  # whoever asked may have gone
                _send(self, response)

    return Handler


def _send(handler: BaseHTTPRequestHandler, response: Response) -> None:
    time.sleep(response.delay_seconds)
    handler.close_connection = True
    if response.drops:
        return
    handler.send_response(response.status)
    for name, value in {"Content-Length": str(len(response.body)), **response.headers}.items():
        handler.send_header(name, value)
    handler.end_headers()
    body = response.body[: response.cut_to]
    if not response.drip_seconds:
        handler.wfile.write(body)
        return
    for start in range(len(body)):
        handler.wfile.write(body[start : start + 1])
        time.sleep(response.drip_seconds)
