import numpy as np
import pytest
import torch

from accord.diffusion.timesteps import logit_normal, uniform
from accord.errors import ModelError

GRID = (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000


def test_uniform_is_the_identity():
    assert torch.equal(uniform(GRID), GRID)


@pytest.mark.parametrize("sampling", [uniform, logit_normal])
def test_the_ends_of_the_unit_interval_stay_strictly_inside(sampling):
    fractions = sampling(torch.tensor([0.0, 2.0**-53, 1 - 2.0**-53], dtype=torch.float64))
    assert ((fractions > 0) & (fractions < 1)).all()
    assert (fractions.diff() > 0).all()


@pytest.mark.parametrize("sampling", [uniform, logit_normal])
@pytest.mark.parametrize("u", [-0.1, 1.0, float("nan")])
def test_numbers_outside_the_unit_interval_are_refused(sampling, u):
    with pytest.raises(ModelError, match=r"in \[0, 1\)"):
        sampling(torch.tensor([u]))


def test_logit_normal_has_a_normal_logit():
    logits = torch.logit(logit_normal(GRID, mean=0.5, std=2.0))
    np.testing.assert_allclose(logits.mean(), 0.5, atol=1e-3)
    np.testing.assert_allclose(logits.std(), 2.0, atol=1e-3)
    inside = ((logits - 0.5).abs() < 2.0).double().mean()  # within one standard deviation
    np.testing.assert_allclose(inside, 0.6827, atol=1e-3)


def test_logit_normal_keeps_the_order():
    assert (logit_normal(GRID).diff() > 0).all()
