"""A prompts file is known by its content: edited it makes output stale, touched it does not."""

import os
from pathlib import Path

import pytest

from accord.errors import ConfigError, StaleArtifact
from accord.files import read_json, write_json
from accord.pipeline import plan, run_stages
from accord.runfile import parse_config
from accord.stages.evaluate import evaluate_base
from accord.stages.generate import generate


@pytest.fixture
def config(tmp_path):
    for name in ("train", "evaluate"):
        (tmp_path / f"{name}.txt").write_text(f"a red circle {name}\na blue square\n")
    values = {
        "folder": str(tmp_path / "run"),
        "prompts": {name: str(tmp_path / f"{name}.txt") for name in ("train", "evaluate")},
        "generate": {"images_per_prompt": 1, "num_inference_steps": 1},
        "score": {"scorers": ["world_aesthetics"]},
        "evaluate": {"images_per_prompt": 1, "held_out": [], "checker": ""},
        "engine": {"workers": 1},
    }
    return parse_config(values)


def states(config) -> dict[str, str]:
    return {step.stage: step.state for step in plan(config)}


def test_a_touched_file_changes_nothing(config, tmp_path):
    generate(config)
    (tmp_path / "train.txt").write_text((tmp_path / "train.txt").read_text())
    os.utime(tmp_path / "train.txt", (1, 1))
    assert states(config)["generate"] == "finished"
    assert generate(config).was_reused


def test_an_edited_file_makes_its_images_stale_and_one_line_says_why(config, tmp_path):
    generate(config)
    evaluate_base(config)
    (tmp_path / "train.txt").write_text("a green circle\na blue square\n")
    assert (states(config)["generate"], states(config)["evaluate/base"]) == ("stale", "finished")
    with pytest.raises(
        StaleArtifact, match=r"made differently: the content of prompts\.train has changed\. Add --redo"
    ):
        generate(config)
    (tmp_path / "evaluate.txt").write_text("a green circle\n")
    with pytest.raises(StaleArtifact, match=r"the content of prompts\.evaluate has changed\. Add --redo"):
        evaluate_base(config)
    assert not generate(config, redo=True).was_reused
    assert states(config)["generate"] == "finished"


def test_another_file_of_equal_content_is_told_by_its_name_alone(config, tmp_path):
    generate(config)
    (tmp_path / "other.txt").write_text((tmp_path / "train.txt").read_text())
    other = config.model_copy(
        update={"prompts": config.prompts.model_copy(update={"train": str(tmp_path / "other.txt")})}
    )
    with pytest.raises(StaleArtifact, match="made differently: train was") as told:
        generate(other)
    assert "content" not in str(told.value)


def test_output_that_did_not_keep_the_content_is_not_trusted(config):
    generate(config)
    path = Path(config.folder) / "generate" / "manifest.json"
    manifest = read_json(path)
    del manifest["settings"]["content"]
    write_json(path, manifest)
    with pytest.raises(StaleArtifact, match=r"the content of prompts\.train was not compared before"):
        generate(config)


def test_a_file_that_is_not_there_is_one_clear_line(config, tmp_path):
    (tmp_path / "train.txt").unlink()
    with pytest.raises(ConfigError, match=r"no prompts file .*train\.txt"):
        dict(run_stages(config, ("generate",)))


def test_long_prompts_are_counted_in_both_stages(config, tmp_path):
    long = "a red circle and " * 40
    (tmp_path / "train.txt").write_text(f"{long}\na blue square\n")
    (tmp_path / "evaluate.txt").write_text(f"{long}\n")
    assert generate(config).manifest.counts["prompts_cut"] == 1
    evaluate_base(config)
    kept = read_json(Path(config.folder) / "evaluate" / "base" / "manifest.json")
    assert (kept["counts"]["prompts_cut"], kept["facts"]["prompts_cut"]["example"]) == (1, long.strip())
