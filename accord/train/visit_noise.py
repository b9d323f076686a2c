"""The noise of a batch of visits: looked up where it was computed beforehand, else from the method's rule."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import torch
from torch import Tensor, nn

from accord.models.interface import DiffusionModel
from accord.noise.request import NoiseRequest, Predict
from accord.train.adapters import adapter_off, has_adapter
from accord.train.data import PairData
from accord.train.denoising import twice
from accord.train.method import Method
from accord.types import Conditioning, PairBatch


def visit_noise(
    model: DiffusionModel,
    method: Method,
    data: PairData,
    seed: int,
    batch: PairBatch,
    timesteps: Tensor,
    policy: nn.Module | None,
) -> tuple[Tensor, Tensor]:
    """Return the noise of chosen and of rejected, each (B, C, H, W). timesteps: (B,).

    policy: None before training; then a rule that asks a denoiser raises TrainingError.
    """
    if data.noise is not None:
        stored = data.noise.get(batch.prompt_ids * 2, batch.visits * 2, batch.chosen_ids + batch.rejected_ids)
        chosen, rejected = stored.chunk(2)
        return chosen, rejected
    conditioning = twice(batch.conditioning)
    initial = now = None
    if policy is not None:
        now = predictor(model, lambda: nullcontext(policy), conditioning)
        initial = predictor(model, partial(adapter_off, policy), conditioning) if has_adapter(policy) else None
    return method.noise(noise_request(model, data, seed, batch, timesteps, initial, now))


def noise_request(
    model: DiffusionModel,
    data: PairData,
    seed: int,
    batch: PairBatch,
    timesteps: Tensor,
    initial: Predict | None,
    policy: Predict | None,
) -> NoiseRequest:
    """Return what the choice of noise may look at for this batch."""
    channels, height, width = batch.chosen.shape[1:]
    return NoiseRequest(
        seed=seed,
        prompt_ids=batch.prompt_ids,
        chosen_ids=batch.chosen_ids,
        rejected_ids=batch.rejected_ids,
        visits=batch.visits,
        timesteps=timesteps,
        shape=(channels, height, width),
        chosen=batch.chosen,
        rejected=batch.rejected,
        schedule=model.schedule,
        prediction=model.prediction,
        initial=initial,
        policy=policy,
        prior=data.prior,
    )


def predictor(
    model: DiffusionModel, denoiser: Callable[[], AbstractContextManager[nn.Module]], conditioning: Conditioning
) -> Predict:
    """Return `predict(latents, timesteps)` of what `denoiser()` gives as a context; conditioning (2B, ...)."""

    def predict(latents: Tensor, timesteps: Tensor) -> Tensor:
        with torch.no_grad(), denoiser() as module:
            return model.predict(module, latents, timesteps.to(latents.device), conditioning)

    return predict
