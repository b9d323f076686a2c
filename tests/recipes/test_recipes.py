"""Every recipe: complete, valid for every family, and shown with its equation."""

import pytest

from accord import registry
from accord.cli.method import equation
from accord.config import METHOD_KINDS
from accord.recipes.choices import recipe_beta, recipe_method
from accord.recipes.elsewhere import BETAS
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
    loaded = load_recipe(recipe)
    about = loaded.about
    assert "arXiv" in about.title or "ICLR" in about.title  # DSPO has no preprint number
    assert "et al." in about.title or recipe == "mixed"
    assert len(about.title) <= 79  # `accord list recipes` in 100 columns
    assert about.summary
    assert about.differences
    assert [note.split(":")[0] for note in about.notes] == ["Hardware", "Expected"]
    assert "docs/results.md" in about.notes[-1]
    assert all(len(line) <= 120 for line in loaded.text.splitlines())


@RECIPES
def test_a_recipe_is_complete(recipe):
    method = recipe_method(recipe, "world")
    assert method["recipe"] == recipe
    assert set(METHOD_KINDS) | {"error_space", "recipe"} == set(method)
    values = load_recipe(recipe).values
    assert set(values["beta"]) == set(families())
    for by_family in values.values():
        assert set(by_family) <= set(families())


@RECIPES
@pytest.mark.parametrize("family", ["world", "sd3", "flux", "sana"])
def test_flow_models_have_errors_of_the_velocity(recipe, family):
    assert recipe_method(recipe, family)["error_space"] == "native"
    assert recipe_method(recipe, "sdxl")["error_space"] == "epsilon"


@pytest.mark.parametrize("recipe", ["diffusion_dpo", "balanced_dpo", "smpo", "inpo"])
def test_betas_of_diffusion_dpo_are_the_published_ones(recipe):
    assert (recipe_beta(recipe, "sd15"), recipe_beta(recipe, "sdxl")) == (2000, 5000)


def test_betas_of_other_codes_are_converted():
    assert recipe_beta("kto", "sd15") == 2 * 1000  # without our half
    assert recipe_beta("mapo", "sdxl") == 0.1
    assert recipe_beta("dspo", "sd15") == 0.001 == recipe_method("dspo", "sd15")["loss"]["factor"]


def test_baselines_of_the_vote_differ_from_it_in_label_and_reference_alone():
    vote = recipe_method("balanced_dpo", "sdxl")
    for name in ("single_scorer", "random_scorer", "raw_sum", "normalised_sum"):
        method = recipe_method(name, "sdxl")
        differ = {key for key in vote if vote[key] != method[key]}
        assert differ <= {"recipe", "calibration", "target", "reference"}
        assert method["reference"] == "frozen"
        assert recipe_beta(name, "sdxl") == recipe_beta("balanced_dpo", "sdxl")


@pytest.mark.parametrize(("kind", "name"), [(k, n) for k in ("losses", "targets") for n in registry.names(k)])
def test_every_loss_and_target_documents_its_equation(kind, name):
    text = equation(kind, name)
    words = ("margin", "err_", "sigmoid") if kind == "losses" else ("reward(", "score(", "gamma")
    assert any(word in text for word in words)
    assert "\n" not in text


@pytest.mark.parametrize("loss", registry.TABLES["losses"])
def test_every_loss_says_how_its_beta_reads_elsewhere(loss):
    assert BETAS[loss].meaning
    assert all("theirs" in ours for _, ours in BETAS[loss].conversions)


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
