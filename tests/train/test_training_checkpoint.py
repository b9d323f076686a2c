import json
import os
import shutil
from dataclasses import asdict, replace
from pkgutil import resolve_name
from signal import SIGKILL

import pytest
import torch
from safetensors import SafetensorError

from accord.errors import ArtifactError, StaleArtifact
from accord.train.checkpoint import checkpoints, load_checkpoint, save_checkpoint
from accord.train.reference import Frozen
from accord.train.steplog import step_log

IDENTITY = {"settings": {"loss": "squared", "beta": 20.0, "targets": ["a"]}, "pairs": "abc"}


def everything(state):
    """Return every number that the state holds, by name."""
    tensors = {f"parameter {name}": parameter.detach().clone() for name, parameter in state.parameters.items()}
    for name, parameter in state.parameters.items():
        for key, value in state.optimizer.state[parameter].items():
            tensors[f"optimizer {name} {key}"] = torch.as_tensor(value).clone()
    if state.ema:
        tensors |= {f"ema {name}": tensor.clone() for name, tensor in state.ema.average.items()}
    return tensors


def numbers(log):
    """Return a log without what the clock says."""
    return {**asdict(log), "seconds": None}


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name


@pytest.mark.parametrize(
    ("mode", "settings"),
    [
        ("lora", {}),
        ("full", {}),
        ("lora", {"gradient_accumulation": 2, "decay": "cosine", "weight_decay": 0.01}),
        ("full", {"gradient_accumulation": 4, "ema_decay": 0.0}),
    ],
)
def test_a_run_that_stopped_at_any_step_equals_one_that_did_not_bit_for_bit(make_run, tmp_path, mode, settings):
    whole = make_run(mode, **settings)
    state = whole.begin()
    logs = []
    for log in whole.train(state):
        logs.append(numbers(log))
        save_checkpoint(tmp_path / f"at-{log.step}", state, IDENTITY)
    expected = everything(state)
    assert any(name.startswith("ema") for name in expected) is (settings.get("ema_decay") is None)
    for stop in (1, 2, 5, 11):  # within and after the warm-up, within and after the first epoch
        run = make_run(mode, **settings)
        torch.manual_seed(stop)
        resumed = run.begin()
        assert load_checkpoint(tmp_path / f"at-{stop}", resumed, IDENTITY).name == f"step-{stop:08d}"
        assert resumed.step == stop
        assert [numbers(log) for log in run.train(resumed)] == logs[stop:]
        assert_same(everything(resumed), expected)


def test_saving_changes_nothing_and_is_the_same_bytes_again(make_run, tmp_path):
    run = make_run(steps=2)
    state = run.begin()
    next(run.train(state))
    before = everything(state)
    paths = [save_checkpoint(tmp_path / name, state, IDENTITY) for name in ("a", "b")]
    assert_same(everything(state), before)
    assert sorted(file.name for file in paths[0].iterdir()) == ["checkpoint.json", "state.safetensors"]
    for file in paths[0].iterdir():
        assert file.read_bytes() == (paths[1] / file.name).read_bytes()


def saved(make_run, folder, steps=4, keep=3):
    run = make_run(steps=steps)
    state = run.begin()
    for _ in run.train(state):
        save_checkpoint(folder, state, IDENTITY, keep)
    return run


def test_only_the_newest_are_kept_and_half_written_ones_are_not_seen(make_run, tmp_path):
    (tmp_path / ".step-00000009.tmp").mkdir()
    (tmp_path / ".step-00000009.tmp" / "state.safetensors").write_bytes(b"half")
    assert checkpoints(tmp_path) == []
    saved(make_run, tmp_path, steps=4, keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000003", "step-00000004"]
    run = make_run()
    state = run.begin()
    (tmp_path / ".step-00000005.tmp").mkdir()
    assert load_checkpoint(tmp_path, state, IDENTITY) == tmp_path / "step-00000004"


MOMENTS = ("save_file", "sha256", "write_json", "_remove", "os.replace", "checkpoints")
"""What saving calls in turn; `checkpoints` to see which are too many."""


def die_at(name, is_done, monkeypatch):
    """Let this process be killed when it calls a function, before the call or once it is done."""
    call = resolve_name(name)

    def die(*given):
        if is_done:
            call(*given)
        os.kill(os.getpid(), SIGKILL)

    monkeypatch.setattr(name, die)


@pytest.mark.parametrize("is_done", [False, True])
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_kill_while_saving_loses_nothing_saved_before(make_run, tmp_path, monkeypatch, moment, is_done):
    """The process dies before or after each call, without a chance to clean up."""
    run = make_run(steps=4)
    state = run.begin()
    logs = []
    for log in run.train(state):
        logs.append(numbers(log))
        if log.step < 3:
            save_checkpoint(tmp_path, state, IDENTITY, keep=1)
        elif log.step == 3:
            child = os.fork()
            if child == 0:
                die_at(f"accord.train.checkpoint.{moment}", is_done, monkeypatch)
                save_checkpoint(tmp_path, state, IDENTITY, keep=1)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -SIGKILL
    again = make_run(steps=4)
    resumed = again.begin()
    assert load_checkpoint(tmp_path, resumed, IDENTITY) is not None
    rest = logs[resumed.step :]
    assert [numbers(log) for log in again.train(resumed)] == rest
    assert_same(everything(resumed), everything(state))
    save_checkpoint(tmp_path, resumed, IDENTITY, keep=1)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000004"]  # what the kill left is cleared away


def test_a_full_disk_keeps_the_checkpoints_there_are(make_run, tmp_path, monkeypatch):
    saved(make_run, tmp_path, steps=2)
    state = make_run(steps=2).begin()
    load_checkpoint(tmp_path, state, IDENTITY)
    state.step = 3

    def full(tensors, path):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("accord.train.checkpoint.save_file", full)
    with pytest.raises(ArtifactError, match=r"the disk is full: \S*step-00000003\S* could not be written"):
        save_checkpoint(tmp_path, state, IDENTITY)
    assert [path.name for path in checkpoints(tmp_path)] == ["step-00000001", "step-00000002"]


def test_without_a_checkpoint_nothing_is_loaded(make_run, tmp_path):
    state = make_run().begin()
    before = everything(state)
    assert load_checkpoint(tmp_path / "absent", state, IDENTITY) is None
    assert state.step == 0
    assert_same(everything(state), before)


def test_the_same_step_can_be_saved_again(make_run, tmp_path):
    run = make_run(steps=2)
    state = run.begin()
    next(run.train(state))
    save_checkpoint(tmp_path, state, {"pairs": "other"})
    save_checkpoint(tmp_path, state, IDENTITY)
    assert load_checkpoint(tmp_path, make_run(steps=2).begin(), IDENTITY) == tmp_path / "step-00000001"


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize(
    "harm",
    [
        lambda path: flip_a_bit(path / "state.safetensors"),
        lambda path: (path / "state.safetensors").unlink(),
        lambda path: (path / "checkpoint.json").unlink(),
        lambda path: (path / "checkpoint.json").write_text("{"),
        lambda path: (path / "checkpoint.json").write_text("[]"),
    ],
)
def test_damage_is_found_and_the_newest_good_one_is_named(make_run, tmp_path, harm):
    saved(make_run, tmp_path)
    harm(tmp_path / "step-00000004")
    flip_a_bit(tmp_path / "step-00000003" / "state.safetensors")
    state = make_run(steps=4).begin()
    before = everything(state)
    expected = r"step-00000004 is damaged: .*Delete step-00000004 to continue from \S*step-00000002, the newest"
    with pytest.raises(ArtifactError, match=expected):
        load_checkpoint(tmp_path, state, IDENTITY)
    assert_same(everything(state), before)
    for step in (3, 4):
        shutil.rmtree(tmp_path / f"step-0000000{step}")
    assert load_checkpoint(tmp_path, state, IDENTITY).name == "step-00000002"


def test_damage_of_the_only_checkpoint_says_so(make_run, tmp_path):
    saved(make_run, tmp_path, keep=1)
    flip_a_bit(tmp_path / "step-00000004" / "state.safetensors")
    with pytest.raises(ArtifactError, match="to start again: there is no undamaged one"):
        load_checkpoint(tmp_path, make_run().begin(), IDENTITY)


def test_another_run_s_checkpoint_is_refused_with_the_differences(make_run, tmp_path):
    saved(make_run, tmp_path)
    other = {"settings": {**IDENTITY["settings"], "beta": 30.0}, "pairs": "abc", "model": "m"}
    with pytest.raises(
        StaleArtifact, match=r"model was None and is now 'm'; settings\.beta was 20\.0 and is now 30\.0\."
    ):
        load_checkpoint(tmp_path, make_run().begin(), other)
    with pytest.raises(StaleArtifact, match=r"other parameters than the policy trains: \S+ is"):
        load_checkpoint(tmp_path, make_run("full").begin(), IDENTITY)


def test_what_a_reference_remembers_is_saved_and_put_back(make_run, method, tmp_path):
    class Counting(Frozen):
        def __init__(self, policy):
            super().__init__(policy)
            self.seen = torch.zeros(1)

        def after_step(self, step, policy):
            self.seen += step

        def state(self):
            return {"seen": self.seen}

        def load_state(self, state):
            self.seen = state["seen"]

    run = make_run(steps=3, method=replace(method, reference=Counting))
    state = run.begin()
    list(run.train(state))
    save_checkpoint(tmp_path, state, IDENTITY)
    resumed = make_run(steps=3, method=replace(method, reference=Counting)).begin()
    load_checkpoint(tmp_path, resumed, IDENTITY)
    assert resumed.reference.seen.item() == 6


def test_the_json_says_what_the_checkpoint_is(make_run, tmp_path):
    saved(make_run, tmp_path, keep=1)
    facts = json.loads((tmp_path / "step-00000004" / "checkpoint.json").read_text())
    assert facts["step"] == 4
    assert facts["identity"] == IDENTITY
    assert len(facts["sha256"]) == 64


def test_a_log_separates_metrics_from_loss_and_norm():
    log = step_log(3, {"loss": 0.5, "margin": 0.1, "gradient_norm": 2.0}, {}, 1e-4, 0.25)
    assert (log.step, log.loss, log.metrics, log.learning_rate) == (3, 0.5, {"margin": 0.1}, 1e-4)
    assert (log.gradient_norm, log.seconds) == (2.0, 0.25)
