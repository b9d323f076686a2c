"""A child process that answers requests: started, listened to with a deadline, and always ended."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from accord.errors import ScoringError
from accord.scorers.external.protocol import Message, ReplyReader

CHUNK = 1 << 16  # bytes at a time through a pipe
GRACE_SECONDS = 2.0  # for a child to end by itself once its input is closed
QUOTED = 400  # characters of the log in an error
OURS = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")  # these would bring our packages into the child's environment


class ChildFailed(Exception):
    """The child ended, fell silent or spoke nonsense. The process is gone; another can be started."""


class Child:
    """One running process. Standard error, and what is printed among the replies, goes to the end of `log`."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        """Start it, as leader of a group of its own. Raises ScoringError if there is no such program."""
        log.parent.mkdir(parents=True, exist_ok=True)
        inherited = {name: value for name, value in os.environ.items() if name not in OURS}
        self.log = log
        said = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._log_start = os.fstat(said).st_size
        try:
            self.process = subprocess.Popen(  # noqa: S603 - the command is the user's own, and no shell reads it
                list(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                bufsize=0,
                env={**inherited, **environment},
                start_new_session=True,  # Ctrl-C reaches us alone, and the whole group can be ended
            )
        except OSError as error:
            os.close(said)
            raise ScoringError(f"{command[0]!r} cannot be started: {error.strerror or error}") from error
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._input, self._output = self.process.stdin.fileno(), self.process.stdout.fileno()
        os.set_blocking(self._input, False)
        self._left = memoryview(b"")  # of the requests, what the child has yet to take
        self._reader = ReplyReader(lambda noise: os.write(said, noise))
        self._end = weakref.finalize(self, _end, self.process, said)

    def ask(self, request: bytes, silence_seconds: float) -> Iterator[Message]:
        """Send a request and yield replies as they come; the caller stops when it has heard enough.

        Writing and reading take turns, so neither side ever waits for the other with a full pipe. Raises ChildFailed
        if the child ends, or neither takes nor says anything for so many seconds.
        """
        self._left = memoryview(bytes(self._left) + request)
        with selectors.DefaultSelector() as pipes:
            pipes.register(self._output, selectors.EVENT_READ)
            pipes.register(self._input, selectors.EVENT_WRITE)
            deadline = time.monotonic() + silence_seconds
            while True:
                ready = pipes.select(max(0.0, deadline - time.monotonic()))
                if not ready:
                    raise self._failed(f"was silent for {silence_seconds:g} s")
                for key, _ in ready:
                    if key.fd == self._input:
                        self._send()
                        if not self._left:
                            pipes.unregister(self._input)
                        deadline = time.monotonic() + silence_seconds
                        continue
                    for reply in self._receive():
                        yield reply
                        deadline = time.monotonic() + silence_seconds

    def stop(self) -> None:
        """Close its input, give it a moment to end, and end the whole group. May be called twice."""
        self._end()

    def _send(self) -> None:
        try:
            self._left = self._left[os.write(self._input, self._left[:CHUNK]) :]
        except BlockingIOError:  # the pipe filled up between asking and writing
            return
        except BrokenPipeError:
            raise self._failed("ended") from None

    def _receive(self) -> list[Message]:
        data = os.read(self._output, CHUNK)
        if not data:
            raise self._failed("ended")
        try:
            return self._reader.feed(data)
        except ValueError as error:
            raise self._failed(f"spoke nonsense: {error}") from None

    def _failed(self, what: str) -> ChildFailed:
        """End the process; return the error, with how it ended and the end of its log."""
        if what == "ended":
            with contextlib.suppress(subprocess.TimeoutExpired):
                what = _how_it_ended(self.process.wait(GRACE_SECONDS))
        self.process.kill()
        self.stop()
        with self.log.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(self._log_start, end - 4 * QUOTED))
            said = " ".join(file.read().decode("utf-8", "replace").split())[-QUOTED:]
        return ChildFailed(f"the process {what}; " + (f"its last words: {said}" if said else "it said nothing"))


def _end(process: subprocess.Popen[bytes], log: int) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(GRACE_SECONDS)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)  # also what it started itself
    process.wait()
    process.stdout.close()
    os.close(log)


def _how_it_ended(status: int) -> str:
    if status >= 0:
        return f"ended with status {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"was ended by signal {-status}"
