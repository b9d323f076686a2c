"""`[values]`: the choices that another family needs replace those of `[method]`, any of them, and never in silence."""

import tomllib

import pytest

from accord.errors import ConfigError
from accord.recipes.initial import Recipe, with_values

TEXT = """# A method.
[method]
pairs = "best_worst"                # a comment
loss = { name = "kto", baseline = "batch" } # another
error_space = "epsilon"
"""


def method(values: dict, family: str = "sdxl") -> dict:
    return tomllib.loads(with_values(Recipe("made_up", TEXT, {"beta": {"sdxl": 1.0}, **values}), family))["method"]


def test_names_and_tables_replace_names_and_tables():
    table = '{ name = "random", num_pairs = 4 }'
    assert method({"pairs": {"sdxl": table}})["pairs"] == {"name": "random", "num_pairs": 4}
    assert method({"loss": {"sdxl": "hinge"}})["loss"] == "hinge"
    assert method({"loss": {"sdxl": '{ name = "kto" }'}})["loss"] == {"name": "kto"}


def test_comments_and_the_other_choices_stay():
    text = with_values(Recipe("made_up", TEXT, {"pairs": {"sdxl": "frontier"}}), "sdxl")
    assert 'pairs = "frontier"                # a comment' in text
    assert 'loss = { name = "kto", baseline = "batch" } # another' in text


def test_other_families_keep_the_recipe():
    assert method({"pairs": {"sdxl": "frontier"}}, "world") == tomllib.loads(TEXT)["method"]


def test_a_key_that_the_method_does_not_set_is_an_error():
    with pytest.raises(ConfigError, match=r"made_up.*'noise', but sets it 0 times"):
        method({"noise": {"sdxl": "prior"}})
