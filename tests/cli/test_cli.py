"""The command line: what a newcomer types, and what a mistake looks like."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from accord.cli.app import app, main
from accord.cli.method import equation
from accord.cli.stages import _words
from accord.cli.terminal import console
from accord.recipes.choices import recipe_beta, recipe_method
from accord.recipes.elsewhere import BETAS
from accord.recipes.initial import families, initial_run_file, load_recipe, recipes
from accord.version import __version__

runner = CliRunner()


def fails(monkeypatch, capsys, *arguments: str) -> str:
    """Run `accord` and return its one error message."""
    monkeypatch.setattr(sys, "argv", ["accord", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    return capsys.readouterr().err


def test_help_lists_every_command_and_loads_nothing_heavy():
    code = "import sys; sys.argv = ['accord', '--help']\nfrom accord.cli import main\ntry: main()\n"
    code += "except SystemExit: print('torch' in sys.modules)"
    text = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert text.strip().endswith("False")
    for command in (
        "generate",
        "score",
        "select",
        "train",
        "evaluate",
        "report",
        "run",
        "plan",
        "list",
        "show",
        "init",
    ):
        assert command in text


@pytest.mark.parametrize("recipe", ["capo", "smpo"])  # smpo asks which of its noise can be computed beforehand
def test_plan_loads_no_model_library(recipe, tmp_path):
    (tmp_path / "run.toml").write_text(initial_run_file("world", recipe))
    code = "import sys; sys.argv = ['accord', 'plan', 'run.toml']\nfrom accord.cli import main\ntry: main()\n"
    code += "except SystemExit: print({'torch', 'peft', 'diffusers', 'transformers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert "train/" in done.stdout
    assert done.stdout.strip().endswith("set()")


def test_version():
    assert runner.invoke(app, ["--version"]).output.strip() == __version__


def test_init_writes_a_run_file_that_plan_reads(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    written = runner.invoke(app, ["init", "world", "--recipe", "capo"])
    (tmp_path / "run.toml").write_text(written.output)
    planned = runner.invoke(app, ["plan", "run.toml", "--set", "generate.images_per_prompt=4"])
    assert planned.exit_code == 0, planned.output
    assert "prompts x 4" in " ".join(planned.output.split())
    assert "score/world_alignment/" in planned.output  # whole names, however narrow the terminal
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run.toml"]


@pytest.mark.parametrize("width", [40, 60, 80])
def test_a_plan_cuts_no_word_in_a_narrow_terminal(width, tmp_path, monkeypatch):
    monkeypatch.setattr(console, "width", width)
    (tmp_path / "run.toml").write_text(initial_run_file("world", "capo"))
    monkeypatch.chdir(tmp_path)
    shown = runner.invoke(app, ["plan", "run.toml"]).output
    assert max(map(len, shown.splitlines())) <= width
    for word in ("score/world_aesthetics/", "evaluate/base/", "waiting", "world:evaluate", "calibration", "resamples"):
        assert word in shown


def test_numbers_are_told_as_a_person_would(tmp_path, monkeypatch):
    monkeypatch.setattr(console, "width", 200)
    (tmp_path / "run.toml").write_text(initial_run_file("world", "capo"))
    one = ("prompts.num_train=1", "generate.images_per_prompt=1", "prompts.num_evaluate=1", "train.steps=1")
    options = [word for value in one for word in ("--set", value)]
    shown = runner.invoke(app, ["plan", str(tmp_path / "run.toml"), *options]).output
    assert "1 prompt x 1 = 1 image, 12 steps each" in shown
    assert "the same 1 image with" in shown
    assert "1 step x 16 pairs" in shown
    assert _words({"images_per_prompt": 1, "pairs_seen": 1, "prompts_with_pairs": 2, "unscored": 1}) == (
        "1 unscored, 2 prompts with pairs, 1 pair seen, 1 image per prompt"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("init", "sdlx"), "did you mean 'sdxl'?"),
        (("init", "world", "--recipe", "cappo"), "did you mean 'capo'?"),
        (("list", "scorer"), "did you mean 'scorers'?"),
        (("show", "scorer", "world_tast"), "did you mean 'world_taste'?"),
        (("show", "scorre", "x"), "did you mean 'scorer'?"),
        (("show", "loss", "sqared"), "did you mean 'squared'?"),
        (("run", "none.toml"), "no run file none.toml"),
    ],
)
def test_a_mistake_is_one_clear_line(arguments, message, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    error = fails(monkeypatch, capsys, *arguments)
    assert error.startswith("error: ")
    assert message in error
    assert "Traceback" not in error


def test_an_interruption_is_one_clear_line_with_the_status_of_shells(monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("accord.cli.app.run_and_print", interrupted)
    monkeypatch.setattr(sys, "argv", ["accord", "run", "run.toml"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 130
    assert capsys.readouterr().err == ("error: interrupted; what was finished is kept: run the same command to go on\n")


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (("list",), "selectors"),
        (("list", "scorers"), "world_taste"),
        (("list", "recipes"), "diffusion_dpo"),
        (("list", "losses"), "squared"),
        (("show", "scorer", "world_taste"), "bradley terry scale"),
        (("show", "scorer", "pickscore"), "logit scale times cosine"),
        (("show", "recipe", "capo"), "gaussian_independent"),
        (("show", "weighting", "sigmoid"), "bias"),
        (("show", "beta"), "one half"),
    ],
)
def test_list_and_show(arguments, shown):
    found = runner.invoke(app, list(arguments))
    assert found.exit_code == 0, found.output
    assert shown in found.output


@pytest.mark.parametrize("recipe", recipes())
def test_show_method_prints_equation_choices_beta_and_what_differs(recipe, monkeypatch):
    monkeypatch.setattr(console, "width", 100)
    found = runner.invoke(app, ["show", recipe])
    assert found.exit_code == 0, found.output
    assert max(map(len, found.output.splitlines())) <= 100
    shown = " ".join(found.output.split())
    method, about = recipe_method(recipe, "world"), load_recipe(recipe).about
    for field in ("pairs", "target", "loss", "noise", "reference", "calibration", "weighting", "timesteps"):
        name = method[field] if isinstance(method[field], str) else method[field]["name"]
        assert f" {field} {name} " in shown
    for part in (about.title, about.summary, *about.differences, *about.notes):
        assert part in shown
    loss = method["loss"] if isinstance(method["loss"], str) else method["loss"]["name"]
    assert f"loss {re.split(',? {3,}', equation('losses', loss))[0]} target" in shown or loss in ("mapo", "kto", "dspo")
    for family in families():
        assert f" {family} {recipe_beta(recipe, family):g} " in shown
    assert BETAS[loss].conversions[0][0] in shown


def test_show_recipe_is_show_method():
    assert runner.invoke(app, ["show", "recipe", "smpo"]).output == runner.invoke(app, ["show", "smpo"]).output


def test_an_equation_is_shown_only_with_the_symbols_it_needs():
    assert "  margin  " not in runner.invoke(app, ["show", "mapo"]).output
    assert "  margin  " in runner.invoke(app, ["show", "dspo"]).output


def test_every_recipe_is_listed_on_one_line(monkeypatch):
    monkeypatch.setattr(console, "width", 100)
    lines = runner.invoke(app, ["list", "recipes"]).output.splitlines()
    assert len(lines) == len(recipes()) + 4


def test_show_of_an_unknown_method_names_the_nearest(monkeypatch, capsys):
    assert "did you mean 'capo'" in fails(monkeypatch, capsys, "show", "capp")


def test_a_locked_folder_is_one_clear_line(tmp_path, monkeypatch, capsys):
    from accord.artifacts import locked

    (tmp_path / "run.toml").write_text(f'folder = "{tmp_path / "run"}"')
    with locked(tmp_path / "run"):
        error = fails(monkeypatch, capsys, "generate", str(tmp_path / "run.toml"))
    assert "is in use by process" in error


def test_the_help_of_init_names_every_family_and_the_readme_too():
    told = runner.invoke(app, ["init", "--help"], env={"COLUMNS": "200"}).output
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    assert [name for name in families() if not re.search(rf"\b{name}\b", told)] == []
    assert [name for name in families() if f"`{name}`" not in readme] == []
