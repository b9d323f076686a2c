import pytest
import torch

from accord.diffusion.weighting import sigmoid, uniform, velocity


def test_uniform_weighs_all_alike():
    assert uniform(torch.tensor([-5.0, 0.0, float("inf")])).tolist() == [1.0, 1.0, 1.0]


def test_sigmoid_is_one_half_at_its_bias_and_falls_with_signal():
    log_snr = torch.linspace(-10, 10, 101)
    weight = sigmoid(log_snr, bias=2.0)
    assert (weight.diff() < 0).all()
    torch.testing.assert_close(sigmoid(torch.tensor([2.0]), bias=2.0), torch.tensor([0.5]))


def test_sigmoid_has_limits_at_pure_signal_and_pure_noise():
    assert sigmoid(torch.tensor([float("inf"), float("-inf")])).tolist() == [0.0, 1.0]


def test_velocity_turns_an_error_of_the_noise_into_one_of_the_flow():
    generator = torch.Generator().manual_seed(0)
    x0, noise, wrong = torch.randn((3, 7, 4), generator=generator)
    alpha = torch.linspace(0.1, 0.95, 7)[:, None]
    sigma = (1 - alpha**2).sqrt()
    t = sigma / (alpha + sigma)
    x_t = (alpha * x0 + sigma * noise) / (alpha + sigma)
    torch.testing.assert_close(x_t, (1 - t) * x0 + t * noise)
    velocity_of_wrong = (wrong - x_t) / (1 - t)  # eps = x_t + (1 - t) v
    error = ((velocity_of_wrong - (noise - x0)) ** 2).mean(1)
    weight = velocity(2 * (alpha / sigma).log()[:, 0])
    torch.testing.assert_close(weight * ((wrong - noise) ** 2).mean(1), error)


def test_velocity_has_limits_at_pure_signal_and_pure_noise():
    infinite = torch.tensor([float("inf"), float("-inf")])
    assert velocity(infinite).tolist() == [1.0, 1000.0]
    assert velocity(infinite, largest=50.0).tolist() == [1.0, 50.0]


def test_velocity_is_nowhere_cut_on_the_schedule_of_stable_diffusion():
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    alpha_bar = torch.cumprod(1 - betas, 0)
    weight = velocity((alpha_bar / (1 - alpha_bar)).log())
    assert (weight.diff() > 0).all()
    assert weight.max().item() == pytest.approx(244, abs=1)
