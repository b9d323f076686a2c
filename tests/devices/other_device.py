"""A device that is not the CPU, on the CPU: what gives the CPU's numbers here leaves no tensor on the wrong device.

A tensor of this device holds an ordinary one and computes with it, but refuses to meet one of the CPU, as a GPU does:
only copies, indices and numbers without dimensions may. torch knows one such device per process and keeps it, so what
is checked with it runs in a process of its own.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend

NAME = "other"


class Backend(_DummyBackendModule):
    """What torch asks of a kind of device."""

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16]


_setup_privateuseone_for_python_backend(NAME, Backend())
DEVICE = torch.device(NAME, 0)
torch.inference_mode = torch.no_grad  # its tensors cannot be held
torch.__future__.set_swap_module_params_on_conversion(True)  # a parameter's data cannot become another class's

ATEN = torch.ops.aten
WAITED: list[str] = []
"""For what the CPU had to wait for the other device: whatever brings values over."""

VALUES = {ATEN._local_scalar_dense.default, ATEN.nonzero.default, ATEN.masked_select.default}
COPIES = {ATEN.copy_.default, ATEN._to_copy.default}
INDEXED = {ATEN.index.Tensor, ATEN.index_put.default, ATEN.index_put_.default}


class OtherTensor(torch.Tensor):
    """A tensor on the other device. A tensor of the CPU holds its values."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> OtherTensor:
        made = torch.Tensor._make_wrapper_subclass(
            cls, held.size(), strides=held.stride(), storage_offset=held.storage_offset(), dtype=held.dtype,
            layout=held.layout, device=DEVICE, requires_grad=held.requires_grad,
        )  # fmt: skip
        made.held = held.detach()
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return computed(func, args, kwargs or {})

    @property
    def data(self) -> torch.Tensor:
        return torch.Tensor.data.__get__(self)

    @data.setter
    def data(self, new: OtherTensor) -> None:
        torch.Tensor.data.__set__(self, new)
        self.held = new.held

    def tolist(self) -> Any:
        WAITED.append("tolist")
        return self.held.tolist()

    def __repr__(self) -> str:
        return f"OtherTensor({self.held})"

    def __format__(self, how: str) -> str:
        return format(self.held, how)


class EveryCall(TorchDispatchMode):
    """Sees calls without a tensor of the other device, too: those that make one."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return computed(func, args, kwargs or {})


def computed(func: Any, args: Any, kwargs: Any) -> Any:
    """Return what an operation gives, on the device where it belongs. Raises RuntimeError if two devices meet."""
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    others = [tensor for tensor in tensors if isinstance(tensor, OtherTensor)]
    refuse_meetings(func, args, tensors, others)
    asked = kwargs.get("device")
    is_other = bool(others) if asked is None else torch.device(asked).type == NAME
    if func is ATEN.copy_.default:
        is_other = isinstance(args[0], OtherTensor)
    if others and (func in VALUES or (func in COPIES and not is_other)):
        WAITED.append(str(func))
    plain_args, plain_kwargs = tree_map_only(OtherTensor, lambda tensor: tensor.held, (args, kwargs))
    if asked is not None:
        plain_kwargs = {**plain_kwargs, "device": torch.device("cpu")}
    with _disable_current_modes():
        found = func(*plain_args, **plain_kwargs)
    if not is_other:
        return found
    return return_and_correct_aliasing(func, args, kwargs, tree_map_only(torch.Tensor, OtherTensor, found))


def refuse_meetings(func: Any, args: Any, tensors: list[torch.Tensor], others: list[OtherTensor]) -> None:
    """Raise RuntimeError where a GPU would."""
    if not others or func in COPIES or (func in INDEXED and isinstance(args[0], OtherTensor)):
        return
    strays = [tensor for tensor in tensors if not isinstance(tensor, OtherTensor) and tensor.dim() > 0]
    if strays:
        raise RuntimeError(f"{func} met a tensor {tuple(strays[0].shape)} of the CPU beside one of the other device")


def empty_strided(size: Any, stride: Any, *, dtype: torch.dtype | None = None, **where: Any) -> torch.Tensor:
    return OtherTensor(torch.empty_strided(size, stride, dtype=dtype, device="cpu"))


def copy_from(source: torch.Tensor, target: torch.Tensor, non_blocking: bool = False) -> torch.Tensor:
    held, into = (each.held if isinstance(each, OtherTensor) else each for each in (source, target))
    into.copy_(held)
    return target


LIBRARY = torch.library.Library("aten", "IMPL")  # what `torch.tensor(..., device=DEVICE)` asks for below every mode
LIBRARY.impl("empty_strided", empty_strided, "PrivateUse1")
LIBRARY.impl("_copy_from", copy_from, "PrivateUse1")
