import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from accord.errors import TrainingError
from accord.losses.logistic import logistic
from accord.losses.margin import margin, reward
from accord.losses.squared import squared
from accord.types import PairErrors

LOSSES = [logistic, squared]
NAMES = ("policy_chosen", "policy_rejected", "reference_chosen", "reference_rejected", "weight")


def random_errors(size: int = 8, seed: int = 0) -> PairErrors:
    generator = torch.Generator().manual_seed(seed)
    return PairErrors(*(torch.rand(size, generator=generator) for _ in NAMES))


def errors_with_margin(m: torch.Tensor) -> PairErrors:
    """Return errors whose margin is m: only the policy's error of the chosen image differs from 1."""
    one = torch.ones_like(m)
    return PairErrors(one - 2 * m, one, one, one, one)


def swapped(errors: PairErrors) -> PairErrors:
    return PairErrors(
        errors.policy_rejected, errors.policy_chosen, errors.reference_rejected, errors.reference_chosen, errors.weight
    )


def test_margin_of_a_worked_example():
    # chosen: 1/2 * 0.5 * (0.30 - 0.20) = 0.025; rejected: 1/2 * 0.5 * (0.40 - 0.60) = -0.05; margin 0.075
    errors = PairErrors(*(torch.tensor([value]) for value in (0.20, 0.60, 0.30, 0.40, 0.50)))
    torch.testing.assert_close(
        reward(errors.reference_chosen, errors.policy_chosen, errors.weight), torch.tensor([0.025])
    )
    torch.testing.assert_close(margin(errors), torch.tensor([0.075]))
    metrics = logistic(errors, torch.ones(1), 100.0).metrics
    expected = {
        "margin": 7.5, "accuracy": 1.0, "reward_chosen": 0.025, "reward_rejected": -0.05,
        "error_chosen_rise": -0.10, "error_rejected_rise": 0.20,
        "saturation": math.tanh(3.75), "target": 1.0,
    }  # fmt: skip
    assert metrics.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(metrics[name], torch.tensor([value]), rtol=0, atol=1e-6)


def test_margin_rises_when_the_policy_denoises_chosen_better_or_rejected_worse():
    one = torch.ones(1)
    assert margin(PairErrors(0.9 * one, one, one, one, one)) > 0
    assert margin(PairErrors(one, 1.1 * one, one, one, one)) > 0
    assert margin(PairErrors(1.1 * one, one, one, one, one)) < 0


def test_squared_loss_of_a_worked_example():
    # (0.4 - 10 * 0.01)^2 = 0.09
    out = squared(errors_with_margin(torch.tensor([0.01])), torch.tensor([0.4]), 10.0)
    torch.testing.assert_close(out.loss, torch.tensor(0.09), rtol=1e-4, atol=0)


def official_diffusion_dpo(errors: PairErrors, beta_dpo: float) -> torch.Tensor:
    """The formula of the authors' train.py: model and reference losses, inside_term = -0.5 beta (model - ref)."""
    model_diff = errors.policy_chosen - errors.policy_rejected
    ref_diff = errors.reference_chosen - errors.reference_rejected
    return -torch.nn.functional.logsigmoid(-0.5 * beta_dpo * (model_diff - ref_diff))


@pytest.mark.parametrize("beta", [1.0, 5.0, 2000.0])
def test_logistic_with_target_one_equals_diffusion_dpo(beta):
    errors = random_errors(64)
    errors = PairErrors(*(getattr(errors, name).double() for name in NAMES[:4]), torch.ones(64).double())
    out = logistic(errors, torch.ones(64).double(), beta)
    torch.testing.assert_close(out.per_pair, official_diffusion_dpo(errors, beta), rtol=1e-6, atol=1e-6)


def test_logistic_with_target_one_equals_diffusion_dpo_in_float32():
    errors = random_errors(64)
    errors = PairErrors(*(getattr(errors, name) for name in NAMES[:4]), torch.ones(64))
    out = logistic(errors, torch.ones(64), 5.0)
    torch.testing.assert_close(out.per_pair, official_diffusion_dpo(errors, 5.0), rtol=1e-6, atol=1e-6)


def test_first_step_losses():
    targets = torch.tensor([0.1, 0.5, 0.9])
    start = errors_with_margin(torch.zeros(3))
    torch.testing.assert_close(logistic(start, targets, 2000.0).loss, torch.tensor(math.log(2)))
    torch.testing.assert_close(squared(start, targets, 100.0).loss, targets.square().mean())
    for loss in LOSSES:
        assert loss(start, targets, 100.0).metrics["accuracy"].tolist() == [0.5, 0.5, 0.5]


@pytest.mark.parametrize(("loss", "slope"), [(logistic, -0.5), (squared, -2.0)])
def test_gradient_at_the_start(loss, slope):
    m, targets, beta = torch.zeros(3, requires_grad=True), torch.tensor([0.25, 1.0, -1.0]), 50.0
    loss(errors_with_margin(m), targets, beta).per_pair.sum().backward()
    torch.testing.assert_close(m.grad, slope * beta * targets)


def test_a_squared_target_of_one_quarter_starts_with_the_force_of_logistic():
    grads = []
    for loss, target in ((squared, 0.25), (logistic, 1.0)):
        m = torch.zeros(1, requires_grad=True)
        loss(errors_with_margin(m), torch.tensor([target]), 7.0).loss.backward()
        grads.append(m.grad.item())
    assert grads[0] == pytest.approx(grads[1])


def test_squared_is_smallest_at_its_target_and_rises_beyond():
    m = torch.tensor([0.0, 0.02, 0.04, 0.06])
    per_pair = squared(errors_with_margin(m), torch.full((4,), 0.4), 10.0).per_pair
    assert per_pair.argmin() == 2
    assert per_pair[3] > per_pair[2]


def test_weight_scales_the_reward_and_not_the_loss():
    errors = random_errors()
    halved = PairErrors(*(getattr(errors, name) for name in NAMES[:4]), errors.weight / 2)
    targets = torch.ones(8)
    for loss in LOSSES:
        torch.testing.assert_close(loss(halved, targets, 4.0).per_pair, loss(errors, targets, 2.0).per_pair)


@pytest.mark.parametrize("loss", LOSSES)
@given(seed=st.integers(0, 2**31), beta=st.floats(1e-2, 1e4))
def test_swapping_images_and_flipping_the_target_changes_nothing(loss, seed, beta):
    errors, targets = random_errors(4, seed), torch.tensor([1.0, -0.5, 0.0, 0.3])
    one, other = loss(errors, targets, beta), loss(swapped(errors), -targets, beta)
    torch.testing.assert_close(one.per_pair, other.per_pair, rtol=1e-6, atol=1e-6)
    assert torch.equal(one.metrics["accuracy"], other.metrics["accuracy"])
    assert torch.equal(one.metrics["margin"], -other.metrics["margin"])


@pytest.mark.parametrize("loss", LOSSES)
def test_swapping_without_flipping_the_target_changes_the_loss(loss):
    errors, targets = errors_with_margin(torch.tensor([0.3])), torch.ones(1)
    assert loss(errors, targets, 1.0).loss < loss(swapped(errors), targets, 1.0).loss


@pytest.mark.parametrize("loss", LOSSES)
def test_per_pair_losses_average_to_the_loss_and_metrics_carry_no_gradient(loss):
    m = torch.tensor([0.1, -0.2], requires_grad=True)
    out = loss(errors_with_margin(m), torch.ones(2), 3.0)
    assert out.loss == out.per_pair.mean()
    assert out.loss.requires_grad
    assert not any(values.requires_grad for values in out.metrics.values())


@pytest.mark.parametrize("loss", LOSSES)
def test_finite_at_extremes_with_finite_gradient(loss):
    m = torch.tensor([1e6, -1e6, 1e-30, 0.0], requires_grad=True)
    out = loss(errors_with_margin(m), torch.tensor([1.0, 1.0, 1.0, 0.0]), 5000.0)
    out.loss.backward()
    assert out.per_pair.isfinite().all()
    assert m.grad.isfinite().all()


def test_logistic_saturates_when_satisfied_and_is_linear_when_violated():
    per_pair = logistic(errors_with_margin(torch.tensor([1000.0, -1000.0])), torch.ones(2), 10.0).per_pair
    torch.testing.assert_close(per_pair, torch.tensor([0.0, 10_000.0]), rtol=1e-5, atol=0)


def test_logistic_ignores_a_pair_without_preference():
    m = torch.tensor([0.5], requires_grad=True)
    logistic(errors_with_margin(m), torch.zeros(1), 100.0).loss.backward()
    assert m.grad.item() == 0


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", [*NAMES, "targets"])
def test_wrong_shapes_and_half_precision_are_refused(loss, name):
    good = dict.fromkeys([*NAMES, "targets"], torch.ones(3))
    for bad in (torch.ones(3, 1), torch.ones(1), torch.ones(3).half(), torch.ones(3, dtype=torch.int64)):
        inputs = {**good, name: bad}
        with pytest.raises(TrainingError, match="a loss needs"):
            loss(PairErrors(*(inputs[n] for n in NAMES)), inputs["targets"], 1.0)
