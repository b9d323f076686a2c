"""Scorers that a run file defines: no finished row is lost, failures have reasons, every stage takes their names."""

import json
import shutil
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

import accord.scorers.external
from accord.config import Config
from accord.engine.outside import Outside
from accord.engine.rows import RowJournal
from accord.engine.scorers import plan_turns, scorer_card, scorer_settings
from accord.engine.scoring import ScoreSettings, ScoreShard, score_images
from accord.errors import ConfigError, ScorerStopped, ScoringError
from accord.images import ImageRow, encode_image, image_id, write_images
from accord.outside import ExternalConfig, JudgeConfig
from accord.pipeline import run_stages
from accord.runfile import dump_config, parse_config
from accord.scorers.batch import Batch
from accord.tables import read_scores
from accord.testing.endpoint import Response, completion, serving
from accord.types import RowScore

SERVE = Path(accord.scorers.external.__file__).parent / "scripts" / "accord_serve.py"
CHILD = """
import os, sys
from io import BytesIO
from PIL import Image, ImageStat
from accord_serve import serve

def load(device):
    def one(png):
        grey = ImageStat.Stat(Image.open(BytesIO(png)).convert("L")).mean[0]
        open(sys.argv[1] + "/asked", "a").write("%d\\n" % grey)
        if os.path.exists("%s/deadly-%d" % (sys.argv[1], grey)):
            os._exit(9)
        if grey == 90:
            raise ValueError("no  face\\nin it")
        return grey
    return lambda pngs, prompts: [one(png) for png in pngs]

serve(dict(name="grey", version=open(sys.argv[1] + "/version").read(), summary="s", scale="0..255",
           bradley_terry_scale=0.1, uses_prompt=False, licence="none", citation="none", memory_gb=3.0), load)
"""
TEXTS = {"p": "a cat", "q": "a dog"}
LEVELS = {"p": [10, 20, 90], "q": [30, 40, 50]}


@pytest.fixture
def pool(tmp_path):
    """Two shards of three images, and a corrupt one."""
    for number, (prompt, levels) in enumerate(LEVELS.items()):
        rows = [
            ImageRow(image_id(prompt, i), prompt, i, 0, encode_image(np.full((4, 5, 3), level, np.uint8), "png"), 5, 4)
            for i, level in enumerate(levels)
        ]
        rows += [ImageRow(image_id(prompt, 3), prompt, 3, 0, b"garbage", 4, 4)] if prompt == "q" else []
        write_images(tmp_path / f"part-{number:05d}.parquet", rows, 4)
    return tmp_path


@pytest.fixture
def external(tmp_path):
    shutil.copy(SERVE, tmp_path)
    (tmp_path / "child.py").write_text(CHILD)
    (tmp_path / "version").write_text("1")

    def make(**settings):
        command = (sys.executable, str(tmp_path / "child.py"), str(tmp_path))
        return Outside(ExternalConfig(command=command, **settings), tmp_path / "logs")

    return make


def score(pool, told, devices=("cpu",), batch_size=64):
    paths = sorted(pool.glob("part-*.parquet"))
    shards = [ScoreShard(path, {"mine": pool / "mine" / path.name}) for path in paths]
    list(score_images(shards, TEXTS, ScoreSettings(batch_size, {"mine": told}), list(devices)))
    return {image: row[1:] for image, row in read_scores(pool / "mine").items()}


def asked(folder):
    return [int(line) for line in (folder / "asked").read_text().split()]


@pytest.mark.parametrize("devices", [("cpu",), ("cpu", "cpu")])
def test_every_image_is_scored_once_and_failures_have_reasons(pool, external, devices):
    found = score(pool, external(batch_size=2), devices)
    assert {image: value for image, (value, reason) in found.items() if not reason} == {
        "p-0000": 10, "p-0001": 20, "q-0000": 30, "q-0001": 40, "q-0002": 50,
    }  # fmt: skip
    assert found["p-0002"][1] == "ValueError: no face in it"
    assert found["q-0003"][1].startswith("image cannot be decoded")
    assert sorted(asked(pool)) == [10, 20, 30, 40, 50, 90]
    assert not list((pool / "mine").glob(".*"))
    assert len(list((pool / "logs").glob("mine-*.txt"))) == len(devices)


@pytest.mark.parametrize("batch_size", [1, 64])
def test_a_run_that_stops_half_way_goes_on_where_it_was_with_the_same_table(pool, external, tmp_path, batch_size):
    for level in (30, 40):
        (tmp_path / f"deadly-{level}").touch()
    with pytest.raises(ScorerStopped, match="it failed 2 times without a score between"):
        score(pool, external(max_restarts=1, batch_size=2), batch_size=batch_size)
    assert (pool / "mine" / "part-00000.parquet").is_file()
    assert not (pool / "mine" / "part-00001.parquet").exists()
    for level in (30, 40):
        (tmp_path / f"deadly-{level}").unlink()
    (tmp_path / "deadly-50").touch()
    with pytest.raises(ScorerStopped):
        score(pool, external(max_restarts=1, batch_size=1), batch_size=batch_size)
    (tmp_path / "deadly-50").unlink()
    before = asked(pool).count(30), asked(pool).count(40)
    resumed = score(pool, external(), batch_size=batch_size)
    assert (asked(pool).count(30), asked(pool).count(40)) == before, "finished rows were scored again"
    kept = {path.name: path.read_bytes() for path in (pool / "mine").iterdir()}
    shutil.rmtree(pool / "mine")
    assert str(score(pool, external())) == str(resumed)
    assert {path.name: path.read_bytes() for path in (pool / "mine").iterdir()} == kept


def test_a_journal_that_was_cut_off_in_a_line_loses_that_line_only(pool, external):
    (pool / "mine").mkdir()
    journal = pool / "mine" / ".part-00000.rows.jsonl"
    journal.write_text('{"image_id": "p-0000", "score": 123.5}\n{"image_id": "p-0001", "sco')
    assert RowJournal(pool / "mine" / "part-00000.parquet").known == {"p-0000": 123.5}
    assert journal.read_text() == '{"image_id": "p-0000", "score": 123.5}\n', "the next row would join the broken line"
    found = score(pool, external())
    assert (found["p-0000"][0], found["p-0001"][0]) == (123.5, 20)
    assert asked(pool)[:2] == [20, 90]


def test_a_score_is_on_the_disk_before_the_next_one_is_asked_for(tmp_path):
    """A process that is killed between two answers, paid for, must not lose the first."""
    table = tmp_path / "part-00000.parquet"
    seen = []

    class Slow:
        def score_rows(self, images, prompts):
            for row in range(len(prompts)):
                seen.append(RowJournal(table).known)
                yield RowScore(row, row / 2)

    journal = RowJournal(table)
    batch = Batch([np.zeros((2, 2, 3), np.uint8)] * 3, ["a", "b", "c"])
    assert journal.score(Slow(), ["x-0", "x-1", "x-2"], batch) == [0.0, 0.5, 1.0]
    assert seen == [{}, {"x-0": 0.0}, {"x-0": 0.0, "x-1": 0.5}]


def test_a_scorer_that_fails_on_every_image_stops_the_run_and_keeps_what_was_said(pool):
    with serving(lambda question: completion("I would rather not.")) as server:
        told = Outside(JudgeConfig(url=server.url, model="m", rubric="unified_reward"), pool / "logs")
        with pytest.raises(ScoringError, match="'mine' fails on every image; the first error: the answer has no"):
            score(pool, told)
    replies = [json.loads(line) for line in (pool / "mine" / "part-00000.replies.jsonl").read_text().splitlines()]
    assert [each["image_id"] for each in replies] == ["p-0000", "p-0001", "p-0002"]
    assert replies[0]["reply"] == "I would rather not."


def test_a_judge_keeps_replies_beside_the_table_and_goes_on_after_its_budget(pool):
    def answer(question):
        if round(question.images[0].mean()) == 20:
            return completion("It is a nice dog.")
        return completion(f"Final Score: {1 + question.images[0].mean() / 100:.2f}")

    with serving(answer) as server:

        def judge(limit):
            config = JudgeConfig(url=server.url, model="m", rubric="unified_reward", max_requests=limit, concurrency=1)
            return Outside(config, pool / "logs")

        with pytest.raises(ScorerStopped, match="budget of 4 requests"):
            score(pool, judge(4))
        assert json.loads((pool / "logs" / "mine.json").read_text())["requests"] == 4
        found = score(pool, judge(6))
        assert len(server.questions) == 6
    assert found["p-0001"][1] == "the answer has no 'Final Score:' with a number"
    assert [found[f"q-000{i}"][0] for i in range(3)] == [1.3, 1.4, 1.5]
    replies = (pool / "mine" / "part-00000.replies.jsonl").read_text()
    assert json.loads(replies) == {
        "image_id": "p-0001", "reason": "the answer has no 'Final Score:' with a number", "reply": "It is a nice dog.",
    }  # fmt: skip
    assert not (pool / "mine" / "part-00001.replies.jsonl").exists()


def test_a_judge_whose_server_breaks_half_way_asks_no_image_twice(pool):
    def answer(question):
        if question.number == 4:
            return Response(b"no credit", 402)
        return completion(f"Final Score: {1 + question.number}")

    with serving(answer) as server:
        config = JudgeConfig(url=server.url, model="m", rubric="unified_reward", concurrency=1)
        with pytest.raises(ScorerStopped, match="HTTP 402: no credit"):
            score(pool, Outside(config, pool / "logs"))
        server.answer = lambda question: completion("Final Score: 5")
        found = score(pool, Outside(config, pool / "logs"))
        assert len(server.questions) == 7  # six images, one of them twice
    assert [found[image][0] for image in sorted(found)[:6]] == [1, 2, 3, 4, 5, 5]


def test_a_program_that_is_not_there_is_told_before_any_image_is_drawn(tmp_path):
    config = Config.model_validate(
        {
            "folder": str(tmp_path / "run"),
            "score": {"external": {"mine": {"command": ["no-such-program"]}}, "scorers": ["mine", "world_taste"]},
        }
    )
    with pytest.raises(ScoringError, match="'no-such-program' cannot be started"):
        list(run_stages(config))
    assert not (tmp_path / "run").exists()


def test_the_card_is_told_by_the_child_and_the_version_decides_what_is_stale(external, tmp_path):
    card = scorer_card("mine", external())
    assert (card.name, card.version, card.bradley_terry_scale) == ("mine", "grey 1", 0.1)
    assert scorer_settings("mine", external(batch_size=3)) == {"scorer": "mine", "version": "grey 1"}
    (tmp_path / "version").write_text("2")
    assert scorer_settings("mine", external())["version"] == "grey 2"
    assert not (tmp_path / "asked").exists()
    assert not (tmp_path / "logs").exists()


def test_its_memory_counts_when_scorers_take_turns(external):
    options = {"mine": external()}
    assert plan_turns(["mine", "world_taste"], options, 3.0) == [["mine", "world_taste"]]
    with pytest.raises(ScoringError, match=r"'mine' needs 3\.0 GB"):
        plan_turns(["mine"], options, 2.0)


SECTION = {"command": ["python", "x.py"]}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"score": {"scorers": ["mien"], "external": {"mine": SECTION}}},
            "score.scorers: .*'mien'; did you mean 'mine'",
        ),
        ({"score": {"external": {"clip_score": SECTION}}}, "score.external: 'clip_score' is a scorer already"),
        ({"score": {"external": {"a/b": SECTION}}}, "score.external: 'a/b' cannot be a scorer's name"),
        ({"score": {"external": {"..": SECTION}}}, "cannot be a scorer's name"),
        (
            {"score": {"external": {"m": SECTION}, "judges": {"m": {"model": "m"}}}},
            "score.judges: 'm' is a scorer already",
        ),
        ({"score": {"external": {"m": {}}}}, "score.external.m.command: Field required"),
        ({"score": {"external": {"m": {"command": []}}}}, "score.external.m.command: needs a program"),
        (
            {"score": {"external": {"m": {"comand": ["x"]}}}},
            "score.external.m.comand: no such key; did you mean 'command'",
        ),
        ({"score": {"external": {"m": SECTION}, "options": {"m": {"x": 1}}}}, "options names 'm', whose options stand"),
        ({"evaluate": {"held_out": ["mine"]}}, "evaluate: no scorer is called 'mine'"),
        ({"evaluate": {"checker": "world_cheker"}}, "evaluate: no scorer is called 'world_cheker'; did you mean"),
        ({"score": {"scorers": ["m", "m"], "external": {"m": SECTION}}}, "'m' is named twice"),
    ],
)
def test_mistakes_in_a_definition_are_told(values, message):
    with pytest.raises(ConfigError, match=message):
        parse_config(values)


def test_a_defined_name_works_wherever_a_scorer_is_named_and_comes_back_from_the_file():
    score = {"scorers": ["one"], "external": {"one": SECTION, "two": SECTION}, "judges": {"three": {"model": "m"}}}
    values = {"score": {**score, "scales": {"one": 2.0}}, "evaluate": {"held_out": ["two"], "checker": "three"}}
    config = parse_config(values)
    assert parse_config(tomllib.loads(dump_config(config))) == config
