"""What changes while a policy is trained, and how it begins."""

from __future__ import annotations

from dataclasses import dataclass

import peft
import torch
from accelerate import Accelerator
from torch import nn

from accord.errors import TrainingError
from accord.models.interface import DiffusionModel
from accord.train.adapters import trainable, wrap
from accord.train.distance import Distance
from accord.train.ema import Ema
from accord.train.loss_scale import LossScale
from accord.train.method import Method
from accord.train.optimizer import make_optimizer
from accord.train.reference import Reference
from accord.train.settings import AdapterSettings, TrainSettings
from accord.train.sharding import shard


@dataclass
class TrainState:
    """Everything that a step changes, and nothing else: what a checkpoint holds."""

    policy: nn.Module
    prepared: nn.Module  # the policy as accelerate wrapped it: its backward pass averages over processes
    parameters: dict[str, nn.Parameter]  # the trainable ones, by name
    optimizer: torch.optim.Optimizer
    reference: Reference
    ema: Ema | None
    distance: Distance  # of the policy from the denoiser it began as
    loss_scale: LossScale
    step: int = 0  # optimiser steps made

    def advance(self, learning_rate: float) -> None:
        """Make one optimiser step with the gradients that are there, and tell reference and average about it."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.step()
        self.step += 1
        self.loss_scale.after_step()
        self.reference.after_step(self.step, self.policy)
        if self.ema:
            self.ema.update(self.step, self.parameters)


def begin(
    model: DiffusionModel, method: Method, settings: TrainSettings, adapter: AdapterSettings, accelerator: Accelerator
) -> TrainState:
    """Return the state before the first step. The model's denoiser becomes the policy: it is changed in place.

    Raises TrainingError if the accelerator would do what the loop does itself, or what it does not support.
    """
    _check(accelerator)
    settings.micro_batch_size(accelerator.num_processes)
    policy = wrap(model.denoiser.to(accelerator.device), adapter, model.lora_targets, settings.seed)
    if settings.compile:
        (policy.get_base_model() if isinstance(policy, peft.PeftModel) else policy).compile()
    reference = method.reference(policy)
    prepared = shard(policy, reference, accelerator) if settings.shard_weights else accelerator.prepare_model(policy)
    parameters = trainable(policy)
    return TrainState(
        policy=policy,
        prepared=prepared,
        parameters=parameters,
        optimizer=make_optimizer(list(parameters.values()), settings),
        reference=reference,
        ema=Ema(parameters, settings.ema_decay) if settings.ema_decay else None,
        distance=Distance(policy),
        loss_scale=LossScale.of(policy),
    )


def _check(accelerator: Accelerator) -> None:
    if accelerator.gradient_accumulation_steps != 1:
        raise TrainingError(
            "make the Accelerator without gradient_accumulation_steps: the loop accumulates by its own setting"
        )
    if accelerator.mixed_precision not in ("no", "bf16"):
        raise TrainingError(
            f"mixed precision '{accelerator.mixed_precision}' is not supported; use 'no' or 'bf16', and for weights of "
            "float16 'no'"
        )
    if accelerator.distributed_type not in ("NO", "MULTI_CPU", "MULTI_GPU"):
        raise TrainingError(
            f"accelerate's own {accelerator.distributed_type} is not supported: launch plain data-parallel processes "
            "(without --use_fsdp and --use_deepspeed); train.shard_weights = true shares out the weights"
        )
