import contextlib

import pytest
import torch

from accord.errors import TrainingError
from accord.train.ema import Ema


def test_worked_example():
    parameters = {"w": torch.tensor([1.0])}
    ema = Ema(parameters, decay=0.25)
    parameters["w"].fill_(3.0)
    ema.update(1, parameters)  # decay of step 1 is 2/11: 2/11 * 1 + 9/11 * 3
    assert ema.average["w"].item() == pytest.approx(29 / 11)
    ema.update(2, parameters)  # 3/12 = .25: the ramp has reached the decay
    assert ema.average["w"].item() == pytest.approx(0.25 * 29 / 11 + 0.75 * 3)
    ema.update(1000, parameters)
    assert ema.average["w"].item() == pytest.approx(0.25 * (0.25 * 29 / 11 + 0.75 * 3) + 0.75 * 3)


def test_the_loop_averages_what_every_step_has_made(make_run):
    run = make_run(steps=3, ema_decay=0.99)
    state = run.begin()
    expected = {name: tensor.detach().clone() for name, tensor in state.parameters.items()}
    for log in run.train(state):
        decay = (1 + log.step) / (10 + log.step)  # still on the ramp
        for name, tensor in state.parameters.items():
            expected[name] = decay * expected[name] + (1 - decay) * tensor.detach()
            torch.testing.assert_close(state.ema.average[name], expected[name])


def test_it_averages_in_float32_whatever_the_parameters_are():
    parameters = {"w": torch.ones(1, dtype=torch.bfloat16)}
    ema = Ema(parameters, decay=0.999)
    for step in range(10_000, 10_010):  # every step changes less than bfloat16 can hold
        parameters["w"].fill_(2.0)
        ema.update(step, parameters)
    assert ema.average["w"].item() == pytest.approx(2 - 0.999**10, rel=1e-5)


def test_parameters_hold_the_average_within_the_block_and_their_own_values_after_it():
    parameters = {"w": torch.nn.Parameter(torch.tensor([1.0, 2.0]))}
    ema = Ema(parameters, decay=0.5)
    with torch.no_grad():
        parameters["w"].add_(1 / 3)
    own = parameters["w"].detach().clone()
    with contextlib.suppress(KeyError), ema.in_place_of(parameters):
        within = parameters["w"].detach().clone()
        raise KeyError
    assert torch.equal(within, torch.tensor([1.0, 2.0]))
    assert torch.equal(parameters["w"].detach(), own)


def test_an_average_of_other_parameters_is_refused():
    with pytest.raises(TrainingError, match="other parameters"):
        Ema({"w": torch.ones(1)}, 0.5).load({"v": torch.ones(1)})
