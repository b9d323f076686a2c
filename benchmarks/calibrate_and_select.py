"""How long calibration and selection take, how much memory, and how both grow.

    python benchmarks/calibrate_and_select.py --output benchmarks/results/calibrate_and_select.json

Each measurement is a process of its own, so that its largest memory is its own. Random scores of P prompts with 16
images and 3 scorers.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import resource
import time
from datetime import date
from pathlib import Path

NUM_IMAGES, NUM_SCORERS = 16, 3
SIZES = (1_000, 10_000, 100_000)
RULES = {
    "win_rate": "calibrations", "z_score": "calibrations", "rank": "calibrations", "raw": "calibrations",
    "best_worst": "selectors", "frontier": "selectors", "frontier_best": "selectors", "random": "selectors",
}  # fmt: skip


def measure(kind: str, name: str, num_prompts: int) -> tuple[float, float]:
    """Return seconds of the best of three runs, and the largest memory beyond the input as a multiple of the input."""
    import numpy as np

    from accord import registry
    from accord.types import GroupedScores

    scores = np.random.default_rng(0).normal(size=(num_prompts, NUM_IMAGES, NUM_SCORERS))
    rule = registry.load(kind, name)
    ids = np.array([[f"{p}-{n}" for n in range(NUM_IMAGES)] for p in range(num_prompts)], dtype=object)
    pool = GroupedScores(tuple(f"p{p}" for p in range(num_prompts)), ids, ("a", "b", "c"), scores)
    arguments = (scores, np.ones(NUM_SCORERS)) if kind == "calibrations" else (scores, pool)
    if kind == "calibrations":
        rule(scores[:8], arguments[1])  # imports and thread pools are not what is measured
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        rule(*arguments)
        seconds.append(time.perf_counter() - started)
    used = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    return min(seconds), max(0.0, used / scores.nbytes)


def main() -> None:
    """Measure every rule at every size, print a table, and write the figures."""
    from rich.console import Console
    from rich.table import Table

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="JSON file for the figures")
    parser.add_argument("--cores", type=int, default=2, help="cores to run on")
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, set(list(os.sched_getaffinity(0))[: options.cores]))
    os.environ["OMP_NUM_THREADS"] = "1"
    table = Table("rule", *(f"{size:,} prompts, s" for size in SIZES), "memory beyond the input, x input", "growth")
    figures = {}
    for name, kind in RULES.items():
        rows = {}
        for size in SIZES:
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                rows[size] = pool.apply(measure, (kind, name, size))
        growth = rows[SIZES[-1]][0] / rows[SIZES[-2]][0]
        figures[name] = {str(size): {"seconds": s, "memory_ratio": m} for size, (s, m) in rows.items()}
        times = [f"{rows[size][0]:.3f}" for size in SIZES]
        table.add_row(name, *times, f"{rows[SIZES[-1]][1]:.1f}", f"{growth:.1f} x for 10 x prompts")
    Console().print(table)
    machine = {
        "date": date.today().isoformat(), "processor": _processor(), "cores": options.cores,
        "load_average": os.getloadavg()[0], "python": platform.python_version(),
    }  # fmt: skip
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps({"machine": machine, "figures": figures}, indent=1) + "\n")


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.is_file() else []
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor()
    )


if __name__ == "__main__":
    main()
