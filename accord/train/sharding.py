"""Full fine-tuning of a model too large for one device: every process holds a share of each weight (FSDP2).

Weights, gradients, moments and moving average are shared out; a block's weights are gathered for the moment they are
needed. torch's own `fully_shard` is used rather than accelerate's wrapper, which exists for accelerators only: so the
code that runs on many GPUs is the code that is tested on two CPU processes.
"""

from __future__ import annotations

from typing import TypeVar

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from accord.errors import TrainingError
from accord.train.adapters import has_adapter
from accord.train.cached_reference import CachedReference
from accord.train.no_reference import NoReference
from accord.train.reference import Reference

M = TypeVar("M", bound=nn.Module)


def shard(policy: M, reference: Reference, accelerator: Accelerator) -> M:
    """Share the policy's weights out over the processes, in place, block by block, and return it.

    Blocks are the classes that diffusers names in `_no_split_modules`. Raises TrainingError for LoRA, whose few weights
    are better held by all, for a reference that is a second model, and for a single process.
    """
    if has_adapter(policy):
        raise TrainingError("train.shard_weights is for adapter.mode = 'full': with LoRA every process holds the model")
    if not isinstance(reference, CachedReference | NoReference):
        raise TrainingError(
            "with train.shard_weights the reference would be a second model, whole in every process; "
            "set train.cache_reference = true, or use a loss that needs none"
        )
    if accelerator.num_processes == 1:
        raise TrainingError("train.shard_weights needs several processes: start with accelerate launch or torchrun")
    for parameter in policy.parameters():  # sharding needs it, and UNets on the CPU have their channels last
        parameter.data = parameter.data.contiguous()
    mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
    blocks = set(getattr(policy, "_no_split_modules", None) or ())
    for module in reversed(list(policy.modules())):  # inner blocks before those that hold them, the policy last
        if module is policy or type(module).__name__ in blocks:
            fully_shard(module, mesh=mesh)
    return policy


def is_sharded(policy: nn.Module) -> bool:
    """Say whether every process holds a share of the policy's weights only."""
    return isinstance(policy, FSDPModule)


def local(tensor: Tensor) -> Tensor:
    """Return this process's share of a tensor; all of it if it is not shared out."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole(tensor: Tensor) -> Tensor:
    """Return all of a tensor. Where it is shared out, all processes must call this together."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def shared_like(tensor: Tensor, like: Tensor) -> Tensor:
    """Return a whole tensor, which all processes have, as `like` is: shared out or not."""
    if not isinstance(like, DTensor):
        return tensor
    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


def sum_of_shares(value: Tensor, policy: nn.Module) -> Tensor:
    """Return the sum over all processes of what each found in its share; the value itself if nothing is shared out."""
    if is_sharded(policy):
        torch.distributed.all_reduce(value)
    return value


def whole_denoiser(policy: nn.Module, is_kept: bool) -> nn.Module | None:
    """Return a copy on the CPU with all weights, to be saved; None unless `is_kept`. All processes call this together.

    The weights come one at a time, so no device ever holds them all.
    """
    state = {}
    for name, tensor in policy.state_dict().items():
        found = whole(tensor)
        if is_kept:
            state[name] = found.cpu()
    if not is_kept:
        return None
    own = next(kind for kind in type(policy).__mro__ if not issubclass(kind, FSDPModule))  # FSDP made a class of it
    with torch.device("meta"):
        plain = own.from_config(policy.config)  # type: ignore[attr-defined]
    plain.load_state_dict(state, assign=True)
    return plain
