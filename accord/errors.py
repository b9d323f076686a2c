"""Every error a user of Accord can meet, under one parent.

    AccordError
    ├── ConfigError            the run file or a command-line setting is wrong
    ├── RegistryError          a name that nothing is registered under
    ├── ArtifactError          a file of the run folder is missing, damaged or locked
    │   ├── MissingArtifact    an earlier stage has not run
    │   └── StaleArtifact      it was made with other settings or from other inputs
    ├── DataError              somebody's own images or pairs cannot be read
    ├── MissingDependency      an optional package is not installed
    ├── ModelError             a diffusion model cannot be opened or used
    ├── ScoringError           a scorer cannot be opened, or broke its contract
    │   └── ScorerStopped      a scorer outside this process cannot go on; finished rows are kept
    ├── SelectionError         no pairs can be chosen
    ├── TrainingError          training cannot start or must stop
    └── EvaluationError        results cannot be computed

A message has three parts: what was needed, what was found, what to do next.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class AccordError(Exception):
    """Parent of all errors that have a clear message for the user."""


class ConfigError(AccordError):
    """The run file or a command-line setting is wrong."""


class RegistryError(AccordError):
    """Nothing is registered under this name."""


class ArtifactError(AccordError):
    """A file of the run folder is missing, damaged or in use."""


class MissingArtifact(ArtifactError):
    """An earlier stage has not run."""


class StaleArtifact(ArtifactError):
    """An output was made with other settings or from other inputs than those asked for now."""


class DataError(AccordError):
    """Images or pairs that were brought along cannot be read, or cannot be used as asked."""


class MissingDependency(AccordError):
    """An optional package is not installed."""


class ModelError(AccordError):
    """A diffusion model cannot be opened or used as asked."""


class ScoringError(AccordError):
    """A scorer cannot be opened, or broke its contract."""


class ScorerStopped(ScoringError):
    """A scorer outside this process cannot go on: gone for good, refused, or out of budget. Finished rows are kept."""


class SelectionError(AccordError):
    """No pairs can be chosen from these scores."""


class TrainingError(AccordError):
    """Training cannot start, or must stop."""


class EvaluationError(AccordError):
    """Results cannot be computed from what is there."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` for the nearest known name, or the list of known names if none is near."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if near:
        return f"; did you mean '{near[0]}'?"
    return f"; known: {', '.join(known)}" if known else ""
