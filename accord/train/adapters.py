"""What is trained: LoRA weights beside the frozen denoiser, or all of its weights.

A policy is a module that the model's `predict` can call in the denoiser's place. At the start it computes exactly
what the denoiser computes: LoRA's second factor is zero, and nothing that behaves randomly in training mode is on.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import peft
import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from accord.errors import TrainingError
from accord.seeding import address
from accord.train.settings import AdapterSettings


def wrap(denoiser: nn.Module, settings: AdapterSettings, targets: Sequence[str], seed: int) -> nn.Module:
    """Return the policy of this denoiser, which is changed in place.

    `targets` are the family's module names for LoRA, used where `settings.targets` is empty. LoRA's first factor is
    drawn from (seed, name), so it depends on nothing else. Trainable parameters are float32 whatever the denoiser's
    dtype. The policy is in evaluation mode: dropout would make policy and reference differ before any training.
    Raises TrainingError if no module has a target's name, or if there is an adapter already.
    """
    if any(isinstance(module, BaseTunerLayer) for module in denoiser.modules()):
        raise TrainingError(
            "the denoiser already has an adapter, which would be trained on top of; open the model anew"
        )
    if settings.uses_dora and settings.mode == "full":
        raise TrainingError("adapter.uses_dora is for adapter.mode = 'lora'")
    if settings.mode == "full" and any(parameter.dtype is torch.float16 for parameter in denoiser.parameters()):
        raise TrainingError(
            "model.dtype = 'float16' is for adapter.mode = 'lora': weights that are trained themselves are kept in "
            "float32; take 'bfloat16', which computes in half precision, or 'float32'"
        )
    if settings.uses_gradient_checkpointing:
        _checkpoint_gradients(denoiser)
    policy = _lora(denoiser, settings, targets, seed) if settings.mode == "lora" else denoiser.requires_grad_(True)
    for parameter in trainable(policy).values():
        parameter.data = parameter.data.to(torch.float32)
    return policy.eval()


def trainable(policy: nn.Module) -> dict[str, nn.Parameter]:
    """Return name -> trainable parameter, in the order of the module."""
    return {name: parameter for name, parameter in policy.named_parameters() if parameter.requires_grad}


def has_adapter(policy: nn.Module) -> bool:
    """Say whether the policy is a denoiser with a LoRA beside it."""
    return isinstance(policy, peft.PeftModel)


def adapter_state(policy: nn.Module) -> dict[str, Tensor]:
    """Return the LoRA weights in peft's layout, as the model's `save_adapter` takes them."""
    if not has_adapter(policy):
        raise TrainingError("the policy has no adapter: all of its weights were trained; save the denoiser instead")
    return dict(peft.get_peft_model_state_dict(policy))


@contextmanager
def adapter_off(policy: nn.Module) -> Iterator[nn.Module]:
    """Give the denoiser as it was before LoRA; afterwards the adapter is on and trainable again.

    Does what `PeftModel.disable_adapter` does without its survey of every module, which takes four times as long.
    """
    layers = [module for module in policy.modules() if isinstance(module, BaseTunerLayer)]
    for layer in layers:
        layer.enable_adapters(False)
    try:
        yield policy
    finally:
        for layer in layers:
            layer.enable_adapters(True)


def _lora(denoiser: nn.Module, settings: AdapterSettings, targets: Sequence[str], seed: int) -> nn.Module:
    names = list(settings.targets or targets)
    known = [name for name, _ in denoiser.named_modules()]
    absent = [target for target in names if not any(f".{name}".endswith(f".{target}") for name in known)]
    if absent or not names:
        raise TrainingError(
            f"the denoiser has no module named {', '.join(absent) or '(no targets given)'} for LoRA; "
            "correct adapter.targets, or leave it out for the family's own"
        )
    config = peft.LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,  # type: ignore[arg-type]  # peft divides it by the rank: any number will do
        target_modules=names,
        lora_dropout=0.0,
        use_dora=settings.uses_dora,
        bias="none",
    )
    with torch.random.fork_rng(devices=[]):  # peft draws from the global generator; its draws are replaced below
        policy = peft.get_peft_model(denoiser, config)
    for name, parameter in trainable(policy).items():
        if ".lora_A." in name:
            parameter.data = _first_factor(parameter, address(seed, "lora", name))
    return policy


def _first_factor(like: Tensor, seed: int) -> Tensor:
    """Return peft's usual first factor (Kaiming uniform, a = sqrt 5) drawn on the CPU from this seed."""
    values = torch.empty(like.shape, dtype=torch.float32)
    nn.init.kaiming_uniform_(values, a=math.sqrt(5), generator=torch.Generator().manual_seed(seed))
    return values.to(like.device)


def _checkpoint_gradients(denoiser: nn.Module) -> None:
    enable = getattr(denoiser, "enable_gradient_checkpointing", None)
    if enable is None:
        raise TrainingError(
            f"{type(denoiser).__name__} cannot checkpoint gradients; set uses_gradient_checkpointing off"
        )
    enable()
