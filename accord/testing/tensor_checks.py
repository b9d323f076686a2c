"""Checks of plug-ins that work on tensors: losses, noises, weightings, timestep samplings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace

import torch
from torch import Tensor

from accord.diffusion.noise import gaussian
from accord.diffusion.schedules import RectifiedFlow
from accord.noise.request import NoiseRequest
from accord.seeding import address
from accord.types import LossOutput, PairErrors

Loss = Callable[[PairErrors, Tensor, float], LossOutput]
Noise = Callable[[NoiseRequest], tuple[Tensor, Tensor]]

#: What every loss reports; `accord.losses.margin.metrics` computes all of them.
METRICS = (
    "margin",
    "accuracy",
    "reward_chosen",
    "reward_rejected",
    "error_chosen_rise",
    "error_rejected_rise",
    "saturation",
    "target",
)


def check_loss(loss: Loss) -> None:
    """Check a loss: shapes, metrics, sign of the gradient at zero margin, independent rows, finite at extremes."""
    errors, targets = _random_errors(), torch.tensor([1.0, 0.5, -0.5, -1.0, 0.1])
    out = loss(errors, targets, 10.0)
    assert out.per_pair.shape == (5,), f"one loss per pair, found {tuple(out.per_pair.shape)}"
    assert out.per_pair.dtype == torch.float32, f"losses are float32, found {out.per_pair.dtype}"
    torch.testing.assert_close(out.loss, out.per_pair.mean(), msg="the loss is the mean over pairs")
    for name in METRICS:
        assert name in out.metrics, f"every loss reports {name}"
    for name, metric in out.metrics.items():
        assert metric.shape == (5,), f"metric {name} has one value per pair, found {tuple(metric.shape)}"
    for row in range(5):
        alone = loss(_rows(errors, row), targets[row : row + 1], 10.0)
        assert torch.equal(alone.per_pair, out.per_pair[row : row + 1]), "a pair's loss does not depend on the others"
    _check_start(loss, targets)
    _check_extremes(loss)


def _check_start(loss: Loss, targets: Tensor) -> None:
    """At policy = reference, descent improves the preferred image and does not improve the other one.

    That it worsens the other one is not promised: in DSPO the rejected image has no gradient at the start.
    """
    chosen, rejected = (torch.full((5,), 0.3, requires_grad=True) for _ in range(2))
    reference, apart = torch.full((5,), 0.3), torch.zeros(5)
    errors = PairErrors(chosen, rejected, reference, reference, torch.ones(5), apart, apart, reference)
    start = loss(errors, targets, 10.0)
    assert start.per_pair.isfinite().all(), "the loss is finite at the first step"
    assert (start.metrics["margin"] == 0).all(), "the margin is exactly 0 at the first step"
    for name, metric in start.metrics.items():
        assert not metric.requires_grad, f"metric {name} is detached"
    start.loss.backward()
    assert chosen.grad is not None, "the error of the chosen image has a gradient"
    assert rejected.grad is not None, "the error of the rejected image has a gradient"
    better = torch.where(targets > 0, chosen.grad, rejected.grad)
    worse = torch.where(targets > 0, rejected.grad, chosen.grad)
    assert (better > 0).all(), "descent makes the error of the preferred image smaller"
    assert (worse <= 0).all(), "descent never makes the error of the other image smaller"


def _check_extremes(loss: Loss) -> None:
    policy = torch.tensor([0.0, 1e6, 1e-30, 1e6], requires_grad=True)
    other = torch.tensor([1e6, 0.0, 1e-30, 1e6])
    apart = (policy.detach() - other).abs()
    errors = PairErrors(policy, other, other, policy.detach(), torch.ones(4), apart, apart, apart)
    out = loss(errors, torch.tensor([1.0, 1, 1, -1]), 5000.0)
    out.loss.backward()
    assert out.per_pair.isfinite().all(), "the loss is finite for errors from 0 to a million at beta 5000"
    assert policy.grad is not None
    assert policy.grad.isfinite().all(), "the gradient is finite for errors from 0 to a million at beta 5000"


def check_noise(noise: Noise) -> None:
    """Check a choice of noise: shape and type, repeatable, a visit's noise is its own, no global randomness."""
    request = _request()
    torch.manual_seed(0)
    before = torch.get_rng_state()
    chosen, rejected = noise(request)
    assert torch.equal(torch.get_rng_state(), before), "the global generator is left alone"
    for side in (chosen, rejected):
        assert side.shape == (4, *request.shape), f"noise has shape (B, C, H, W), found {tuple(side.shape)}"
        assert side.dtype == torch.float32, f"noise is float32, found {side.dtype}"
        assert side.isfinite().all(), "noise is finite"
    torch.manual_seed(1)
    again = noise(request)
    assert torch.equal(chosen, again[0]), "the same request gives the same noise of chosen"
    assert torch.equal(rejected, again[1]), "the same request gives the same noise of rejected"
    for row in range(4):
        alone = noise(_visit(request, row))
        assert torch.equal(alone[0][0], chosen[row]), "a visit's noise does not depend on its batch (chosen)"
        assert torch.equal(alone[1][0], rejected[row]), "a visit's noise does not depend on its batch (rejected)"


def check_weighting(weigh: Callable[[Tensor], Tensor]) -> None:
    """Check a weighting: one finite weight of at least 0 per timestep, also where there is no signal or no noise."""
    log_snr = torch.tensor([float("-inf"), -20.0, -1.0, 0.0, 1.0, 20.0, float("inf")])
    weights = weigh(log_snr)
    assert weights.shape == log_snr.shape, f"one weight per timestep, found {tuple(weights.shape)}"
    assert weights.dtype == log_snr.dtype, f"weights have the type of log_snr, found {weights.dtype}"
    assert weights.isfinite().all(), "weights are finite"
    assert (weights >= 0).all(), "weights are at least 0"
    assert (weights > 0).any(), "some timestep has weight"
    assert torch.equal(torch.cat([weigh(row[None]) for row in log_snr]), weights), "a weight does not depend on others"


def check_timestep_sampling(sample: Callable[[Tensor], Tensor]) -> None:
    """Check a timestep sampling: fractions strictly inside (0, 1), a larger number never gives a smaller fraction."""
    u = torch.linspace(0, 1, 1001, dtype=torch.float64)
    u[-1] = 1 - 2.0**-53  # the largest number that a generator draws
    fractions = sample(u)
    assert fractions.shape == u.shape, f"one fraction per number, found {tuple(fractions.shape)}"
    assert fractions.dtype == torch.float64, f"fractions are float64, because float32 rounds to 1: {fractions.dtype}"
    assert ((fractions > 0) & (fractions < 1)).all(), "fractions lie strictly between 0 and 1"
    assert (fractions.diff() >= 0).all(), "fractions keep the order of the numbers they come from"
    alone = torch.cat([sample(row[None]) for row in u[::100]])
    assert torch.equal(alone, fractions[::100]), "a fraction does not depend on the others"


def _random_errors() -> PairErrors:
    generator = torch.Generator().manual_seed(0)
    return PairErrors(*(torch.rand(5, generator=generator) for _ in fields(PairErrors)))


def _rows(errors: PairErrors, row: int) -> PairErrors:
    return PairErrors(*(getattr(errors, field.name)[row : row + 1] for field in fields(PairErrors)))


def _request() -> NoiseRequest:
    generator = torch.Generator().manual_seed(0)
    shape = (4, 8, 8)
    chosen, rejected = (torch.randn(4, *shape, generator=generator) for _ in range(2))
    return NoiseRequest(
        seed=7,
        prompt_ids=("p", "q", "p", "r"),
        chosen_ids=("p-1", "q-1", "p-1", "r-3"),
        rejected_ids=("p-2", "q-4", "p-3", "r-1"),
        visits=(0, 0, 1, 5),
        timesteps=torch.tensor([100.0, 400.0, 700.0, 900.0]),
        shape=shape,
        chosen=chosen,
        rejected=rejected,
        schedule=RectifiedFlow(),
        prediction="flow",
        initial=lambda latents, timesteps: 0.5 * latents,
        policy=lambda latents, timesteps: 0.4 * latents,
        prior=lambda ids: gaussian([address(7, "image", identity) for identity in ids], shape),
    )


def _visit(request: NoiseRequest, row: int) -> NoiseRequest:
    one = slice(row, row + 1)
    return replace(
        request,
        prompt_ids=request.prompt_ids[one],
        chosen_ids=request.chosen_ids[one],
        rejected_ids=request.rejected_ids[one],
        visits=request.visits[one],
        timesteps=request.timesteps[one],
        chosen=request.chosen[one],
        rejected=request.rejected[one],
    )
