"""Which device the run file means, on machines with several GPUs that are only pretended."""

import pytest
import torch

from accord.config import Config
from accord.engine import pool
from accord.engine.devices import stay_on, training_device, worker_devices
from accord.engine.training import make_accelerator
from accord.errors import ConfigError
from accord.stages.train import require_shareable


@pytest.fixture
def chosen(monkeypatch):
    """Pretend two GPUs; gives the list of those that were made the process's own."""
    numbers: list[str] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", numbers.append)
    return numbers


@pytest.mark.parametrize(("asked", "found"), [("auto", "cuda"), ("cuda", "cuda"), ("cuda:1", "cuda:1"), ("cpu", "cpu")])
def test_a_device_is_what_was_asked_for(chosen, asked, found):
    assert training_device(asked) == found


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("gpu", "needs auto, cpu, cuda, cuda:1, ... or mps; found 'gpu'"),
        ("mps", "'mps', but torch finds no such device"),
    ],
)
def test_a_device_of_no_known_name_or_of_another_machine_is_refused(device, message, monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=message):
        training_device(device)


def test_a_gpu_that_is_not_there_is_refused(chosen):
    with pytest.raises(ConfigError, match=r"'cuda:2', but torch finds 2 CUDA device"):
        training_device("cuda:2")


@pytest.mark.parametrize(("asked", "workers"), [("auto", ["cuda:0", "cuda:1"]), ("cuda:1", ["cuda:1"])])
def test_drawing_takes_all_gpus_unless_one_is_named(chosen, asked, workers):
    assert worker_devices(asked, 0) == workers


@pytest.mark.parametrize(("device", "numbers"), [("cuda:1", ["cuda:1"]), ("cuda", []), ("cpu", []), ("mps", [])])
def test_only_a_gpu_by_its_number_becomes_the_process_s_own(chosen, device, numbers):
    stay_on(device)
    assert chosen == numbers


def test_training_stays_on_the_gpu_that_is_named(chosen, monkeypatch):
    monkeypatch.setattr("accelerate.Accelerator", lambda **_: None)
    make_accelerator(Config(), "cuda:1")
    assert chosen == ["cuda:1"]


def test_a_worker_process_stays_on_its_gpu(chosen, monkeypatch):
    monkeypatch.setattr(pool, "_load", lambda _: lambda device: device)
    monkeypatch.setattr(pool, "_worker", None)
    pool._start("any:worker", {}, "cuda:1")
    assert chosen == ["cuda:1"]


def test_several_processes_cannot_share_a_gpu(chosen, monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="which need a GPU each"):
        require_shareable(Config(model={"device": "cuda:1"}))
    require_shareable(Config(model={"device": "cuda"}))
