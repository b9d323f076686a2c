"""Every recipe: complete, valid for every family, and shown with its equation."""

import pytest

from accord import registry
from accord.cli.method import equation
from accord.config import METHOD_KINDS
from accord.recipes.choices import recipe_beta, recipe_method
from accord.recipes.initial import families, initial_run_file, load_recipe, recipes
from accord.runfile import load_config
from accord.train.method import load_method

RECIPES = pytest.mark.parametrize("recipe", recipes())


def test_the_methods_of_the_papers_and_their_baselines_are_there():
    assert set(recipes()) >= {
        "capo", "capo_sum", "balanced_dpo", "smpo", "diffusion_dpo", "ipo", "inpo", "pnapo", "mapo", "kto", "dspo",
        "random_scorer", "raw_sum", "normalised_sum", "single_scorer", "frontier_best", "mixed",
    }  # fmt: skip


@RECIPES
@pytest.mark.parametrize("family", families())
def test_a_recipe_is_a_valid_run_file_of_every_family(tmp_path, recipe, family):
    path = tmp_path / "run.toml"
    path.write_text(initial_run_file(family, recipe))
    config = load_config(path)
    for field, kind in METHOD_KINDS.items():
        choice = getattr(config.method, field)
        registry.check_options(kind, choice.name, choice.options)
    load_method(config.method)
    assert config.method.recipe == recipe
    assert config.train.beta == recipe_beta(recipe, family)
    assert config.method.model_dump(mode="json") == {
        **config.method.model_dump(mode="json"), **recipe_method(recipe, family)
    }  # fmt: skip


@RECIPES
def test_a_recipe_names_its_paper_and_what_differs_from_it(recipe):
    text = load_recipe(recipe).text
    assert "arXiv" in text or "ICLR" in text  # DSPO has no preprint number
    assert "# What differs from the paper, and why:" in text
    assert "Hardware" in text or recipe in ("capo", "diffusion_dpo")
    method = recipe_method(recipe, "world")
    assert method["recipe"] == recipe
    assert set(METHOD_KINDS) <= set(method)


@pytest.mark.parametrize("loss", registry.names("losses"))
def test_every_loss_documents_its_equation(loss):
    text = equation(loss)
    assert any(word in text for word in ("margin", "error", "err_", "sigmoid", "||"))
    assert "\n" not in text


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [
        ("diffusion_dpo", ("one", "logistic", "gaussian_shared", "frozen")),
        ("ipo", ("one", "squared", "gaussian_shared", "frozen")),
        ("capo", ("win_rate_gap", "squared", "gaussian_independent", "frozen")),
        ("balanced_dpo", ("vote", "logistic", "gaussian_shared", "refreshed")),
        ("smpo", ("smoothed", "logistic", "renoise", "frozen")),
        ("inpo", ("one", "logistic", "ddim_inversion", "frozen")),
        ("pnapo", ("one", "logistic", "prior", "frozen")),
        ("mapo", ("one", "mapo", "gaussian_shared", "none")),
        ("mixed", ("win_rate_gap", "squared", "renoise", "refreshed")),
    ],
)
def test_a_method_is_the_choices_of_its_paper(recipe, expected):
    method = recipe_method(recipe, "sdxl")
    names = [choice if isinstance(choice, str) else choice["name"] for choice in
             (method[field] for field in ("target", "loss", "noise", "reference"))]  # fmt: skip
    assert tuple(names) == expected
