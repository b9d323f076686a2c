"""From two predictions to what a loss reads, with numbers worked by hand."""

import pytest
import torch

from accord.train.denoising import Denoised, pair_errors


def residuals(*values):
    """Return residuals (2B, 1, 1, 2), both numbers of an image the same."""
    return torch.tensor(values)[:, None, None, None].expand(-1, 1, 1, 2).clone().requires_grad_()


def test_errors_distances_and_product_are_all_in_the_same_space():
    """One pair: the policy is off by 3 and 2, the reference by 1 and 1, and errors count with a factor of 0.25."""
    factor, weight = torch.tensor([0.25, 0.25]), torch.tensor([1.0])
    policy, reference = (
        Denoised(found.detach().square().mean((1, 2, 3)) * factor, found)
        for found in (residuals(3.0, 2.0), residuals(1.0, 1.0))
    )
    errors = pair_errors(policy, reference, factor, weight)
    assert errors.policy_chosen.tolist() == [2.25]
    assert errors.reference_rejected.tolist() == [0.25]
    assert errors.distance_chosen.tolist() == [pytest.approx(0.25 * (3 - 1) ** 2)]
    assert errors.distance_rejected.tolist() == [pytest.approx(0.25 * (2 - 1) ** 2)]
    assert errors.residual_product.tolist() == [pytest.approx(0.25 * 3 * 2)]
    assert not errors.residual_product.requires_grad
