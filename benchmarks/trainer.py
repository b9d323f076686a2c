"""Our training step against a plain one: pairs per second, memory, calls of the denoiser, time outside it.

    python benchmarks/trainer.py --output benchmarks/results/trainer.json

Small random models in which VAE and text encoders cost, measured against the denoiser, what the real ones cost at 512
pixels. Every variant is a process of its own with one thread, so that its memory is its own; variants take turns, and
medians are reported. The clock is the process' CPU time: it runs on while the process works, and stands still while it
waits for a core that others hold.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import statistics
import sys
import tempfile
import time
from contextlib import nullcontext
from dataclasses import asdict
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainer_steps import Task

PLAIN, OURS = ("naive", "naive_channels_last"), ("cached", "cached_reference")
OURS_COMPILED = ("cached_compiled", "cached_reference_compiled")
COMPARED: dict[str, tuple[str, str, int, tuple[str, ...]]] = {
    "sd15 lora": ("sd15", "lora", 1, (*PLAIN, *OURS)),
    "sdxl lora": ("sdxl", "lora", 1, (*PLAIN, *OURS)),
    "sd3 lora": ("sd3", "lora", 1, ("naive", *OURS)),  # a transformer: no memory format to choose
    "sd15 full": ("sd15", "full", 1, ("naive", *OURS)),
    "sd15 full x 4": ("sd15", "full", 4, ("naive", *OURS)),
    "sd15 lora smpo": ("sd15", "lora", 1, ("naive", "naive_two_copies", "smpo", "smpo_live")),
}
"""Title -> family, what is trained, forward passes per step of the optimiser, and what is compared. "cached" has
latents and text cached, as every run of ours."""

COMPILED: dict[str, tuple[str, str, int, tuple[str, ...]]] = {
    "sd15 lora compiled": ("sd15", "lora", 1, (*PLAIN, *OURS_COMPILED)),
    "sdxl lora compiled": ("sdxl", "lora", 1, (*PLAIN, *OURS_COMPILED)),
    "sd3 lora compiled": ("sd3", "lora", 1, ("naive", *OURS_COMPILED)),
    "sd15 full compiled": ("sd15", "full", 1, ("naive", *OURS_COMPILED)),
    "sd15 full x 4 compiled": ("sd15", "full", 4, ("naive", *OURS_COMPILED)),
}
"""With `train.compile`, which no plain script does. Only by name: the compiler works for minutes, on a busy machine for
half an hour."""

WARM_UP = 1  # steps before the clock starts; in the first, FLOPs are counted


def work(connection: Connection, task: Task, variant: str) -> None:
    """Make steps when told to, and answer with what they cost. Runs in a process of its own."""
    import torch
    from trainer_models import counter
    from trainer_steps import PAIRS, Clock, naive_steps, our_steps

    torch.set_num_threads(1)
    before = start_of_peak()
    clock = Clock()
    kind = naive_steps if variant.startswith("naive") else our_steps
    made = kind(task, variant, clock)
    with nullcontext() if variant.endswith("_compiled") else counter() as counted:
        next(made)
    while (wanted := connection.recv()) is not None:
        costs = []
        for _ in range(wanted):
            clock.denoiser, clock.calls, clock.samples = 0.0, 0, 0
            cpu, wall = time.process_time(), time.perf_counter()
            next(made)
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
            costs.append({"cpu": cpu, "wall": wall, "outside": cpu - clock.denoiser, "calls": clock.calls})
            costs[-1]["samples_per_pair"] = clock.samples / (PAIRS * task.parts)
        connection.send(costs)
    peak = memory("VmHWM")
    flops = counted.get_total_flops() if counted else None
    connection.send({"peak_mb": peak, "peak_mb_beyond_libraries": peak - before, "flops": flops})


def start_of_peak() -> float:
    """Make Linux forget this process' largest memory, which importing libraries may have needed; return it now, MB."""
    Path("/proc/self/clear_refs").write_text("5")
    return memory("VmRSS")


def memory(field: str) -> float:
    """Return a size of this process in MB: `VmRSS` now, `VmHWM` at its largest."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(field))) / 1024


def compare(family: str, mode: str, parts: int, variants: tuple[str, ...], repeats: int, steps: int) -> dict[str, Any]:
    """Return what each variant costs: the medians over all its steps, taken in turns."""
    from trainer_models import measured_cost, real_cost, save_model
    from trainer_steps import PAIRS, Task, fill_errors, fill_noise, prepare

    with tempfile.TemporaryDirectory() as name:
        task = Task(family, Path(name), mode, parts, WARM_UP + repeats * steps)
        save_model(family, task.folder / "model")
        costs = {"small": asdict(measured_cost(family, task.folder / "model")), "real": asdict(real_cost(family))}
        prepare(family, task.folder)
        if "smpo" in variants:
            fill_noise(task)
        fill_errors(task)
        rows = measure(task, variants, repeats, steps)
    naive = rows["naive"]
    for row in rows.values():
        row["pairs_per_second"] = PAIRS * parts / row["cpu"]
        row["times_naive_in_flops"] = naive["flops"] / row["flops"] if row["flops"] else None
        row["times_naive"] = naive["cpu"] / row["cpu"]
        turns = [theirs / ours for theirs, ours in zip(naive["cpu_by_turn"], row["cpu_by_turn"], strict=True)]
        row["times_naive_by_turn"] = [min(turns), max(turns)]
        row["memory_of_naive"] = row["peak_mb_beyond_libraries"] / naive["peak_mb_beyond_libraries"]
    return {"costs": costs, "variants": rows}


def measure(task: Task, variants: tuple[str, ...], repeats: int, steps: int) -> dict[str, dict[str, Any]]:
    """Return variant -> medians over its steps, the share of its time outside the denoiser, and its memory."""
    context = multiprocessing.get_context("spawn")
    pipes = {variant: context.Pipe() for variant in variants}
    processes = [
        context.Process(target=work, args=(pipes[variant][1], task, variant), daemon=True) for variant in variants
    ]
    for process in processes:
        process.start()
    gathered: dict[str, list[dict[str, float]]] = {variant: [] for variant in variants}
    for turn in range(repeats):
        for variant, (end, _) in pipes.items():
            end.send(steps)
            gathered[variant] += end.recv()
        print(f"{task.family} {task.mode} x {task.parts}: turn {turn + 1} of {repeats}", file=sys.stderr, flush=True)
    rows = {}
    for variant, (end, _) in pipes.items():
        end.send(None)
        found = gathered[variant]
        rows[variant] = {key: statistics.median(cost[key] for cost in found) for key in found[0]} | end.recv()
        outside, cpu = (sum(cost[key] for cost in found) for key in ("outside", "cpu"))
        by_turn = [found[n : n + steps] for n in range(0, len(found), steps)]
        rows[variant] |= {
            "outside_denoiser": outside / cpu,
            "cpu_by_turn": [statistics.median(cost["cpu"] for cost in turn) for turn in by_turn],
        }
    for process in processes:
        process.join()
    return rows


def main() -> None:
    """Compare, print tables, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="JSON file for the figures")
    names: dict[str, Any] = {"nargs": "*", "default": list(COMPARED), "choices": [*COMPARED, *COMPILED]}
    parser.add_argument("--only", **names, help="comparisons to make; the file keeps its figures of the others")
    parser.add_argument("--repeats", type=int, default=5, help="turns of each variant")
    parser.add_argument("--steps", type=int, default=1, help="steps per turn")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    machine = {"processor": processor(), "threads": 1, "python": platform.python_version()}
    known = options.output and options.output.is_file()
    figures = json.loads(options.output.read_text())["figures"] if known else {}  # what is not measured now stays
    for title in options.only:
        figures[title] = compare(*(COMPARED | COMPILED)[title], options.repeats, options.steps)
        show(title, figures[title])
        if options.output:
            options.output.parent.mkdir(parents=True, exist_ok=True)
            options.output.write_text(json.dumps({"machine": machine, "figures": figures}, indent=1) + "\n")


def show(title: str, found: dict[str, Any]) -> None:
    """Print one comparison."""
    from rich.console import Console
    from rich.table import Table

    small, real = found["costs"]["small"], found["costs"]["real"]
    told = f"VAE : denoiser {small['vae']:.2f} (real {real['vae']:.2f}), text {small['text']:.2f} ({real['text']:.2f})"
    head = ["variant", "CPU s a step", "pairs/s", "x naive", "in FLOPs", "MB beyond libraries", "of naive", "calls"]
    rows = Table(*head, "outside", title=f"{title}: {told}", title_justify="left")
    for name, row in found["variants"].items():
        rows.add_row(
            name,
            *(f"{row[key]:.2f}" for key in ("cpu", "pairs_per_second", "times_naive")),
            f"{row['times_naive_in_flops']:.2f}" if row["times_naive_in_flops"] else "",
            f"{row['peak_mb_beyond_libraries']:.0f}",
            f"{row['memory_of_naive']:.2f}",
            f"{row['calls']:.0f}",
            f"{100 * row['outside_denoiser']:.1f} %",
        )
    Console(width=120).print(rows)


def processor() -> str:
    """Return the processor's name."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.is_file() else []
    return next((x.split(":", 1)[1].strip() for x in lines if x.startswith("model name")), platform.processor())


if __name__ == "__main__":
    main()
