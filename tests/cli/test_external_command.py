"""`accord external` copies a script and prints what to do; the command line says where images are sent."""

import tomllib

from typer.testing import CliRunner

from accord.cli.app import app
from accord.runfile import parse_config


def test_what_is_printed_fits_a_run_file(tmp_path):
    done = CliRunner().invoke(app, ["external", "vila_r", str(tmp_path / "my scorers")])
    assert done.exit_code == 0, done.output
    section = done.output[done.output.index("[score.external.vila_r]") :]
    command = parse_config(tomllib.loads(section)).score.external["vila_r"].command
    assert command == (f"{tmp_path}/my scorers/venv/bin/python", f"{tmp_path}/my scorers/vila_r.py")
    assert (tmp_path / "my scorers" / "accord_serve.py").is_file()


def test_it_is_said_where_images_are_sent(tmp_path):
    run_file = tmp_path / "run.toml"
    judge = '[score.judges.far]\nurl = "https://api.example.org/v1"\nmodel = "m"\n[score.judges.near]\nmodel = "m"\n'
    scorers = '["world_taste", "far", "near"]'
    run_file.write_text(f'folder = "{tmp_path}/run"\n[score]\nscorers = {scorers}\n{judge}')
    done = CliRunner().invoke(app, ["plan", str(run_file)])
    assert done.exit_code == 0, done.output
    assert done.output.count("sends images and prompts to api.example.org") == 1
    assert "near' sends" not in done.output
    assert not (tmp_path / "run").exists()
