import importlib.util
import sys
from dataclasses import replace

import pytest
import torch

from accord.errors import MissingDependency, TrainingError
from accord.train.checkpoint import load_checkpoint, save_checkpoint
from accord.train.optimizer import make_optimizer
from accord.train.settings import TrainSettings

SETTINGS = TrainSettings(steps=1, batch_size=1, beta=1.0, learning_rate=0.5, weight_decay=0.1)
HAS_BITSANDBYTES = importlib.util.find_spec("bitsandbytes") is not None


def test_adamw_is_torchs_with_the_settings_numbers():
    values = torch.linspace(-1, 1, 5)
    ours, theirs = (torch.nn.Parameter(values.clone()) for _ in range(2))
    optimizers = make_optimizer([ours], SETTINGS), torch.optim.AdamW([theirs], lr=0.5, weight_decay=0.1, foreach=False)
    for step in range(3):
        for parameter, optimizer in zip((ours, theirs), optimizers, strict=True):
            parameter.grad = values * (step + 1)
            optimizer.step()
    torch.testing.assert_close(ours, theirs)
    assert not torch.equal(ours, values)


def test_an_unknown_name_is_refused():
    with pytest.raises(TrainingError, match="no optimizer is called 'adam'; did you mean 'adamw'"):
        make_optimizer([torch.nn.Parameter(torch.ones(1))], replace(SETTINGS, optimizer="adam"))


def test_a_missing_bitsandbytes_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim", None)
    with pytest.raises(MissingDependency, match="pip install bitsandbytes"):
        make_optimizer([torch.nn.Parameter(torch.ones(1))], replace(SETTINGS, optimizer="adamw8bit"))


@pytest.mark.skipif(not HAS_BITSANDBYTES, reason="bitsandbytes is not installed")
def test_a_resumed_8_bit_run_equals_one_that_did_not_stop(make_run, tmp_path):
    settings = {"optimizer": "adamw8bit", "steps": 6}
    run = make_run("lora", hidden=2048, **settings)
    state = run.begin()
    losses = []
    for log in run.train(state):
        losses.append(log.loss)
        if log.step == 3:
            save_checkpoint(tmp_path, state, {})
    moments = [value for parameter in state.parameters.values() for value in state.optimizer.state[parameter].values()]
    assert any(isinstance(value, torch.Tensor) and value.dtype == torch.uint8 for value in moments)
    again = make_run("lora", hidden=2048, **settings)
    resumed = again.begin()
    load_checkpoint(tmp_path, resumed, {})
    assert [log.loss for log in again.train(resumed)] == losses[3:]
    for name, parameter in state.parameters.items():
        assert torch.equal(parameter, resumed.parameters[name]), name
