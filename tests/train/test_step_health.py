"""What a step's log says besides the loss."""

from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from accord.losses.logistic import logistic
from accord.losses.mapo import mapo
from accord.train.health import BINNED, NUM_BINS, by_noise, gradient_sizes
from accord.types import PairErrors


def test_the_gradients_are_those_of_the_predictions():
    """Compares with autograd through the predictions themselves."""
    generator = torch.Generator().manual_seed(0)
    chosen, rejected = (torch.randn(3, 4, 2, 2, generator=generator, requires_grad=True) for _ in range(2))
    errors = [x.square().flatten(1).mean(1) for x in (chosen, rejected)]
    one = torch.ones(3)
    pair = PairErrors(*errors, 0.9 * one, 1.1 * one, one)
    out = logistic(pair, torch.tensor([1.0, 0.5, 2.0]), 3.0)
    sizes = gradient_sizes(pair, out)
    out.per_pair.sum().backward()
    for name, prediction in (("gradient_chosen", chosen), ("gradient_rejected", rejected)):
        direct = prediction.grad.flatten(1).norm(dim=1)
        torch.testing.assert_close(sizes[name], direct / direct.new_tensor(2 / 16**0.5))


def test_a_safeguard_shows_in_the_pull_of_the_rejected_image():
    one = torch.ones(2)
    policy = [(0.5 * one).requires_grad_(), (2.0 * one).requires_grad_()]
    pair = PairErrors(*policy, 0.5 * one, 2.0 * one, one, residual_product=one)
    plain = gradient_sizes(pair, logistic(pair, one, 3.0))
    guarded = gradient_sizes(pair, logistic(pair, one, 3.0, safeguard=1.0))
    torch.testing.assert_close(guarded["gradient_rejected"], 0.5 * plain["gradient_rejected"])
    assert torch.equal(guarded["gradient_chosen"], plain["gradient_chosen"])


def test_visits_are_counted_where_their_noise_is():
    metrics = {name: torch.tensor([1.0, 2.0, 3.0, 4.0]) for name in BINNED}
    table = by_noise(metrics, torch.tensor([0.05, 0.19, 0.2, 0.9999], dtype=torch.float64))
    assert table.shape == (1 + len(BINNED), NUM_BINS)
    assert table[0].tolist() == [2, 1, 0, 0, 1]
    assert table[1].tolist() == [3, 3, 0, 0, 4]


def test_visits_are_counted_on_devices_without_float64():
    """A device without memory stands for Apple's GPUs."""

    class NoFloat64(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            found = func(*args, **(kwargs or {}))
            assert not (isinstance(found, torch.Tensor) and found.is_meta and found.dtype is torch.float64)
            return found

    metrics = {name: torch.empty(4, device="meta") for name in BINNED}
    with NoFloat64():
        table = by_noise(metrics, torch.tensor([0.05, 0.19, 0.2, 0.9999], dtype=torch.float64))
    assert (table.device.type, table.shape) == ("meta", (1 + len(BINNED), NUM_BINS))


@pytest.mark.parametrize("parts", [1, 2, 4])
def test_the_log_does_not_depend_on_how_a_step_is_split(make_run, parts):
    whole = make_run(steps=3).logs()
    split = make_run(steps=3, gradient_accumulation=parts).logs()
    for one, other in zip(whole, split, strict=True):
        assert other.by_noise["count"] == one.by_noise["count"]
        assert sum(one.by_noise["count"]) == 4
        for name in BINNED:
            assert other.by_noise[name] == pytest.approx(one.by_noise[name], rel=1e-3, abs=1e-5)
        for name in ("gradient_chosen", "gradient_rejected"):
            assert other.metrics[name] == pytest.approx(one.metrics[name], rel=1e-3)


def test_a_loss_of_its_own_kind_has_its_own_pull(make_run, method):
    log = make_run(steps=1, beta=0.1, method=replace(method, loss=mapo)).logs()[0]
    assert log.metrics["gradient_chosen"] > 0
