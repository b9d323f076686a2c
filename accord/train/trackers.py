"""Experiment trackers, through accelerate's own: TensorBoard by default, Weights & Biases if asked for.

They are for looking on; the record of a run is its `log.jsonl`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from accord.errors import MissingDependency
from accord.types import StepLog

Track = Callable[[StepLog], None]


@contextmanager
def open_trackers(names: Sequence[str], folder: Path, config: Mapping[str, Any], every: int) -> Iterator[Track]:
    """Give `track(log)`, which tells each tracker about every `every`-th step, and close them at the end.

    Raises MissingDependency if a tracker's package is not installed.
    """
    with ExitStack() as open_ones:
        trackers = [_open(name, folder, config) for name in names]
        for tracker in trackers:
            open_ones.callback(tracker.finish)

        def track(log: StepLog) -> None:
            if log.step % every == 0:
                for tracker in trackers:
                    tracker.log(_scalars(log), step=log.step)

        yield track


def _open(name: str, folder: Path, config: Mapping[str, Any]) -> Any:
    from accelerate import tracking

    if name == "tensorboard":
        tracker: Any = tracking.TensorBoardTracker(run_name="tensorboard", logging_dir=folder)
    else:
        if not tracking.is_wandb_available():
            raise MissingDependency("log.trackers names 'wandb', which is not installed: pip install wandb")
        tracker = tracking.WandBTracker(run_name=folder.parent.name, dir=str(folder), config=dict(config))
    tracker.start()
    return tracker


def _scalars(log: StepLog) -> dict[str, float]:
    values = {"loss": log.loss, "learning_rate": log.learning_rate, "gradient_norm": log.gradient_norm}
    return {**values, "seconds_per_step": log.seconds, **{f"pairs/{key}": value for key, value in log.metrics.items()}}
