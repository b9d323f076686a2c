"""Data-parallel training over processes of one thread each; on models this small, threads gain little."""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def launch(work: Callable[..., None], workers: int, *arguments: Any) -> None:
    """Call `work(*arguments)` in `workers` processes that can average tensors; in this process if there is one."""
    if workers == 1:
        work(*arguments)
        return
    with tempfile.TemporaryDirectory() as folder:
        meeting = (Path(folder) / "meeting").as_uri()
        torch.multiprocessing.spawn(_worker, (workers, meeting, work, arguments), nprocs=workers)


def _worker(rank: int, workers: int, meeting: str, work: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=workers)
    try:
        work(*arguments)
    finally:
        dist.destroy_process_group()


def rank() -> int:
    """Number of this worker, 0 for the only one."""
    return dist.get_rank() if dist.is_initialized() else 0


def workers() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def wait_for_all() -> None:
    if dist.is_initialized():
        dist.barrier()


def add_up(tensors: Sequence[Tensor]) -> None:
    """Replace each tensor by its sum over the workers, in place, with one message for all of them."""
    if workers() == 1:
        return
    flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
    dist.all_reduce(flat)
    for tensor, part in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(part.view(tensor.shape))


def average_gradients(weights: Sequence[Tensor]) -> None:
    """Replace the gradient of each weight by its mean over the workers; a weight without gradient counts as zero."""
    for weight in weights:
        if weight.grad is None:
            weight.grad = torch.zeros_like(weight)
    grads = [weight.grad for weight in weights if weight.grad is not None]
    add_up(grads)
    for grad in grads:
        grad.div_(workers())
