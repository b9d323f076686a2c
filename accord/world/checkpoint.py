"""Interrupted training goes on where it was: tensors in safetensors files, and the step in a JSON file written last."""

import json
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

from accord.errors import TrainingError
from accord.world.parallel import rank, wait_for_all, workers


@dataclass(frozen=True)
class Mark:
    """Where training stands: steps done and seconds spent on them, interruptions left out."""

    step: int
    seconds: float


def save_checkpoint(folder: Path, mark: Mark, tensors: dict[str, Tensor]) -> None:
    """Save the `tensors` of every worker, then the mark, then remove the former checkpoint. Call on all workers."""
    target = _tensor_file(folder, mark.step, rank())
    part = target.with_suffix(".part")
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, part)
    part.rename(target)
    wait_for_all()
    if rank() == 0:
        facts = {"step": mark.step, "seconds": mark.seconds, "workers": workers()}
        part = folder / "checkpoint.json.part"
        part.write_text(json.dumps(facts), encoding="utf-8")
        part.rename(folder / "checkpoint.json")
        for old in folder.glob("checkpoint-*.safetensors"):
            if not old.name.startswith(f"checkpoint-{mark.step}-"):
                old.unlink()


def load_checkpoint(folder: Path) -> tuple[Mark, dict[str, Tensor]] | None:
    """The mark and this worker's tensors, or None where training has not begun.

    Raises TrainingError if the number of workers has changed, because each of them holds a part of the optimiser.
    """
    file = folder / "checkpoint.json"
    if not file.exists():
        return None
    facts = json.loads(file.read_text(encoding="utf-8"))
    if facts["workers"] != workers():
        raise TrainingError(
            f"{folder} was trained with {facts['workers']} workers and cannot go on with {workers()}; "
            "use the same number, or an empty folder"
        )
    return Mark(facts["step"], facts["seconds"]), load_file(_tensor_file(folder, facts["step"], rank()))


def _tensor_file(folder: Path, step: int, worker: int) -> Path:
    return folder / f"checkpoint-{step}-{worker}.safetensors"
