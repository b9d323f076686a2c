"""Open scorers with their options, and say which of them are on a device at the same time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from accord import registry
from accord.engine.outside import Outside, open_outside, outside_card
from accord.errors import ScoringError
from accord.outside import ExternalConfig
from accord.types import RowScorer, Scorer, ScorerCard

Told = Mapping[str, Any] | Outside
"""What a scorer is opened with: options, or a definition of the run file."""

Options = Mapping[str, Told]
"""Scorer -> its options, as `score.options` of the run file gives them, or its definition."""

NEUTRAL = frozenset({"device"})
QUANTISED = {"8bit": 0.5, "4bit": 0.25}  # memory against 16 bits


def open_scorer(name: str, device: str = "cpu", options: Told | None = None) -> Scorer | RowScorer:
    """Return the scorer registered under this name with these options, on this device unless they name another."""
    if isinstance(options, Outside):
        return open_outside(name, options, device)
    make = registry.load("scorers", name)
    told = registry.check_options("scorers", name, dict(options or {}))
    if "device" in registry.options_of(make):
        told = {"device": device, **told}
    return make(**told)


def require_ready_scorers(names: Sequence[str], options: Options, memory_gb: float | None = None) -> None:
    """Raise what would stop scoring later, before anything is drawn: files and packages, options, too little memory.

    Asked are scorers of this process whose class has `require_ready(**options)`, called with all options and their
    defaults; it opens no weights and fetches nothing. What a run file defines itself is asked by `require_outside`.
    """
    here = {name: told for name in names if not isinstance(told := options.get(name, {}), Outside)}
    for name, given in here.items():
        make = registry.load("scorers", name)
        told = registry.check_options("scorers", name, dict(given))
        if hasattr(make, "require_ready"):
            known = registry.options_of(make).values()
            defaults = {each.name: each.default for each in known if each.default is not each.empty}
            make.require_ready(**{**defaults, **told})
    plan_turns(list(here), options, memory_gb)


def scorer_card(name: str, options: Told | None = None) -> ScorerCard:
    """Return a scorer's card without opening its weights, where the class itself carries the card.

    A scorer whose card depends on its options has `card_for(**options)`, called with those that are given.
    """
    if isinstance(options, Outside):
        return outside_card(name, options)
    found = registry.load("scorers", name)
    told = registry.check_options("scorers", name, dict(options or {}))
    if hasattr(found, "card_for"):
        return found.card_for(**told)
    return found.card if hasattr(found, "card") else open_scorer(name, options=options).card


def scorer_facts(name: str, options: Told | None = None) -> dict[str, Any]:
    """Return the scorer's card as plain values, for the manifest."""
    return asdict(scorer_card(name, options))


def scorer_settings(name: str, options: Told | None = None) -> dict[str, Any]:
    """Return what decides a scorer's table: the scorer, the version of its weights, and its options.

    Options that cannot change a score are left out: the device, and what the class names in `neutral_options`. Of a
    scorer that the run file defines, the version in its card says everything.
    """
    if isinstance(options, Outside):
        return {"scorer": name, "version": scorer_card(name, options).version}
    make = registry.load("scorers", name)
    told = registry.check_options("scorers", name, dict(options or {}))
    neutral = NEUTRAL | getattr(make, "neutral_options", frozenset())
    given = {key: value for key, value in told.items() if key not in neutral}
    settings: dict[str, Any] = {"scorer": name, "version": scorer_card(name, options).version}
    return {**settings, "options": given} if given else settings


def scorer_notes(names: Sequence[str], options: Options) -> list[str]:
    """Return what must be said when these scorers are used: terms of their weights, and where images are sent.

    A scorer in a process of its own is not started for that; its card in the manifest says it.
    """
    told = {name: options.get(name) for name in names}
    asked = [
        name
        for name, each in told.items()
        if not (isinstance(each, Outside) and isinstance(each.definition, ExternalConfig))
    ]
    return [note for name in asked if (note := scorer_card(name, told[name]).note)]


def plan_turns(names: Sequence[str], options: Options, memory_gb: float | None) -> list[list[str]]:
    """Return the scorers in turns, each within `memory_gb` of weights; None: all at once.

    A network that several scorers share counts once, and its scorers come in the same turn where they fit. Raises
    ScoringError for a scorer that does not fit alone.
    """
    if memory_gb is None:
        return [list(names)] if names else []
    turns: list[list[str]] = []
    for name in _by_network(names, options):
        if weights_gb([name], options) > memory_gb:
            raise ScoringError(
                f"scorer '{name}' needs {weights_gb([name], options):.1f} GB for its weights, but score.memory_gb is "
                f"{memory_gb:g}; raise it, or in score.options.{name} choose a 16-bit dtype, or a device of its own"
            )
        fitting = (turn for turn in turns if weights_gb([*turn, name], options) <= memory_gb)
        turn = next(fitting, None)
        if turn is None:
            turns.append([name])
        else:
            turn.append(name)
    return turns


def weights_gb(names: Sequence[str], options: Options) -> float:
    """Return the memory of the weights of these scorers together, in GB.

    A scorer whose options name a device is not counted: its place was chosen by hand.
    """
    found: dict[str, float] = {}
    for name in names:
        told = options.get(name, {})
        card = scorer_card(name, told)
        if isinstance(told, Outside):
            found[name] = card.memory_gb
            continue
        if "device" in told:
            continue
        default = registry.options_of(registry.load("scorers", name)).get("dtype")
        dtype = told.get("dtype", default.default if default else None)
        size = card.memory_gb * QUANTISED.get(told.get("quantise", "no"), 2.0 if dtype == "float32" else 1.0)
        key = f"{card.network} {told.get('path', '')} {dtype}" if card.network else name
        found[key] = max(size, found.get(key, 0.0))
    return sum(found.values())


def _by_network(names: Sequence[str], options: Options) -> list[str]:
    """Return the names in their order, those of one network behind the first of them."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(scorer_card(name, options.get(name)).network or name, []).append(name)
    return [name for group in groups.values() for name in group]
