"""From what the losses of a step's micro-batches returned to the numbers of the step, and to clear errors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from accelerate import Accelerator
from torch import Tensor

from accord.errors import TrainingError
from accord.losses.margin import margin
from accord.train.health import BINNED, NUM_BINS, by_noise
from accord.types import LossOutput, PairBatch, PairErrors, StepLog

SHOWN = 8  # ids in an error message


class MicroBatch(NamedTuple):
    """What is kept of a micro-batch until its step is logged; no graph hangs on it."""

    batch: PairBatch
    output: LossOutput
    by_noise: Tensor  # (1 + len(BINNED), NUM_BINS) count and sums


def kept(batch: PairBatch, output: LossOutput, sizes: Mapping[str, Tensor], fractions: Tensor) -> MicroBatch:
    """Return the micro-batch without its graph. sizes: of `gradient_sizes`. fractions: (B,) places in the schedule."""
    metrics = {**output.metrics, **sizes}
    own = LossOutput(output.loss.detach(), output.per_pair.detach(), metrics)
    return MicroBatch(batch, own, by_noise(metrics, fractions))


def step_means(
    parts: Sequence[MicroBatch], gradient_norm: Tensor, accelerator: Accelerator
) -> tuple[dict[str, float], dict[str, tuple[float, ...]]]:
    """Return `loss`, every metric and `gradient_norm` as means over the step's pairs on all processes, and the sums
    for each part of the schedule.

    All micro-batches are of one size, so the mean of their means is the mean over pairs. The numbers leave the device
    together: it is waited for once per step.
    """
    names = ["loss", *parts[0].output.metrics]
    rows = [
        torch.stack([part.output.loss, *(metric.mean() for metric in part.output.metrics.values())]) for part in parts
    ]
    means = accelerator.reduce(torch.stack(rows).mean(0), reduction="mean")
    sums = accelerator.reduce(torch.stack([part.by_noise for part in parts]).sum(0), reduction="sum")
    values = torch.cat([means, gradient_norm.detach().to(means).reshape(1), sums.to(means).flatten()]).tolist()
    num = len(names) + 1
    bins = [tuple(values[num + row * NUM_BINS : num + (row + 1) * NUM_BINS]) for row in range(1 + len(BINNED))]
    found = dict(zip([*names, "gradient_norm"], values[:num], strict=True))
    return found, dict(zip(["count", *BINNED], bins, strict=True))


def step_log(
    step: int,
    means: Mapping[str, float],
    bins: Mapping[str, tuple[float, ...]],
    learning_rate: float,
    seconds: float,
) -> StepLog:
    """Return the log of a step from what `step_means` returned."""
    metrics = {name: value for name, value in means.items() if name not in ("loss", "gradient_norm")}
    return StepLog(step, means["loss"], metrics, learning_rate, means["gradient_norm"], seconds, bins)


def require_finite(step: int, means: Mapping[str, float], parts: Sequence[MicroBatch]) -> None:
    """Raise TrainingError unless loss and gradient norm are finite, naming the pairs that are not."""
    if math.isfinite(means["loss"]) and math.isfinite(means["gradient_norm"]):
        return
    is_bad = torch.cat([~part.output.per_pair.isfinite() for part in parts]).tolist()
    pairs = [
        f"prompt {prompt}: {chosen} over {rejected} (visit {visit})"
        for batch in [part.batch for part in parts]
        for prompt, chosen, rejected, visit in zip(
            batch.prompt_ids, batch.chosen_ids, batch.rejected_ids, batch.visits, strict=True
        )
    ]
    bad = [pair for pair, is_one in zip(pairs, is_bad, strict=True) if is_one]
    if not bad:  # the gradient of a finite loss, or a pair of another process: all of this process' pairs are named
        bad = pairs
    rest = f" and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
    raise TrainingError(
        f"step {step}: loss {means['loss']}, gradient norm {means['gradient_norm']}; the step was not made. "
        f"Pairs: {'; '.join(bad[:SHOWN])}{rest}. Look at their latents, or lower the learning rate"
    )


RECOMPUTED = 0.01
"""How far errors that were computed beforehand may be from the policy's before the first step, relative to them.

They differ by the rounding of another batch size, device or precision, which stays far below; another noise or timestep
does not."""


def require_agreement(errors: PairErrors, is_exact: bool = True) -> None:
    """Raise TrainingError unless policy and reference agree, as they must before the first step.

    Exactly, where both were asked just now: dropout would show. Up to rounding, where the reference was asked before,
    or is not `is_exact`: the compiler makes other kernels for a pass without gradient.
    """
    if errors.distance_chosen is None or not is_exact:
        _require_close(errors)
        return
    largest = margin(errors).detach().abs().max().item()
    if largest != 0:  # also true for NaN, which require_finite explains better
        if math.isnan(largest):
            return
        raise TrainingError(
            f"before the first step policy and reference must agree exactly, but a margin is {largest:.3g}: is dropout "
            "or training mode on in the denoiser, or is it not deterministic on this device?"
        )


def _require_close(errors: PairErrors) -> None:
    policy = torch.cat([errors.policy_chosen, errors.policy_rejected]).detach()
    reference = torch.cat([errors.reference_chosen, errors.reference_rejected])
    apart = ((policy - reference).abs() / reference).max().item()
    if apart > RECOMPUTED:
        raise TrainingError(
            f"before the first step the policy's errors must be those of the reference, but one is {apart:.1%} off "
            + (
                "what was computed beforehand; run `accord reference` on this run file with --redo"
                if errors.distance_chosen is None
                else "in the compiled model; turn train.compile off"
            )
        )
