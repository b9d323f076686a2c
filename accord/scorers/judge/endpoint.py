"""Questions to an OpenAI-compatible endpoint: one request at a time, tried again where that can help."""

from __future__ import annotations

import base64
import json
import math
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2

from accord.errors import ScorerStopped, ScoringError
from accord.outside import JudgeConfig
from accord.scorers.judge.answer import Answer, read_answer
from accord.scorers.judge.budget import Budget

RETRIED = {408, 425, 429, 500, 502, 503, 504, 529}
HOPELESS = {401, 402, 403, 404, 405}  # the same for every image: wrong key, no credit, no such model
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 60.0
LONGEST_WAIT_SECONDS = 600.0  # that an endpoint may ask for
MAX_BODY = 1 << 22  # bytes
QUOTED = 300  # characters of a body in a message
TOP_LOGPROBS = 20  # the most that the protocol allows
LIMIT, NEWER_LIMIT = "max_tokens", "max_completion_tokens"  # what the length of an answer is called; some know one only


class NoAnswer(Exception):
    """This question got no answer. `reply` is what came instead; `is_refused`: the endpoint does not want this one."""

    def __init__(self, reason: str, reply: str = "", is_refused: bool = False) -> None:
        super().__init__(reason)
        self.reply, self.is_refused = reply, is_refused


@dataclass(frozen=True)
class _Failure:
    """A try that may succeed when it is repeated."""

    reason: str
    reply: str = ""
    wait_seconds: float | None = None  # that the endpoint asks for
    is_nobody_there: bool = False
    is_fatal: bool = False  # when tries run out: nothing else would fare better


class Endpoint:
    """A served model. Safe to use from several threads."""

    def __init__(
        self, name: str, settings: JudgeConfig, budget: Budget, sleep: Callable[[float], object] | None = None
    ) -> None:
        """Read the key from its environment variable. Raises ScoringError if it is not set."""
        self.name, self.settings, self.budget = name, settings, budget
        self.halted = threading.Event()  # once set, nothing more is asked, and no pause goes on
        self.sleep = sleep or self.halted.wait
        self._was_there = False
        self._limit = LIMIT
        self._key = _key(name, settings)
        self._client = httpx2.Client(
            headers={"Authorization": f"Bearer {self._key}"} if self._key else {},
            timeout=settings.timeout_seconds,
            trust_env=not settings.is_local,  # a proxy has no business between us and this machine
            limits=httpx2.Limits(max_connections=settings.concurrency),
        )

    def ask(self, question: str, pngs: Sequence[bytes], answer_tokens: int, wants_logprobs: bool) -> Answer:
        """Return the answer to a question about these images (encoded PNG).

        An endpoint that refuses `max_tokens` and names `max_completion_tokens` is given that from then on. Raises
        NoAnswer if this question finds none, ScorerStopped if no other would either.
        """
        limit = self._limit
        body = _body(self.settings.model, question, pngs, wants_logprobs)
        try:
            return self._ask({**body, limit: answer_tokens})
        except NoAnswer as error:
            if limit == NEWER_LIMIT or not error.is_refused or NEWER_LIMIT not in error.reply:
                raise
        self._limit = NEWER_LIMIT
        return self._ask({**body, NEWER_LIMIT: answer_tokens})

    def _ask(self, told: Mapping[str, Any]) -> Answer:
        body = json.dumps(told).encode()
        failure = _Failure("not asked")
        for attempt in range(self.settings.max_retries + 1):
            if attempt:
                self._pause(attempt, failure)
            if self.halted.is_set():
                raise self._stopped("it was interrupted")
            self.budget.take_request()
            found = self._try(body)
            if isinstance(found, Answer):
                self.budget.add_tokens(found.tokens)
                return found
            failure = found
            if failure.is_nobody_there and not self._was_there:  # a wrong address rather than a server that restarts
                raise self._stopped(f"{failure.reason}; is the server running?")
        reason = f"{failure.reason} ({self.settings.max_retries + 1} tries)"
        if failure.is_fatal:
            raise self._stopped(reason)
        raise NoAnswer(reason, failure.reply)

    def _try(self, body: bytes) -> Answer | _Failure:
        url = f"{self.settings.url}/chat/completions"
        try:
            with self._client.stream(
                "POST", url, content=body, headers={"Content-Type": "application/json"}
            ) as response:
                content = self._content(response)
        except (httpx2.TimeoutException, TimeoutError):
            return _Failure(f"no answer within {self.settings.timeout_seconds:g} s")
        except httpx2.ConnectError as error:
            return _Failure(f"cannot connect to {self.settings.host}: {error}", is_nobody_there=True, is_fatal=True)
        except httpx2.TransportError as error:
            return _Failure(f"the connection broke: {error or type(error).__name__}")
        except httpx2.DecodingError as error:
            return _Failure(f"the answer cannot be decoded: {error}")
        self._was_there = True
        text = content.decode("utf-8", "replace").replace(self._key or "\x00", "[key]")
        if response.status_code != 200:
            return self._refused(response, text)
        try:
            return read_answer(json.loads(text))
        except ValueError as error:
            return _Failure(f"the answer is {error}", text)

    def _content(self, response: httpx2.Response) -> bytes:
        """Return the body. Raises TimeoutError where it comes too slowly, however steadily, or never ends."""
        deadline = time.monotonic() + self.settings.timeout_seconds
        content = b""
        for chunk in response.iter_bytes():
            content += chunk
            if len(content) > MAX_BODY or time.monotonic() > deadline:
                raise TimeoutError
        return content

    def _refused(self, response: httpx2.Response, text: str) -> _Failure:
        status = response.status_code
        reason = f"HTTP {status}: {' '.join(text.split())[:QUOTED]}"
        if status in HOPELESS or 300 <= status < 400:
            raise self._stopped(reason)
        if status not in RETRIED:
            raise NoAnswer(reason, text, is_refused=True)
        return _Failure(reason, text, _retry_after(response.headers.get("retry-after")), is_fatal=status == 429)

    def _pause(self, attempt: int, failure: _Failure) -> None:
        """Wait as long as the endpoint asks, else twice as long after every try."""
        if failure.wait_seconds is None:
            self.sleep(min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** (attempt - 1)))
        elif failure.wait_seconds > LONGEST_WAIT_SECONDS:
            raise self._stopped(f"it asks to wait for {failure.wait_seconds:.0f} s ({failure.reason})")
        else:
            self.sleep(failure.wait_seconds)

    def _stopped(self, reason: str) -> ScorerStopped:
        return ScorerStopped(
            f"judge '{self.name}' at {self.settings.url} cannot go on: {reason}; what it scored is kept: run the same "
            "command to go on"
        )


def _key(name: str, settings: JudgeConfig) -> str:
    if not settings.key_variable:
        return ""
    key = os.environ.get(settings.key_variable, "").strip()
    if not key:
        raise ScoringError(
            f"judge '{name}' needs its API key in the environment variable {settings.key_variable}, which is not set"
        )
    return key


def _body(model: str, question: str, pngs: Sequence[bytes], wants_logprobs: bool) -> dict[str, Any]:
    urls = [f"data:image/png;base64,{base64.b64encode(png).decode()}" for png in pngs]
    content = [*({"type": "image_url", "image_url": {"url": url}} for url in urls), {"type": "text", "text": question}]
    body: dict[str, Any] = {
        "model": model,
        "messages": [{"role": "user", "content": content}],
        "temperature": 0,
    }
    return {**body, "logprobs": True, "top_logprobs": TOP_LOGPROBS} if wants_logprobs else body


def _retry_after(value: str | None) -> float | None:
    """Return the seconds of a Retry-After header, which is a number or a date; None if it is neither."""
    try:
        seconds = float(value or "")
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(value or "") - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None
