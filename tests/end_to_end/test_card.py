"""A run's model card: written with what was trained, and again, with its results, when it is exported."""

import shutil

from accord.card.write import FILE
from accord.export.adapter import export_adapter
from accord.files import read_json, write_json


def test_training_leaves_a_card_without_results(finished_run):
    card = (finished_run / "train" / "adapter" / FILE).read_text()
    assert "## Results\n\nNot measured." in card
    assert "`world_aesthetics`, `world_taste`" in card
    assert "moving average" in card
    assert str(finished_run) not in card


def test_an_exported_adapter_has_the_results_of_its_own_training_only(finished_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished_run, run)
    export_adapter(run, tmp_path / "out")
    card = (tmp_path / "out" / FILE).read_text()
    assert "| `world_taste` | trained |" in card
    assert "| `world_heldout` | held-out |" in card
    export_adapter(run, tmp_path / "again")
    assert (tmp_path / "again" / FILE).read_text() == card
    manifest = run / "train" / "manifest.json"
    write_json(manifest, read_json(manifest) | {"counts": {"steps": 5}})  # as if it had been trained again since
    export_adapter(run, tmp_path / "stale")
    stale = (tmp_path / "stale" / FILE).read_text()
    assert "not of these weights" in stale
    assert "| `world_taste` | trained |" not in stale
