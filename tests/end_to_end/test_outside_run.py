"""A whole run whose reward is a process of its own and whose held-out reward is a judge behind an endpoint."""

import shutil
import sys
from pathlib import Path

import pytest

import accord.scorers.external
from accord.compare.config import CompareConfig, arm_config
from accord.engine.scorers import scorer_facts
from accord.files import read_json
from accord.pipeline import plan, run_stages
from accord.testing.endpoint import completion, serving

SERVE = Path(accord.scorers.external.__file__).parent / "scripts" / "accord_serve.py"
CHILD = """
from io import BytesIO
from PIL import Image, ImageStat
from accord_serve import serve

def load(device):
    print("a library that prints")
    def grey(png):
        return ImageStat.Stat(Image.open(BytesIO(png)).convert("L")).mean[0]
    return lambda pngs, prompts: [grey(png) for png in pngs]

serve(dict(name="grey", version="1", summary="mean grey", scale="0..255", bradley_terry_scale=0.1,
           uses_prompt=False, licence="none", citation="none", low=0.0, high=255.0), load)
"""


def redness(question):
    yes = 0.1 + 0.8 * float(question.images[0][..., 0].mean()) / 255
    return completion("Yes", {"Yes": yes, "No": 1 - yes})


@pytest.fixture(scope="module")
def outside_run(finished_run, config_of, tmp_path_factory):
    """The finished run's images, scored, trained on and judged by scorers that its run file defines."""
    folder = tmp_path_factory.mktemp("outside")
    shutil.copytree(finished_run, folder / "run")
    shutil.copy(SERVE, folder)
    (folder / "child.py").write_text(CHILD)
    with serving(redness) as server:
        external = {"grey": {"command": [sys.executable, str(folder / "child.py")]}}
        judges = {"red": {"url": server.url, "model": "m"}}
        scorers = {"scorers": ["world_taste", "grey"], "external": external, "judges": judges, "scales": {"grey": 0.2}}
        method = {"pairs": "best_worst", "target": "vote", "loss": "logistic"}
        config = config_of(folder / "run", score=scorers, evaluate={"held_out": ["red"]}, method=method)
        outcomes = dict(run_stages(config, redo=True))
        yield config, outcomes, server


def test_every_stage_takes_the_names(outside_run):
    config, outcomes, _ = outside_run
    folder = Path(config.folder)
    assert outcomes["generate"].was_reused
    card = outcomes["score grey"].manifest.facts["card"]
    assert (card["name"], card["version"], card["high"]) == ("grey", "grey 1", 255.0)
    assert outcomes["score grey"].manifest.counts["unscored"] == 0
    assert read_json(folder / "select" / "manifest.json")["facts"]["scales"]["grey"] == 0.2
    metrics = read_json(folder / "evaluate" / "metrics" / "metrics.json")
    assert {each["name"]: each["role"] for each in metrics["scorers"]}["red"] == "held_out"
    page = (folder / "report" / "index.html").read_text()
    assert "grey" in page
    assert "a library that prints" in next((folder / "logs").glob("grey-*.txt")).read_text()
    assert (
        read_json(folder / "logs" / "red.json")["requests"] == 6
    )  # three images of the base, three of the tuned model


def test_a_second_run_asks_nobody(outside_run):
    config, _, server = outside_run
    before = len(server.questions)
    assert {step.state for step in plan(config)} == {"finished"}
    assert all(outcome.was_reused for _, outcome in run_stages(config))
    assert len(server.questions) == before


def test_a_comparison_takes_the_names(outside_run):
    config, _, _ = outside_run
    shared = config.model_dump(mode="json", include={"score", "evaluate"})
    arms = {"a": {"recipe": "capo", "scorers": ["grey"]}}
    arm = arm_config(CompareConfig(folder="x", run=shared, arms=arms), "a", "x/a", 1)
    assert arm.score.scorers == ("grey",)
    assert arm.evaluate.held_out == ("world_taste", "red")
    assert scorer_facts("grey", dict(_options(arm))["grey"])["version"] == "grey 1"


def _options(config):
    from accord.engine.outside import scorer_options

    return scorer_options(config)
