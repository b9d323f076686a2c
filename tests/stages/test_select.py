"""The select stage on score tables written by hand: missing scores, ties, small groups, changed rules."""

from pathlib import Path

import numpy as np
import pytest

from accord.artifacts import open_stage
from accord.errors import ConfigError, MissingArtifact, SelectionError
from accord.files import read_table
from accord.images import image_id
from accord.runfile import parse_config
from accord.stages.select import select
from accord.tables import read_pairs, write_scores

SCORERS = ("world_alignment", "world_taste")


def make_run(folder: Path, scores: dict[str, list[list[float]]]) -> Path:
    """Write finished score stages: prompt -> one [alignment, taste] per image."""
    stage = open_stage(folder, "generate", {})
    stage.finish({})
    for k, name in enumerate(SCORERS):
        stage = open_stage(folder, f"score/{name}", {}, ("generate",))
        ids = [(image_id(p, i), p, row[k]) for p, rows in scores.items() for i, row in enumerate(rows)]
        values = np.array([score for _, _, score in ids])
        reasons = ["corrupt" if np.isnan(v) else "" for v in values]
        write_scores(
            stage.folder / "part-00000.parquet", [i for i, _, _ in ids], [p for _, p, _ in ids], values, reasons
        )
        stage.finish({}, {"card": {"bradley_terry_scale": 1.0}})
    return folder


def config(folder: Path, **method):
    return parse_config({"folder": str(folder), "score": {"scorers": list(SCORERS)}, "method": method})


CONFLICT = {"p": [[0, 2], [2, 0], [3, 3], [-1, -1]], "q": [[1, 1], [1, 1], [1, 1], [1, 1]]}
NAN = float("nan")


def test_every_valid_pair_is_kept_with_its_margins(tmp_path):
    outcome = select(config(make_run(tmp_path, CONFLICT)))
    pairs = read_pairs(tmp_path / "select" / "pairs.parquet")
    assert [(p.chosen_id, p.rejected_id) for p in pairs] == [("p-0002", "p-0003")]
    assert pairs[0].target == pytest.approx(np.mean(pairs[0].margins))
    assert min(pairs[0].margins) > 0
    assert outcome.manifest.counts["prompts_with_pairs"] == 1
    assert sum(outcome.manifest.counts["dropped"].values()) == 1
    assert outcome.manifest.facts["all_agree"] == 1.0


def test_rewards_are_written_beside_the_scores(tmp_path):
    select(config(make_run(tmp_path, CONFLICT)))
    table = read_table(tmp_path / "select" / "rewards.parquet").to_pydict()
    assert table["score:world_taste"][:4] == [2, 0, 3, -1]
    rewards = np.array(table["reward:world_taste"][:4])
    assert rewards.sum() == pytest.approx(2.0)  # N / 2
    assert list(np.argsort(rewards)) == [3, 1, 0, 2]


def test_unscored_images_are_in_no_pair_and_are_counted(tmp_path):
    scores = {"p": [[5, NAN], [1, 1], [2, 2], [NAN, 9]]}
    outcome = select(config(make_run(tmp_path, scores), pairs="best_worst"))
    pairs = read_pairs(tmp_path / "select" / "pairs.parquet")
    assert [(p.chosen_id, p.rejected_id) for p in pairs] == [("p-0002", "p-0001")]
    assert outcome.manifest.counts["images_unscored"] == 2


@pytest.mark.parametrize(
    "scores",
    [{"q": CONFLICT["q"]}, {"p": [[1, 1]], "q": [[2, 2]]}, {"p": [[NAN, 1], [1, NAN]]}, {"p": [[0, 1], [1, 0]]}],
    ids=["ties", "one image per prompt", "never fully scored", "no image dominates another"],
)
def test_no_valid_pair_at_all_is_one_clear_line(tmp_path, scores):
    with pytest.raises(SelectionError, match=r"no prompt has a valid pair under 'frontier' \(\d prompt.*more images"):
        select(config(make_run(tmp_path, scores)))


def test_changing_the_rule_reads_tables_only(tmp_path):
    make_run(tmp_path, CONFLICT)
    select(config(tmp_path))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "score").rglob("*")}
    outcome = select(config(tmp_path, pairs="best_worst", target="one"))
    assert not outcome.was_reused
    assert {p.target for p in read_pairs(tmp_path / "select" / "pairs.parquet")} == {1.0}
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "score").rglob("*")}
    assert select(config(tmp_path, pairs="best_worst", target="one")).was_reused


def test_auto_scale_is_recorded(tmp_path):
    make_run(tmp_path, {"p": [[0, 0], [2, 200], [4, 400]]})
    outcome = select(config(tmp_path, calibration={"name": "win_rate", "scale": "auto"}))
    assert outcome.manifest.facts["scales"] == {"world_alignment": 0.5, "world_taste": 0.005}


def test_a_wrong_option_names_the_right_one(tmp_path):
    with pytest.raises(ConfigError, match="has no option 'scal'; did you mean 'scale'"):
        select(config(make_run(tmp_path, CONFLICT), calibration={"name": "win_rate", "scal": "auto"}))


def test_missing_scores_name_the_command(tmp_path):
    with pytest.raises(MissingArtifact, match="run `accord score`"):
        select(config(tmp_path))
