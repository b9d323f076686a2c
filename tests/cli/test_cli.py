"""The command line: what a newcomer types, and what a mistake looks like."""

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from accord.cli.app import app, main
from accord.recipes.initial import recipes
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
def test_show_method_prints_choices_equation_and_beta(recipe):
    found = runner.invoke(app, ["show", recipe])
    assert found.exit_code == 0, found.output
    for word in ("pairs", "target", "loss", "noise", "reference", "minimised", "margin =", "beta", "What differs"):
        assert word in found.output


def test_show_of_an_unknown_method_names_the_nearest(monkeypatch, capsys):
    assert "did you mean 'capo'" in fails(monkeypatch, capsys, "show", "capp")


def test_a_locked_folder_is_one_clear_line(tmp_path, monkeypatch, capsys):
    from accord.artifacts import locked

    (tmp_path / "run.toml").write_text(f'folder = "{tmp_path / "run"}"')
    with locked(tmp_path / "run"):
        error = fails(monkeypatch, capsys, "generate", str(tmp_path / "run.toml"))
    assert "is in use by process" in error
