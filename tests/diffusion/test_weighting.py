import torch

from accord.diffusion.weighting import sigmoid, uniform


def test_uniform_weighs_all_alike():
    assert uniform(torch.tensor([-5.0, 0.0, float("inf")])).tolist() == [1.0, 1.0, 1.0]


def test_sigmoid_is_one_half_at_its_bias_and_falls_with_signal():
    log_snr = torch.linspace(-10, 10, 101)
    weight = sigmoid(log_snr, bias=2.0)
    assert (weight.diff() < 0).all()
    torch.testing.assert_close(sigmoid(torch.tensor([2.0]), bias=2.0), torch.tensor([0.5]))


def test_sigmoid_has_limits_at_pure_signal_and_pure_noise():
    assert sigmoid(torch.tensor([float("inf"), float("-inf")])).tolist() == [0.0, 1.0]
