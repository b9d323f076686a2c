"""Clipping equals torch's bit for bit, and leaves gradients alone that are small enough."""

import math

import pytest
import torch

from accord.train.clipping import clip, gradient_norm


def parameters(norm):
    """Return parameters of two shapes, one of them without a gradient, whose gradients have about this norm."""
    values = torch.randn(7, 5, generator=torch.Generator().manual_seed(0))
    found = [torch.nn.Parameter(torch.zeros(7, 5)), torch.nn.Parameter(torch.zeros(3)), torch.nn.Parameter(values)]
    found[0].grad = values / values.norm() * norm * 0.6
    found[1].grad = torch.tensor([0.0, 0.8, 0.0]) * norm
    return found


NEAR = [1 + k * 2e-7 for k in range(-10, 11)]


@pytest.mark.parametrize("max_norm", [1.0, 0.3, 5.0])
def test_gradients_are_those_of_torchs_clipping(max_norm):
    for norm in [max_norm * factor for factor in (0.0, 0.01, *NEAR, 2.0, 1e6)]:
        ours, theirs = parameters(norm), parameters(norm)
        found = gradient_norm(ours)
        clip(ours, found, found.item(), max_norm)
        assert found == torch.nn.utils.clip_grad_norm_(theirs, max_norm)
        for one, other in zip(ours[:2], theirs[:2], strict=True):
            assert torch.equal(one.grad, other.grad), norm
        assert gradient_norm(ours) <= max_norm * (1 + 1e-6)


@pytest.mark.parametrize(("max_norm", "is_written"), [(0.9, True), (1.1, False), (math.inf, False)])
def test_gradients_are_written_only_where_they_are_too_large(max_norm, is_written):
    small = parameters(1.0)
    before = small[0].grad._version
    norm = gradient_norm(small)
    clip(small, norm, norm.item(), max_norm)
    assert (small[0].grad._version > before) == is_written


def test_the_loop_clips_what_the_optimizer_sees_and_logs_the_norm_before(make_run):
    run = make_run("full", steps=2, max_grad_norm=1e-3)
    state = run.begin()
    for log in run.train(state):
        assert log.gradient_norm > 1e-2
        assert gradient_norm(state.parameters.values()).item() == pytest.approx(1e-3, rel=1e-2)
