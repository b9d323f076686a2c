"""What was run, from the manifests: they hold the settings that made the output, whatever the run file says now."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from accord.manifest import Manifest, load_manifest
from accord.report.read_left_out import scorer_manifests
from accord.report.records import MadeWith

CHOICES = (  # what a method consists of, with the stage whose settings hold it
    ("calibration", "select", "reward calibration"),
    ("pairs", "select", "pairs"),
    ("target", "select", "target"),
    ("loss", "train", "loss"),
    ("noise", "train", "noise"),
    ("reference", "train", "reference"),
    ("weighting", "train", "timestep weighting"),
    ("timesteps", "train", "timestep sampling"),
    ("error_space", "train", "error space"),
)
MODEL = "model"
STAGES = ("generate", "select", "encode", "train", "evaluate/base", "evaluate/metrics")


def read_made_with(run: Path) -> MadeWith:
    """Return model, method, settings, versions and scorer cards, as far as stages have finished."""
    found = {stage: load_manifest(run / stage) for stage in STAGES}
    manifests = {stage: manifest for stage, manifest in found.items() if manifest is not None}
    generate = manifests.get("generate")
    told_elsewhere = {MODEL, *(key for key, _, _ in CHOICES)}
    return MadeWith(
        _model(generate if generate and MODEL in generate.settings else manifests.get("encode")),  # or imported
        tuple(
            (words, _words(manifests[stage].settings[key]))
            for key, stage, words in CHOICES
            if stage in manifests and key in manifests[stage].settings
        ),
        tuple(
            (
                stage,
                tuple((key, _words(value)) for key, value in manifest.settings.items() if key not in told_elsewhere),
            )
            for stage, manifest in manifests.items()
        ),
        _versions(manifests),
        _cards(run),
    )


def _model(manifest: Manifest | None) -> Mapping[str, str]:
    """Return what the run file asked for and what was found, of the base model."""
    if manifest is None:
        return {}
    asked, found = manifest.settings.get(MODEL, {}), manifest.facts.get(MODEL, {})
    told = {**asked, **found, **asked}  # found may hold a place on this machine where asked has a name
    if told.get("weights") == told.get("sha256"):
        told.pop("weights", None)
    return {key: _words(value) for key, value in told.items() if value not in (None, "")}


def _versions(manifests: Mapping[str, Manifest]) -> Mapping[str, str]:
    """Return package -> version; both if stages were run with different ones."""
    found: dict[str, list[str]] = {}
    for manifest in manifests.values():
        for package, version in manifest.versions.items():
            found.setdefault(package, [])
            if version not in found[package]:
                found[package].append(version)
    return {package: ", ".join(versions) for package, versions in found.items()}


def _words(value: Any) -> str:
    """Return a setting in words: `name (option value, option value)` for a choice with options."""
    if isinstance(value, Mapping):
        options = ", ".join(f"{key} {_words(item)}" for key, item in value.items() if key != "name")
        return f"{value['name']} ({options})" if "name" in value and options else str(value.get("name", options or "-"))
    if isinstance(value, list | tuple):
        return ", ".join(map(_words, value)) or "-"
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _cards(run: Path) -> tuple[Mapping[str, Any], ...]:
    """Return the cards of all scorers, trained ones first; a scorer whose card is not stored has its name only."""
    cards: dict[str, Mapping[str, Any]] = {}
    for folder in (run / "score", run / "evaluate" / "scores" / "base"):
        for name, manifest in scorer_manifests(folder):
            if name not in cards or len(cards[name]) == 1:
                cards[name] = manifest.facts.get("card") or {"name": name}
    return tuple(cards.values())
