"""A recipe's choices as values, for code that puts runs together; `initial` writes them as text."""

from __future__ import annotations

import tomllib
from typing import Any

from accord.errors import ConfigError
from accord.recipes.initial import load_recipe, with_values


def recipe_method(name: str, family: str) -> dict[str, Any]:
    """Return the method section of a recipe for this family. Raises RegistryError with the nearest name."""
    return tomllib.loads(with_values(load_recipe(name), family))["method"]


def recipe_beta(name: str, family: str) -> float:
    """Return the beta that a recipe starts from for this family. Raises ConfigError if it has none."""
    betas = load_recipe(name).values["beta"]
    if family not in betas:
        raise ConfigError(f"recipe '{name}' has no beta for '{family}'; set train.beta")
    return float(betas[family])
