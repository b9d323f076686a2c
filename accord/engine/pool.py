"""Work on shards: in this process, or in several, each holding its own worker and its own device.

A worker is made once per process and then called with one shard after another; it writes the shard's file itself.
Shards are independent and written whole, so the number of processes can never show in the result.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from typing import Any

from accord.engine.devices import stay_on
from accord.errors import AccordError

Worker = Callable[[Any], Any]

_worker: Worker | None = None  # this process's worker, set once by _start


def run_shards(
    make_worker: str, arguments: dict[str, Any], shards: Sequence[Any], devices: Sequence[str]
) -> Iterator[Any]:
    """Yield the worker's answer for every shard, as they finish.

    `make_worker` is "module:callable", called as `callable(device=..., **arguments)` once per device; with one device
    everything runs in this process. A worker with a method `prepare` is told of its next shard before each call, so
    that it can read ahead. Errors of a worker are raised here; what other shards wrote stays.
    """
    if len(devices) == 1 or len(shards) <= 1:
        worker = _load(make_worker)(device=devices[0], **arguments)
        for shard, following in zip(shards, [*shards[1:], None], strict=True):
            yield _call(worker, shard, following)
        return
    # children read the thread limit when they import torch; one thread each, or they fight over the cores
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        yield from _run_in_processes(make_worker, arguments, shards, devices)
    except BrokenProcessPool as error:
        raise AccordError(
            "a worker process died, most likely for want of memory; finished shards are kept: run the same "
            "command again, with fewer engine.workers or a smaller batch_size if it happens again"
        ) from error
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before


def _run_in_processes(
    make_worker: str, arguments: dict[str, Any], shards: Sequence[Any], devices: Sequence[str]
) -> Iterator[Any]:
    """Shard i goes to process i modulo the number of devices: so each process knows what comes next."""
    context = multiprocessing.get_context("spawn")
    count = min(len(devices), len(shards))
    with ExitStack() as pools:
        processes = [
            pools.enter_context(ProcessPoolExecutor(1, context, _start, (make_worker, arguments, device)))
            for device in devices[:count]
        ]
        following = [*shards[count:], *[None] * count]
        futures = [processes[i % count].submit(_work, shard, following[i]) for i, shard in enumerate(shards)]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            for process in processes:
                process.shutdown(wait=False, cancel_futures=True)


def _call(worker: Worker, shard: Any, following: Any) -> Any:
    prepare = getattr(worker, "prepare", None)
    if prepare is not None:
        prepare(shard)
        if following is not None:
            prepare(following)
    return worker(shard)


def _load(name: str) -> Callable[..., Worker]:
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)


def _start(make_worker: str, arguments: dict[str, Any], device: str) -> None:
    global _worker
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    stay_on(device)
    _worker = _load(make_worker)(device=device, **arguments)


def _leave_with_parent() -> None:
    """End this process as soon as its parent has ended: a killed run must leave no process behind that holds memory."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(shard: Any, following: Any) -> Any:
    assert _worker is not None
    return _call(_worker, shard, following)
