"""Writes a finished run folder as the stages do, with drawn images and drawn scores, in a second."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from accord.calibrate.win_rate import win_rate
from accord.files import write_bytes, write_json, write_table
from accord.images import ImageRow, encode_image, image_id, part_path, write_images
from accord.manifest import Manifest
from accord.select.frontier import frontier
from accord.stats.bootstrap import bootstrap_mean
from accord.stats.correlation import within_prompt_correlation
from accord.stats.image_statistics import DIVERSITY, STATISTICS
from accord.tables import write_pairs, write_prompts, write_rewards, write_scores
from accord.types import GroupedScores, Pair, Prompt, ScorerCard

BINNED = (
    "margin", "accuracy", "error_chosen_rise", "error_rejected_rise", "saturation", "gradient_chosen",
    "gradient_rejected",
)  # fmt: skip

VERSIONS = {"accord": "0.1.0", "torch": "2.13.0", "numpy": "2.2.1"}
TRAINED = ("world_alignment", "world_aesthetics", "world_taste")
ROLES = {**dict.fromkeys(TRAINED, "trained"), "world_heldout": "held_out", "world_judge": "held_out"}
ROLES["world_checker"] = "checker"
LIFT = {  # how much better the tuned model is under each scorer, in standard deviations
    "world_alignment": 0.6, "world_aesthetics": 0.35, "world_taste": 0.15, "world_heldout": 0.4, "world_judge": 0.05,
    "world_checker": 0.3,
}  # fmt: skip
COLOURS = {"red": (205, 60, 50), "green": (60, 150, 80), "blue": (60, 90, 200), "yellow": (225, 190, 60)}
SKILLS = ("counting", "colour", "relation", "background")


def write_example_run(
    run: Path,
    num_prompts: int = 24,
    images_per_prompt: int = 8,
    size: int = 32,
    seed: int = 0,
    texts: tuple[str, ...] = (),
    lift: dict[str, float] | None = None,
) -> None:
    """Write generate, score, select, train and evaluate. `texts` replaces the first prompts' texts."""
    generator = np.random.default_rng(seed)
    words = list(COLOURS)
    texts = texts + tuple(
        f"a {words[i % 4]} square {('above', 'left of')[i % 2]} a {words[(i // 4 + 1) % 4]} circle, number {i}"
        for i in range(len(texts), num_prompts)
    )
    prompts = [Prompt.make(text, "example", [f"skill:{SKILLS[i % 4]}"]) for i, text in enumerate(texts)]
    _write_generate(run / "generate", prompts, images_per_prompt, size, generator)
    scores = _write_scores(run, prompts, images_per_prompt, generator)
    _write_select(run / "select", scores)
    _write_train(run / "train", generator)
    _write_evaluate(run / "evaluate", prompts, size, {**LIFT, **(lift or {})}, generator)


def drop_stages(run: Path, *stages: str) -> None:
    """Make stages unfinished, as if they had been killed before the end."""
    for stage in stages:
        (run / stage / "manifest.json").unlink()


def change_json(path: Path, **changes: Any) -> None:
    """Replace top-level values of a JSON file."""
    write_json(path, {**json.loads(path.read_text()), **changes})


def card(name: str, is_commercial_use_allowed: bool = True) -> dict[str, Any]:
    """Return a scorer card as plain values."""
    return asdict(
        ScorerCard(
            name, "1", f"What {name} looks at, in a sentence or two.", "about -3 to 3", 1.7, True,
            "Apache-2.0" if is_commercial_use_allowed else "CC-BY-NC-4.0", "Accord, the embedded world",
            is_commercial_use_allowed=is_commercial_use_allowed,
        )
    )  # fmt: skip


def _manifest(folder: Path, settings: dict[str, Any], counts: dict[str, Any], facts: dict[str, Any]) -> None:
    Manifest(folder.name, settings, {}, counts, {}, facts, VERSIONS).save(folder)


def _drawn(text: str, size: int, generator: np.random.Generator) -> bytes:
    pixels = np.full((size, size, 3), 235, np.float64) + generator.normal(0, 6, (size, size, 1))
    y, x = np.mgrid[:size, :size] / size
    for n, colour in enumerate([COLOURS[word] for word in text.split() if word in COLOURS][:2]):
        middle_x, middle_y = generator.uniform(0.25, 0.75, 2)
        reach = np.maximum(abs(x - middle_x), abs(y - middle_y)) if n == 0 else np.hypot(x - middle_x, y - middle_y)
        pixels[reach < 0.17] = colour
    return encode_image(pixels.clip(0, 255).astype(np.uint8), "png")


def _write_images(folder: Path, prompts: list[Prompt], num: int, size: int, generator: np.random.Generator) -> None:
    for part, start in enumerate(range(0, len(prompts), 8)):
        rows = [
            ImageRow(image_id(p.id, n), p.id, n, 10**15 + n, _drawn(p.text, size, generator), size, size)
            for p in prompts[start : start + 8]
            for n in range(num)
        ]
        write_images(part_path(folder, part), rows, num)


def _write_generate(folder: Path, prompts: list[Prompt], num: int, size: int, generator: np.random.Generator) -> None:
    write_prompts(folder / "prompts.parquet", prompts)
    _write_images(folder, prompts, num, size, generator)
    asked = {"family": "world", "path": "world:flow", "revision": None, "weights": "6f1e" * 16}
    settings = {"seed": 0, "model": asked, "num_inference_steps": 12, "guidance_scale": 3.0,
                "height": size, "width": size, "images_per_prompt": num, "train": "world:train"}  # fmt: skip
    counts = {"prompts": len(prompts), "images": len(prompts) * num, "prompts_dropped": {"empty": 0, "duplicate": 2}}
    model = {"path": str(folder), "sha256": "6f1e" * 16, "diffusers": "0.42.1"}
    _manifest(folder, settings, counts, {"model": model})


def _write_scores(run: Path, prompts: list[Prompt], num: int, generator: np.random.Generator) -> GroupedScores:
    ordered = sorted(prompts, key=lambda prompt: prompt.id)
    common = generator.normal(size=(len(ordered), num, 1))
    values = 0.7 * common + generator.normal(size=(len(ordered), num, len(TRAINED)))
    values[0, 1, 0] = np.nan
    ids = np.array([[image_id(p.id, n) for n in range(num)] for p in ordered], dtype=object)
    for k, name in enumerate(TRAINED):
        column = values[:, :, k].ravel()
        reasons = ["image cannot be decoded" if np.isnan(score) else "" for score in column]
        folder = run / "score" / name
        write_scores(
            part_path(folder, 0), list(ids.ravel()), [p.id for p in ordered for _ in range(num)], column, reasons
        )
        counts = {"images": len(column), "unscored": sum(map(bool, reasons)), "reasons": {}}
        if counts["unscored"]:
            counts["reasons"] = {"image cannot be decoded": counts["unscored"]}
        _manifest(folder, {"scorer": name}, counts, {"card": card(name, name != "world_taste")})
    return GroupedScores(tuple(p.id for p in ordered), ids, TRAINED, values)


def _write_select(folder: Path, scores: GroupedScores) -> None:
    rewards = win_rate(scores.values, np.full(len(TRAINED), 1.7))
    found = frontier(rewards)
    margins = rewards[found.prompt, found.chosen] - rewards[found.prompt, found.rejected]
    pairs = [
        Pair(
            scores.prompt_ids[p], scores.image_ids[p, c], scores.image_ids[p, r], tuple(m), float(m.mean()), "frontier"
        )
        for p, c, r, m in zip(found.prompt, found.chosen, found.rejected, margins, strict=True)
    ]  # fmt: skip
    write_rewards(folder / "rewards.parquet", scores, rewards)
    write_pairs(folder / "pairs.parquet", pairs)
    by_name = lambda value: dict(zip(TRAINED, [float(v) for v in value], strict=True))  # noqa: E731
    counts = {
        "prompts": len(scores.prompt_ids), "images": scores.image_ids.size, "images_unscored": 1,
        "prompts_with_pairs": len(set(found.prompt)), "pairs": len(pairs), "pairs_without_preference": 0,
        "dropped": dict(found.dropped),
    }  # fmt: skip
    facts = {
        "scorers": list(TRAINED), "scales": dict.fromkeys(TRAINED, 1.7), "mean_margin": by_name(margins.mean(axis=0)),
        "mean_best_worst_margin": by_name(np.nanmean(np.nanmax(rewards, 1) - np.nanmin(rewards, 1), axis=0)),
        "agreement": by_name((margins > 0).mean(axis=0)), "all_agree": float((margins > 0).all(axis=1).mean()),
        "correlation": within_prompt_correlation(scores.values).tolist(),
    }  # fmt: skip
    settings = {"scorers": list(TRAINED), "scales": {}, "calibration": "win_rate", "pairs": "frontier",
                "target": {"name": "win_rate_gap"}}  # fmt: skip
    _manifest(folder, settings, counts, facts)


def _write_train(folder: Path, generator: np.random.Generator, num_steps: int = 120) -> None:
    lines = []
    for step in range(1, num_steps + 1):
        done = 1 - np.exp(-step / 40)
        noise = generator.normal(0, 0.05, 6)
        metrics = {
            "margin": 0.4 * done + noise[0], "accuracy": float(np.clip(0.5 + 0.35 * done + noise[1], 0, 1)),
            "reward_chosen": 0.002 * done, "reward_rejected": -0.003 * done,
            "error_chosen_rise": 0.001 * done + noise[2] / 50, "error_rejected_rise": 0.01 * done + noise[3] / 50,
        }  # fmt: skip
        metrics |= {"saturation": 0.4 * done, "gradient_chosen": 2 - done, "gradient_rejected": 2.2 - done}
        line = {"step": step, "loss": 0.3 - 0.2 * done + noise[4], "metrics": metrics,
                "by_noise": _by_noise(metrics, generator),
                "learning_rate": 1e-4 * (1 - step / num_steps), "gradient_norm": 1 + abs(noise[5])}  # fmt: skip
        lines.append(json.dumps(line))
    write_bytes(folder / "log.jsonl", "".join(line + "\n" for line in lines).encode())
    settings = {"seed": 0, "loss": "squared", "noise": "gaussian_independent", "reference": "frozen",
                "weighting": {"name": "sigmoid", "bias": 1.5}, "timesteps": "uniform", "error_space": "epsilon",
                "beta": 100.0, "steps": num_steps, "batch_size": 16, "learning_rate": 1e-4}  # fmt: skip
    facts = {"parameters_trained": 186_368, "parameters_total": 4_486_372}
    _manifest(folder, settings, {"steps": num_steps, "pairs_seen": 16 * num_steps}, facts)


def _by_noise(metrics: dict[str, float], generator: np.random.Generator) -> dict[str, list[float]]:
    """Return counts and sums of 16 visits, most of them at medium noise; with little noise nothing is learned."""
    count = generator.multinomial(16, [0.1, 0.2, 0.4, 0.2, 0.1]).astype(float)
    strength = np.array([0.0, 0.6, 1.2, 1.2, 0.8])
    sums = {name: (count * strength * metrics[name]).tolist() for name in metrics if name != "accuracy"}
    sums["accuracy"] = (count * (0.5 + strength * (metrics["accuracy"] - 0.5))).tolist()
    return {"count": count.tolist(), **{name: sums[name] for name in BINNED}}


def _write_evaluate(
    folder: Path, prompts: list[Prompt], size: int, lift: dict[str, float], generator: np.random.Generator
) -> None:
    num = 2
    base = {name: generator.normal(size=(len(prompts), num)) for name in ROLES}
    tuned = {name: 0.6 * base[name] + generator.normal(lift[name], 0.8, (len(prompts), num)) for name in ROLES}
    for values in (base, tuned):
        values["world_checker"] = (values["world_checker"] > 0).astype(np.float64)
    tuned["world_judge"][1, 0] = np.nan
    rows = []
    for model, values in (("base", base), ("tuned", tuned)):
        write_prompts(folder / model / "prompts.parquet", prompts)
        _write_images(folder / model, prompts, num, size, generator)
        counts = {
            "prompts": len(prompts),
            "images": num * len(prompts),
            "prompts_dropped": {"empty": 1, "duplicate": 0},
        }
        _manifest(folder / model, {"evaluate": "world:evaluate", "images_per_prompt": num}, counts, {})
        for name in ROLES:
            counts = {"images": num * len(prompts), "unscored": int(np.isnan(values[name]).sum())}
            _manifest(folder / "scores" / model / name, {"scorer": name}, counts, {})
        rows += [
            {"model": model, "prompt_id": prompt.id, "index": n, "image_id": image_id(prompt.id, n)}
            | {name: float(values[name][p, n]) for name in ROLES}
            for p, prompt in enumerate(prompts)
            for n in range(num)
        ]
    write_table(folder / "metrics" / "scores.parquet", pa.Table.from_pylist(rows))
    write_json(folder / "metrics" / "metrics.json", _metrics(prompts, base, tuned))
    _manifest(folder / "metrics", {"roles": ROLES, "confidence": 0.95, "num_resamples": 500}, {}, {})


def _metrics(prompts: list[Prompt], base: dict[str, np.ndarray], tuned: dict[str, np.ndarray]) -> dict[str, Any]:
    scorers = []
    for name, role in ROLES.items():
        gap = tuned[name] - base[name]
        points = np.where(np.isnan(gap), np.nan, 0.5 + 0.5 * np.sign(gap))
        scorers.append({
            "name": name, "role": role, "win_rate": _interval(points), "base": _interval(base[name]),
            "tuned": _interval(tuned[name]), "difference": _interval(gap), "ties": float((gap == 0).mean()),
            "num_prompts": len(prompts), "num_unscored": int(np.isnan(gap).sum()),
        })  # fmt: skip
    skills = {}
    for skill in SKILLS:
        of = [p for p, prompt in enumerate(prompts) if prompt.tag("skill") == skill]
        a, b = base["world_checker"][of], tuned["world_checker"][of]
        skills[skill] = {"base": _interval(a), "tuned": _interval(b), "difference": _interval(b - a),
                         "num_prompts": len(of)}  # fmt: skip
    matrix = within_prompt_correlation(np.stack([np.hstack([base[n], tuned[n]]) for n in ROLES], axis=2))
    correlation = {"scorers": list(ROLES), "matrix": [[float(v) for v in row] for row in matrix]}
    return {"confidence": 0.95, "num_prompts": len(prompts), "images_per_prompt": 2, "scorers": scorers,
            "skills": skills, "correlation": correlation, "images": _images(len(prompts))}  # fmt: skip


def _images(num_prompts: int) -> dict[str, Any]:
    """Return pixel statistics of which the edges fell by a fifth and the rest hardly moved."""
    generator = np.random.default_rng(5)
    found = {}
    for name in (*STATISTICS, DIVERSITY):
        base = generator.uniform(0.3, 0.5, (num_prompts, 1))
        tuned = base * generator.normal(0.8 if name == "edge_density" else 1.0, 0.02, base.shape)
        found[name] = {"base": _interval(base), "tuned": _interval(tuned), "difference": _interval(tuned - base)}
    return found


def _interval(values: np.ndarray) -> dict[str, float]:
    with np.errstate(invalid="ignore"):
        found = bootstrap_mean(np.nanmean(values, axis=1), seed=1, num_resamples=500)
    return {"value": found.value, "low": found.low, "high": found.high}
