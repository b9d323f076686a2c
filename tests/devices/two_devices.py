"""The CPU beside another device: the GPU that ACCORD_TEST_DEVICE names, or the one of `other_device`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any
from unittest import mock

import torch
from accelerate import Accelerator
from torch.nn.attention import SDPBackend, sdpa_kernel

NAME = os.environ.get("ACCORD_TEST_DEVICE", "other")
IS_REAL = NAME != "other"
every_call: Callable[[], AbstractContextManager[Any]] = nullcontext

if IS_REAL:
    torch.backends.cudnn.allow_tf32 = False  # the CPU's numbers are of 32 bits
else:
    from other_device import EveryCall as every_call

DEVICE = torch.device(NAME, 0)


@contextmanager
def at_home(device: str) -> Iterator[None]:
    """Make one of the two devices that of accelerate, too."""
    mode = every_call() if device == NAME else nullcontext()
    with mock.patch.object(Accelerator, "device", torch.device(device)), sdpa_kernel(SDPBackend.MATH), mode:
        yield


def on_both(work: Callable[[str], Any]) -> tuple[Any, Any]:
    """Return what `work(device)` gives on the CPU and on the other device."""
    results = []
    for device in ("cpu", NAME):
        with at_home(device):
            results.append(work(device))
    return results[0], results[1]
