"""Hinge, MaPO, KTO, DSPO and the safeguard: closed forms, limits, and straightforward recomputation."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import logsigmoid

from accord.errors import ConfigError, TrainingError
from accord.losses.dspo import dspo
from accord.losses.hinge import hinge
from accord.losses.kto import kto
from accord.losses.logistic import logistic
from accord.losses.mapo import mapo
from accord.losses.margin import margin, reward
from accord.losses.safeguard import safe_scale
from accord.losses.squared import squared
from accord.train.method import load_method
from accord.types import PairErrors

SHAPE = (6, 4, 8, 8)


def predictions(seed=0):
    """Return residuals of policy and reference on chosen and rejected images, each (B, C, H, W)."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(SHAPE, generator=generator, dtype=torch.float64) for _ in range(4)]


def mean(x):
    return x.flatten(1).mean(1)


def errors_of(policy_w, policy_l, reference_w, reference_l):
    squares = [mean(x.square()) for x in (policy_w, policy_l, reference_w, reference_l)]
    apart = [mean((policy_w - reference_w).square()), mean((policy_l - reference_l).square())]
    return PairErrors(*squares, torch.ones(len(policy_w)).double(), *apart, mean(policy_w * policy_l).detach())


def at_start(error=0.3, size=3):
    """Return errors where policy = reference, the policy's with a gradient."""
    policy = [torch.full((size,), error, requires_grad=True) for _ in range(2)]
    same, zero = torch.full((size,), error), torch.zeros(size)
    return PairErrors(*policy, same, same, torch.ones(size), zero, zero, same)


def swapped(e):
    return PairErrors(
        e.policy_rejected, e.policy_chosen, e.reference_rejected, e.reference_chosen, e.weight,
        e.distance_rejected, e.distance_chosen, e.residual_product,
    )  # fmt: skip


@pytest.mark.parametrize("loss", [hinge, mapo, kto, dspo, logistic])
def test_a_negative_target_is_the_pair_the_other_way_round(loss):
    errors, targets = errors_of(*predictions()), torch.tensor([1.0, -1, 0.5, -0.5, 2, -2]).double()
    torch.testing.assert_close(loss(errors, targets, 5.0).per_pair, loss(swapped(errors), -targets, 5.0).per_pair)


def test_hinge_starts_at_1_with_gradient_beta_and_stops_when_satisfied():
    errors = at_start()
    out = hinge(errors, torch.ones(3), 40.0)
    out.loss.backward()
    assert out.per_pair.tolist() == [1, 1, 1]
    torch.testing.assert_close(errors.policy_chosen.grad, torch.full((3,), 40 * 0.5 / 3))  # d margin / d error = -1/2
    done = PairErrors(*(torch.tensor([x]) for x in (0.1, 0.5, 0.3, 0.3, 1.0)))
    assert hinge(done, torch.ones(1), 5.0).loss == 0  # margin .2
    assert hinge(done, torch.ones(1), 4.0).loss == pytest.approx(0.2)


@given(st.floats(0.001, 5), st.floats(0.001, 5), st.floats(0, 1))
def test_mapo_is_the_authors_formula(w, l, beta):  # noqa: E741
    f = [0.5 * u / math.expm1(0.5 * u) for u in (w, l)]
    expected = w - beta * float(logsigmoid(torch.tensor(1000.0 * (f[0] - f[1]), dtype=torch.float64)))
    one = torch.ones(1, dtype=torch.float64)
    found = mapo(PairErrors(w * one, l * one, one, one, one), one, beta).loss
    assert float(found) == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_mapo_without_beta_is_fine_tuning_on_the_chosen_image_and_ignores_the_reference():
    errors = errors_of(*predictions())
    torch.testing.assert_close(mapo(errors, torch.ones(6).double(), 0.0).per_pair, errors.policy_chosen)
    other = errors_of(*predictions()[:2], *predictions(1)[2:])
    torch.testing.assert_close(
        mapo(errors, torch.ones(6).double(), 0.1).per_pair, mapo(other, torch.ones(6).double(), 0.1).per_pair
    )


def test_kto_starts_at_one_half_with_gradients_of_an_eighth():
    errors = at_start(size=1)
    out = kto(errors, torch.ones(1), 80.0)
    out.loss.backward()
    assert out.loss == 0.5
    assert errors.policy_chosen.grad.item() == pytest.approx(80 / 16)  # reward falls by half of the error
    assert errors.policy_rejected.grad.item() == pytest.approx(-80 / 16)


def test_kto_without_baseline_is_separable_and_near_the_start_pushes_like_dpo():
    errors, targets = errors_of(*predictions()), torch.ones(6).double()
    beta = 3.0
    first = reward(errors.reference_chosen, errors.policy_chosen, errors.weight)
    second = reward(errors.reference_rejected, errors.policy_rejected, errors.weight)
    expected = 0.5 * ((1 - torch.sigmoid(beta * first)) + (1 - torch.sigmoid(-beta * second)))
    torch.testing.assert_close(kto(errors, targets, beta).per_pair, expected)
    start, dpo = at_start(), at_start()
    kto(start, torch.ones(3), beta).loss.backward()
    logistic(dpo, torch.ones(3), beta).loss.backward()
    torch.testing.assert_close(start.policy_chosen.grad, dpo.policy_chosen.grad / 4)
    torch.testing.assert_close(start.policy_rejected.grad, dpo.policy_rejected.grad / 4)


def test_ktos_batch_baseline_is_the_authors():
    errors, targets = errors_of(*predictions()), torch.ones(6).double()
    g = 2.0 * torch.cat(
        [
            reward(errors.reference_chosen, errors.policy_chosen, errors.weight),
            reward(errors.reference_rejected, errors.policy_rejected, errors.weight),
        ]
    )
    z = g.mean().clamp_min(0)
    y = torch.tensor([1.0] * 6 + [-1.0] * 6)
    expected = (1 - torch.sigmoid(y * (g - z))).mean()
    torch.testing.assert_close(kto(errors, targets, 2.0, baseline="batch").loss, expected)


def test_ktos_weights_belong_to_liked_and_other_images():
    errors = at_start(size=1)
    out = kto(errors, torch.ones(1), 80.0, weight_chosen=3.0, weight_rejected=1.0)
    assert out.loss.item() == pytest.approx(0.5 * (3 * 0.5 + 0.5))


def test_dspo_equals_its_definition_on_predictions():
    pw, pl, rw, rl = predictions()
    errors, beta, factor = errors_of(pw, pl, rw, rl), 2.0, 0.3
    c = factor * (1 - torch.sigmoid(beta * margin(errors)))
    expected = mean((pw - c[:, None, None, None] * (pw - rw)).square())
    torch.testing.assert_close(dspo(errors, torch.ones(6).double(), beta, factor=factor).per_pair, expected)


def test_dspo_without_factor_is_fine_tuning_on_the_chosen_image():
    errors = errors_of(*predictions())
    torch.testing.assert_close(dspo(errors, torch.ones(6).double(), 9.0, factor=0.0).per_pair, errors.policy_chosen)


def test_dspos_gradient_equals_that_of_its_definition():
    pw, pl, rw, rl = predictions()
    grads = []
    for direct in (True, False):
        w, other = pw.clone().requires_grad_(), pl.clone().requires_grad_()
        errors = errors_of(w, other, rw, rl)
        if direct:
            c = 0.3 * torch.sigmoid(-2.0 * margin(errors))
            mean((w - c[:, None, None, None] * (w - rw)).square()).mean().backward()
        else:
            dspo(errors, torch.ones(6).double(), 2.0, factor=0.3).loss.backward()
        grads.append((w.grad, other.grad))
    for found, expected in zip(grads[1], grads[0], strict=True):
        torch.testing.assert_close(found, expected)


def test_dspo_says_what_it_needs():
    one = torch.ones(2)
    with pytest.raises(TrainingError, match="needs the reference's predictions"):
        dspo(PairErrors(one, one, one, one, one), one, 1.0)


@pytest.mark.parametrize("loss", [logistic, squared, hinge])
@pytest.mark.parametrize("seed", range(4))
def test_the_safeguard_keeps_the_preferred_error_from_rising(loss, seed):
    """Predictions that move together: both images share all parameters, so the first-order condition is exact."""
    generator = torch.Generator().manual_seed(seed)
    w, other = (torch.randn(1, 3, 4, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    other = 3 * (w + 0.3 * other)  # a much larger residual in the same direction

    def rise(safeguard):
        shift = torch.zeros_like(w, requires_grad=True)
        errors = errors_of(w + shift, other + shift, w, other)
        loss(errors, torch.ones(1).double(), 20.0, safeguard=safeguard).loss.backward()
        moved = w - 1e-4 * shift.grad
        return float(mean(moved.square()) - mean(w.square()))

    assert rise(0.0) > 0
    assert rise(1.0) <= 1e-9
    assert rise(2.0) < rise(1.0)


def test_the_safeguard_changes_no_value_and_nothing_where_gradients_oppose():
    errors, targets = errors_of(*predictions()), torch.ones(6).double()
    torch.testing.assert_close(
        logistic(errors, targets, 5.0, safeguard=1.0).per_pair, logistic(errors, targets, 5.0).per_pair
    )
    assert safe_scale(torch.tensor([0.5]), torch.tensor([-0.1])).item() == 1
    with pytest.raises(TrainingError, match="must be 0"):
        logistic(errors, targets, 5.0, safeguard=-1.0)


def test_a_squared_loss_with_a_large_target_pushes_evenly():
    grads = []
    for error in (0.29, 0.31):
        errors = at_start()
        errors = PairErrors(*(getattr(errors, n) for n in ("policy_chosen", "policy_rejected")),
                            torch.full((3,), error), errors.reference_rejected, errors.weight)  # fmt: skip
        squared(errors, torch.full((3,), 1e4), 1.0).loss.backward()
        grads.append(errors.policy_chosen.grad)
    torch.testing.assert_close(grads[0], grads[1], rtol=1e-4, atol=0)


def test_a_method_without_reference_needs_a_loss_without_one():
    from accord.config import MethodConfig

    with pytest.raises(ConfigError, match="against a reference"):
        load_method(MethodConfig(reference="none", loss="logistic"))
