"""Checkpoints: a folder `step-00000100` with the state's tensors and one JSON file, whole or absent.

    state.safetensors   parameter/NAME, optimizer/NAME/KEY, ema/NAME, reference/NAME
    checkpoint.json     step, SHA-256 of the tensors, the optimiser's plain numbers, loss scale, what the run is

No pickle: reading a checkpoint runs no code. A run that continues from one computes what it would have computed
without stopping, bit for bit on a CPU: everything else it needs is a function of the step.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from accord.errors import ArtifactError, StaleArtifact
from accord.files import TEMPORARY, explaining, read_json, remove_temporary, replacing, sha256, write_json
from accord.manifest import plain
from accord.train.loss_scale import LossScale
from accord.train.sharding import shared_like, whole
from accord.train.state import TrainState

TENSORS, FACTS = "state.safetensors", "checkpoint.json"


def save_checkpoint(
    folder: Path, state: TrainState, identity: Mapping[str, Any], keep: int = 2, is_writer: bool = True
) -> Path:
    """Write the state as the newest checkpoint in `folder`, remove all but the newest `keep`, and return its path.

    `identity` is what the run is (settings, pairs, model), as JSON values; only a run that is the same can load it.
    All processes call this, because each may hold a share of the state; one writes. A checkpoint does not say how the
    state was shared out: it can be taken up by another number of processes.
    """
    path = folder / f"step-{state.step:08d}"
    tensors, numbers = _gather(state, is_writer)
    if not is_writer:
        return path
    with explaining(path):
        folder.mkdir(parents=True, exist_ok=True)
        remove_temporary(folder)
        temporary = folder / f".{path.name}{TEMPORARY}"
        with replacing(temporary / TENSORS) as file:
            save_file(tensors, file)
        facts = {"step": state.step, "sha256": sha256(temporary / TENSORS), "optimizer": numbers, "identity": identity}
        if state.loss_scale.is_needed:
            facts["loss_scale"] = asdict(state.loss_scale)
        write_json(temporary / FACTS, facts)
        _remove(path)
        os.replace(temporary, path)
        for old in checkpoints(folder)[:-keep]:
            _remove(old)
    return path


def checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints in `folder`, oldest first. What a killed process left half written is not among them."""
    return sorted(folder.glob("step-*"))


def load_checkpoint(folder: Path, state: TrainState, identity: Mapping[str, Any]) -> Path | None:
    """Put the newest checkpoint of `folder` into `state`, which has just begun; return its path, None if there is none.

    Raises ArtifactError if the newest is damaged, naming the newest undamaged one, and StaleArtifact if it belongs to
    another run.
    """
    if not checkpoints(folder):
        return None
    path = checkpoints(folder)[-1]
    problem = damage(path)
    if problem:
        good = next((old for old in reversed(checkpoints(folder)[:-1]) if not damage(old)), None)
        rest = f"continue from {good}, the newest undamaged one" if good else "start again: there is no undamaged one"
        raise ArtifactError(f"checkpoint {path} is damaged: {problem}. Delete {path.name} to {rest}")
    facts = read_json(path / FACTS)
    _require_same(path, facts["identity"], plain(dict(identity)))
    tensors = load_file(path / TENSORS)
    _require_fitting(path, _below(tensors, "parameter"), state.parameters)
    _restore(state, tensors, facts["optimizer"])
    state.step = facts["step"]
    if state.loss_scale.is_needed:
        state.loss_scale = LossScale(**facts["loss_scale"])
    return path


def damage(path: Path) -> str:
    """Return what is wrong with a checkpoint's files, or an empty text."""
    try:
        expected = read_json(path / FACTS)["sha256"]
        found = sha256(path / TENSORS)
    except (ArtifactError, OSError, KeyError, TypeError) as error:
        return str(error)
    return "" if found == expected else f"{TENSORS} has SHA-256 {found[:12]}..., not {expected[:12]}..."


def _gather(state: TrainState, is_kept: bool) -> tuple[dict[str, Tensor], dict[str, dict[str, Any]]]:
    """Return the state's tensors by their names in the file, and the optimiser's plain numbers by parameter."""
    tensors: dict[str, Tensor] = {f"parameter/{name}": tensor for name, tensor in state.parameters.items()}
    numbers: dict[str, dict[str, Any]] = {}
    for name, parameter in state.parameters.items():
        for key, value in state.optimizer.state[parameter].items():
            if isinstance(value, Tensor):
                tensors[f"optimizer/{name}/{key}"] = value
            else:
                numbers.setdefault(name, {})[key] = value
    if state.ema:
        tensors |= {f"ema/{name}": tensor for name, tensor in state.ema.average.items()}
    tensors |= {f"reference/{name}": tensor for name, tensor in state.reference.state().items()}
    found = {}
    for name, tensor in tensors.items():
        gathered = whole(tensor.detach())  # by all processes, one tensor at a time
        if is_kept:  # a copy each: safetensors refuses tensors that share memory, as an 8-bit optimiser's tables do
            found[name] = gathered.cpu().clone().contiguous()
    return found, numbers


def _restore(state: TrainState, tensors: Mapping[str, Tensor], numbers: Mapping[str, dict[str, Any]]) -> None:
    """Put tensors and numbers back to where `_gather` found them."""
    parts = {part: _below(tensors, part) for part in ("parameter", "optimizer", "ema", "reference")}
    moments: dict[str, dict[str, Any]] = {name: dict(numbers.get(name, {})) for name in state.parameters}
    for key, tensor in parts["optimizer"].items():
        name, _, field = key.rpartition("/")
        moments[name][field] = _laid_out_like(state.parameters[name], tensor)
    with torch.no_grad():
        for name, parameter in state.parameters.items():
            parameter.copy_(shared_like(parts["parameter"][name], parameter))
    groups = state.optimizer.state_dict()["param_groups"]
    ordered = {index: moments[name] for index, name in enumerate(state.parameters) if moments[name]}
    state.optimizer.load_state_dict({"state": ordered, "param_groups": groups})
    if state.ema:
        own = state.ema.average
        state.ema.load({name: shared_like(tensor, own[name]) for name, tensor in parts["ema"].items() if name in own})
    state.reference.load_state(parts["reference"])


def _laid_out_like(parameter: Tensor, tensor: Tensor) -> Tensor:
    """Return the tensor with the parameter's strides (convolutions may have their channels last).

    Safetensors keeps values, not strides, and torch's fused AdamW pairs up values by their place in memory: moments
    laid out otherwise than their parameter would silently be those of other weights.
    """
    if tensor.shape != parameter.shape:
        return tensor
    tensor = shared_like(tensor, parameter)
    return torch.empty_like(parameter, dtype=tensor.dtype, requires_grad=False).copy_(tensor)


def _below(tensors: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    return {name.removeprefix(f"{part}/"): tensor for name, tensor in tensors.items() if name.startswith(f"{part}/")}


def _require_same(path: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    before, now = _leaves(found), _leaves(wanted)
    changed = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
    if changed:
        differences = "; ".join(f"{key} was {before.get(key)!r} and is now {now.get(key)!r}" for key in changed)
        raise StaleArtifact(
            f"checkpoint {path} belongs to another run: {differences}. "
            f"Restore the settings, or delete {path.parent} to start again"
        )


def _require_fitting(path: Path, found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    shapes = [{name: tuple(tensor.shape) for name, tensor in tensors.items()} for tensors in (found, wanted)]
    odd = sorted(name for name in found.keys() | wanted.keys() if shapes[0].get(name) != shapes[1].get(name))
    if odd:
        raise StaleArtifact(
            f"checkpoint {path} holds other parameters than the policy trains: {odd[0]} is {shapes[0].get(odd[0])} "
            f"there and {shapes[1].get(odd[0])} here ({len(odd)} such); delete {path.parent} to start again"
        )


def _leaves(value: Any, name: str = "") -> dict[str, Any]:
    """Return `a.b` -> value for every plain value of nested mappings."""
    if not isinstance(value, Mapping):
        return {name: value}
    return {
        leaf: inner_value
        for key, inner in value.items()
        for leaf, inner_value in _leaves(inner, f"{name}.{key}" if name else str(key)).items()
    }


def _remove(path: Path) -> None:
    """Remove a checkpoint; one that is half removed when the process dies no longer looks like a checkpoint."""
    if path.is_dir():
        gone = path.with_name(f".{path.name}.old{TEMPORARY}")
        os.replace(path, gone)
        shutil.rmtree(gone)
