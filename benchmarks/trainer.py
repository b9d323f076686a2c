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
from dataclasses import asdict
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

VARIANTS: dict[tuple[str, str], tuple[str, ...]] = {
    ("sd15", "lora"): (
        *("naive", "naive_as_loaded", "naive_two_copies", "cached", "cached_reference"),
        *("smpo", "smpo_live"),
    ),
    ("sdxl", "lora"): ("naive", "cached", "cached_reference"),
    ("sd3", "lora"): ("naive", "cached", "cached_reference"),
    ("sd15", "full"): ("naive", "cached", "cached_reference"),
}
"""Family and what is trained -> what is compared. "cached" has latents and text cached, as every run of ours."""

WARM_UP = 2  # steps before the clock starts


def work(connection: Connection, family: str, folder: Path, variant: str, mode: str, steps: int) -> None:
    """Make steps when told to, and answer with what they cost. Runs in a process of its own."""
    import torch
    from trainer_steps import PAIRS, Clock, naive_steps, our_steps

    torch.set_num_threads(1)
    before = start_of_peak()
    clock = Clock()
    kind = naive_steps if variant.startswith("naive") else our_steps
    made = kind(family, folder, variant, mode, steps, clock)
    while (wanted := connection.recv()) is not None:
        costs = []
        for _ in range(wanted):
            clock.denoiser, clock.calls, clock.samples = 0.0, 0, 0
            cpu, wall = time.process_time(), time.perf_counter()
            next(made)
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
            costs.append({"cpu": cpu, "wall": wall, "outside": cpu - clock.denoiser, "calls": clock.calls})
            costs[-1]["samples_per_pair"] = clock.samples / PAIRS
        connection.send(costs)
    peak = memory("VmHWM")
    connection.send({"peak_mb": peak, "peak_mb_beyond_libraries": peak - before})


def start_of_peak() -> float:
    """Make Linux forget this process' largest memory, which importing libraries may have needed; return it now, MB."""
    Path("/proc/self/clear_refs").write_text("5")
    return memory("VmRSS")


def memory(field: str) -> float:
    """Return a size of this process in MB: `VmRSS` now, `VmHWM` at its largest."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(field))) / 1024


def compare(family: str, mode: str, variants: tuple[str, ...], repeats: int, steps: int) -> dict[str, Any]:
    """Return what each variant costs: the medians over all its steps, taken in turns."""
    from trainer_models import measured_cost, real_cost, save_model
    from trainer_steps import PAIRS, fill_errors, fill_noise, prepare

    total = WARM_UP + repeats * steps
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_model(family, folder / "model")
        costs = {"small": asdict(measured_cost(family, folder / "model")), "real": asdict(real_cost(family))}
        prepare(family, folder)
        if "smpo" in variants:
            fill_noise(family, folder, total)
        if "cached_reference" in variants:
            fill_errors(family, folder, total)
        rows = measure(family, folder, mode, variants, repeats, steps)
    naive = rows["naive"]
    for row in rows.values():
        row["pairs_per_second"] = PAIRS / row["cpu"]
        row["times_naive"] = naive["cpu"] / row["cpu"]
        turns = [theirs / ours for theirs, ours in zip(naive["cpu_by_turn"], row["cpu_by_turn"], strict=True)]
        row["times_naive_by_turn"] = [min(turns), max(turns)]
        row["memory_of_naive"] = row["peak_mb_beyond_libraries"] / naive["peak_mb_beyond_libraries"]
    return {"costs": costs, "variants": rows}


def measure(
    family: str, folder: Path, mode: str, variants: tuple[str, ...], repeats: int, steps: int
) -> dict[str, dict[str, Any]]:
    """Return variant -> medians over its steps, the share of its time outside the denoiser, and its memory."""
    context = multiprocessing.get_context("spawn")
    pipes = {variant: context.Pipe() for variant in variants}
    total = WARM_UP + repeats * steps
    processes = [
        context.Process(target=work, args=(pipes[variant][1], family, folder, variant, mode, total), daemon=True)
        for variant in variants
    ]
    for process in processes:
        process.start()
    gathered: dict[str, list[dict[str, float]]] = {variant: [] for variant in variants}
    for turn in range(repeats + 1):
        for variant, (end, _) in pipes.items():
            end.send(WARM_UP if turn == 0 else steps)
            told = end.recv()
            gathered[variant] += told if turn else []
        print(f"{family} {mode}: turn {turn} of {repeats}", file=sys.stderr, flush=True)
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
    parser.add_argument("--families", nargs="*", default=["sd15", "sdxl", "sd3"])
    parser.add_argument("--modes", nargs="*", default=["lora", "full"])
    parser.add_argument("--repeats", type=int, default=4, help="turns of each variant")
    parser.add_argument("--steps", type=int, default=2, help="steps per turn")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    machine = {"processor": processor(), "threads": 1, "python": platform.python_version()}
    figures = {}
    for (family, mode), variants in VARIANTS.items():
        if family in options.families and mode in options.modes:
            figures[f"{family} {mode}"] = compare(family, mode, variants, options.repeats, options.steps)
            show(f"{family} {mode}", figures[f"{family} {mode}"])
            if options.output:
                options.output.parent.mkdir(parents=True, exist_ok=True)
                options.output.write_text(json.dumps({"machine": machine, "figures": figures}, indent=1) + "\n")


def show(title: str, found: dict[str, Any]) -> None:
    """Print one comparison."""
    from rich.console import Console
    from rich.table import Table

    small, real = found["costs"]["small"], found["costs"]["real"]
    told = f"VAE : denoiser {small['vae']:.2f} (real {real['vae']:.2f}), text {small['text']:.2f} ({real['text']:.2f})"
    head = ("variant", "CPU s a step", "pairs/s", "x naive", "MB beyond libraries", "of naive", "calls", "outside")
    rows = Table(*head, title=f"{title}: {told}", title_justify="left")
    for name, row in found["variants"].items():
        rows.add_row(
            name, f"{row['cpu']:.2f}", f"{row['pairs_per_second']:.2f}", f"{row['times_naive']:.2f}",
            f"{row['peak_mb_beyond_libraries']:.0f}", f"{row['memory_of_naive']:.2f}", f"{row['calls']:.0f}",
            f"{100 * row['outside_denoiser']:.1f} %",
        )  # fmt: skip
    Console(width=120).print(rows)


def processor() -> str:
    """Return the processor's name."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.is_file() else []
    return next((x.split(":", 1)[1].strip() for x in lines if x.startswith("model name")), platform.processor())


if __name__ == "__main__":
    main()
