"""The pool of processes: same answers whatever their number, errors raised here, finished work kept."""

import os

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
