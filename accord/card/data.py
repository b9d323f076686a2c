"""What a card says of method, data, rewards and settings, from the manifests of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from accord.card.markdown import code, table, text
from accord.card.papers import cited
from accord.config import METHOD_KINDS, Choice
from accord.manifest import Manifest, digest, load_manifest
from accord.recipes.initial import load_recipe, recipes
from accord.report.read_evaluation import read_evaluation
from accord.report.read_left_out import scorer_manifests
from accord.report.records import Evaluation
from accord.version import __version__
from accord.wording import counted

LORA, DORA = "2106.09685", "2402.09353"
NOT_SETTINGS = {"model", "targets", *METHOD_KINDS, "error_space"}


@dataclass(frozen=True)
class CardData:
    """Everything on a card, as plain values."""

    model: Mapping[str, Any]  # family, path, revision, dtype and hash of the base
    settings: Mapping[str, Any]  # of training
    counts: Mapping[str, Any]  # of training: steps, pairs seen
    facts: Mapping[str, Any]  # of training: parameters
    choices: Mapping[str, Choice]  # field of the method -> what was chosen
    recipe: str  # title of the recipe that the choices were written from; "" if none is known
    drawing: Mapping[str, Any]  # settings of generation
    drawn: Mapping[str, Any]  # counts of generation
    selected: Mapping[str, Any]  # counts of selection
    rewards: tuple[Mapping[str, Any], ...]  # cards of the scorers trained on
    papers: tuple[str, ...]  # arXiv numbers
    versions: Mapping[str, str]
    evaluation: Evaluation | None
    why_no_results: str  # where evaluation is None


def read_card(run: Path, trained: Manifest | None = None, recipe: str = "") -> CardData:
    """Return what a card says of a run.

    trained: what the manifest of training will say, while it is still being written: then no results are read, which
    would be those of an older training.
    """
    manifest = trained or load_manifest(run / "train")
    assert manifest is not None  # the caller found a finished training
    evaluation, why = (None, "") if trained else _evaluation(run)
    generate, select = load_manifest(run / "generate"), load_manifest(run / "select")
    told = {**(select.settings if select else {}), **manifest.settings}
    choices = {field: Choice.model_validate(told[field]) for field in METHOD_KINDS if field in told}
    names = {METHOD_KINDS[field]: choice.name for field, choice in choices.items()}
    more = {LORA} if manifest.settings.get("mode") == "lora" else set()
    more |= {DORA} if manifest.settings.get("uses_dora") else set()
    return CardData(
        model=manifest.settings["model"],
        settings=manifest.settings,
        counts=manifest.counts,
        facts=manifest.facts,
        choices=choices,
        recipe=load_recipe(recipe).title if recipe in recipes() else "",
        drawing=generate.settings if generate else {},
        drawn=generate.counts if generate else {},
        selected=select.counts if select else {},
        rewards=_rewards(run, select),
        papers=tuple(cited(names, more)),
        versions={"accord": __version__, **manifest.versions},
        evaluation=evaluation,
        why_no_results=why
        or "`accord evaluate` measures what training changed; `accord export` then writes this card with the results.",
    )


def _evaluation(run: Path) -> tuple[Evaluation | None, str]:
    """Return the results of this training, or None and why there are none."""
    tuned = load_manifest(run / "evaluate" / "tuned")
    if tuned is None:
        return None, ""
    if tuned.inputs.get("train") != digest(run / "train"):
        return None, "The run was evaluated before it was trained again, so those results are not of these weights."
    return read_evaluation(run), ""


def _rewards(run: Path, select: Manifest | None) -> tuple[Mapping[str, Any], ...]:
    """Return the cards of the scorers that pairs were selected by."""
    cards = {name: manifest.facts.get("card") or {"name": name} for name, manifest in scorer_manifests(run / "score")}
    names = select.settings.get("scorers", ()) if select else tuple(cards)
    return tuple(cards.get(name, {"name": name}) for name in names)


def method_section(found: CardData) -> str:
    """Return the choices that make the method."""
    rows = [(field, code(choice.name), text(_options(choice))) for field, choice in found.choices.items()]
    if "error_space" in found.settings:
        rows.append(("error space", code(found.settings["error_space"]), ""))
    origin = f"Written from the recipe of {text(found.recipe)}.\n\n" if found.recipe else ""
    return origin + table(("choice", "taken", "options"), rows)


def _options(choice: Choice) -> str:
    return ", ".join(f"{key} {value}" for key, value in choice.options.items())


def _number_of(what: str, counts: Mapping[str, Any], key: str = "") -> str:
    """Return `1 prompt`, `2 prompts`, or `? prompts` where the number was not kept."""
    number = counts.get(key or what)
    return f"? {what}" if number is None else counted(number, what)


def data_section(found: CardData) -> str:
    """Return what was trained on: prompts, images, pairs."""
    drawing, drawn, selected = found.drawing, found.drawn, found.selected
    lines = []
    if is_imported(found):
        lines.append(f"- imported: {_number_of('images', drawn)} of {_number_of('prompts', drawn)}")
    elif drawing:
        source = str(drawing.get("train", ""))
        name = source if source.startswith("world:") else PurePath(source).name
        lines.append(f"- prompts: {drawn.get('prompts', '?')} of {code(name)}")
        size = f"{drawing.get('width', '?')} x {drawing.get('height', '?')} pixels"
        lines.append(
            f"- images: {drawn.get('images', '?')}, {drawing.get('images_per_prompt', '?')} per prompt, {size}, drawn "
            f"by the base model with {drawing.get('num_inference_steps', '?')} steps and guidance "
            f"{drawing.get('guidance_scale', '?')}"
        )
    if selected:
        lines.append(
            f"- pairs: {selected.get('pairs', '?')}, of {_number_of('prompts', selected, 'prompts_with_pairs')}"
        )
    trained_on = found.facts.get("pairs")
    if trained_on is not None:
        lines.append(
            f"- seen in training: {found.counts.get('pairs_seen', '?')} visits of {counted(trained_on, 'pairs')}, with "
            f"{_number_of('prompts', found.facts)}"
        )
    return "\n".join(lines) or "Nothing is recorded."


def is_imported(found: CardData) -> bool:
    """Say whether the images were imported; then the run did not draw them and knows nothing of how they were made."""
    return bool(found.drawing.get("imported"))


def rewards_section(found: CardData) -> str:
    """Return the rewards that chose the pairs, with their licences."""
    rows = [
        (
            code(card["name"]),
            text(card.get("summary", "")),
            text("; weights: ".join(filter(None, (card.get("licence"), card.get("licence_of_weights"))))),
            {True: "yes", False: "no"}.get(card.get("is_commercial_use_allowed"), "not known"),  # type: ignore[arg-type]
            text(card.get("citation", "")),
        )
        for card in found.rewards
    ]
    if not rows:
        return "No reward is recorded."
    return table(("reward", "measures", "licence", "commercial use", "source"), rows)


def training_section(found: CardData) -> str:
    """Return settings, sizes and versions."""
    rows = [(key.replace("_", " "), code(_plain(value))) for key, value in found.settings.items() if _is_told(key)]
    targets = found.settings.get("targets")
    if targets:
        rows.append(("targets", ", ".join(map(code, targets))))
    for key in ("parameters_trained", "parameters_total"):
        if key in found.facts:
            rows.append((key.replace("_", " "), f"{found.facts[key]:,}"))
    rows.append(("weights of the base opened as", code(found.model.get("dtype") or "float32")))
    versions = ", ".join(f"{text(name)} {text(version)}" for name, version in sorted(found.versions.items()))
    return table(("setting", "value"), sorted(rows)) + f"\n\nVersions: {versions}."


def _is_told(key: str) -> bool:
    return key not in NOT_SETTINGS


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else "yes" if value is True else "no" if value is False else value
