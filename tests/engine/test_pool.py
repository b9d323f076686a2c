"""The pool of processes: same answers whatever their number, errors raised here, finished work kept."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from accord.engine.pool import run_shards
from accord.errors import AccordError, ScoringError


class Square:
    """A worker that can fail, or die."""

    def __init__(self, device: str, offset: int) -> None:
        self.device, self.offset = device, offset

    def __call__(self, shard):
        if shard == "fail":
            raise ScoringError("this shard cannot be scored")
        if shard == "die":
            os._exit(9)
        if isinstance(shard, Path):
            (shard / str(os.getpid())).touch()
            time.sleep(60)
        return shard * shard + self.offset


MAKE = f"{__name__}:Square"


@pytest.mark.parametrize("devices", [["cpu"], ["cpu", "cpu"]])
def test_answers_do_not_depend_on_the_number_of_processes(devices):
    assert sorted(run_shards(MAKE, {"offset": 1}, [1, 2, 3, 4], devices)) == [2, 5, 10, 17]


@pytest.mark.parametrize("devices", [["cpu"], ["cpu", "cpu"]])
def test_an_error_of_a_worker_is_raised_here(devices):
    with pytest.raises(ScoringError, match="this shard cannot be scored"):
        list(run_shards(MAKE, {"offset": 0}, [1, "fail", 2], devices))


def test_a_worker_that_dies_is_one_clear_line():
    with pytest.raises(AccordError, match=r"a worker process died.*finished shards are kept"):
        list(run_shards(MAKE, {"offset": 0}, [1, "die", 2], ["cpu", "cpu"]))


def test_the_thread_limit_is_put_back(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS")
    list(run_shards(MAKE, {"offset": 0}, [1, 2], ["cpu", "cpu"]))
    assert "OMP_NUM_THREADS" not in os.environ


def test_a_killed_run_leaves_no_process_behind(tmp_path):
    run = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from pathlib import Path\n"
        "from accord.engine.pool import run_shards\n"
        "if __name__ == '__main__':\n"
        f"    list(run_shards('test_pool:Square', {{'offset': 0}}, [Path({str(tmp_path)!r})] * 2, ['cpu', 'cpu']))\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", run])
    try:
        assert within(60, lambda: len(list(tmp_path.iterdir())) == 2)
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    children = [int(path.name) for path in tmp_path.iterdir()]
    assert within(20, lambda: not any(is_alive(pid) for pid in children))


def within(seconds: float, holds) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if holds():
            return True
        time.sleep(0.05)
    return False


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not (state.exists() and state.read_text().rpartition(")")[2].split()[0] == "Z")
