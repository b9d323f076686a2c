"""The select stage on score tables written by hand: missing scores, ties, small groups, changed rules."""

from pathlib import Path

import numpy as np
import pytest

from accord.artifacts import open_stage
from accord.errors import ConfigError, MissingArtifact, SelectionError
from accord.files import read_table
from accord.images import image_id
from accord.registry import load
from accord.runfile import parse_config
from accord.stages import select as module
from accord.stages.select import select
from accord.tables import read_pairs, write_scores
from accord.types import IndexPairs

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


def test_a_label_that_prefers_the_rejected_image_turns_the_pair_round(tmp_path):
    """A label by the second scorer alone turns round the pairs in which it disagrees with how they were drawn."""
    run = make_run(tmp_path, {"p": [[0, 2], [5, 0], [1, 1]]})
    rule = {"pairs": {"name": "random", "num_pairs": 3}, "target": {"name": "scorer", "scorer": "world_taste"}}
    select(config(run, **rule))
    pairs = read_pairs(run / "select" / "pairs.parquet")
    assert [(p.chosen_id, p.rejected_id) for p in pairs] == [
        ("p-0000", "p-0001"), ("p-0000", "p-0002"), ("p-0002", "p-0001"),
    ]  # fmt: skip
    assert all(pair.target == 1 and pair.margins[1] > 0 for pair in pairs)


def test_ties_of_a_vote_are_dropped_counted_and_shared_out(tmp_path):
    run = make_run(tmp_path, {"p": [[0, 1], [1, 0]], "q": [[0, 0], [1, 1]], "r": [[0, 0], [1, 0]]})
    outcome = select(config(run, pairs="random", target="vote"))
    assert outcome.manifest.counts["pairs"] == 2
    assert outcome.manifest.counts["pairs_without_preference"] == 1
    assert outcome.manifest.counts["dropped"] == {"no pair with a preference": 1}
    assert outcome.manifest.facts["share_without_preference"] == pytest.approx(1 / 3)
    graded = select(config(run, pairs="random", target={"name": "vote", "ties": "graded"}))
    assert sorted(pair.target for pair in read_pairs(graded.folder / "pairs.parquet")) == [0.5, 1.0]


def test_a_target_without_any_preference_is_one_clear_line(tmp_path):
    run = make_run(tmp_path, {"p": [[0, 1], [1, 0]]})
    with pytest.raises(SelectionError, match="prefers neither image in any of 1 pairs"):
        select(config(run, pairs="random", target="vote"))


def test_labels_of_a_person_choose_and_vote(tmp_path):
    run = make_run(tmp_path, {"p": [[0, 1], [1, 0], [2, 2]]})
    (tmp_path / "labels.csv").write_text("image_a,image_b,label\np-0000,p-0001,b\np-0001,p-0002,a\n")
    pairs = {"name": "labelled", "file": str(tmp_path / "labels.csv")}
    select(config(run, pairs=pairs, target={"name": "vote", "ties": "human"}))
    found = {(p.chosen_id, p.rejected_id) for p in read_pairs(run / "select" / "pairs.parquet")}
    assert found == {("p-0001", "p-0000"), ("p-0002", "p-0001")}  # a tie goes to the person, two scorers outvote one


def test_a_persons_verdict_is_the_label_of_diffusion_dpo_and_ties_are_counted(tmp_path):
    run = make_run(tmp_path, {"p": [[0, 0], [1, 1], [2, 2]]})
    path = tmp_path / "labels.csv"
    path.write_text("image_a,image_b,label\np-0000,p-0001,a\np-0000,p-0002,b\np-0001,p-0002,tie\n")
    pairs = {"name": "labelled", "file": str(path)}
    outcome = select(config(run, pairs=pairs, target="one"))
    found = read_pairs(run / "select" / "pairs.parquet")
    assert {(p.chosen_id, p.rejected_id) for p in found} == {("p-0000", "p-0001"), ("p-0002", "p-0000")}
    assert outcome.manifest.counts["pairs_without_preference"] == 1
    select(config(run, pairs=pairs, target={"name": "one", "use_labels": False}))
    found = read_pairs(run / "select" / "pairs.parquet")
    assert {p.chosen_id for p in found} == {"p-0001", "p-0002"}
    assert len(found) == 3


def test_other_labels_in_the_same_file_are_not_taken_for_the_old_ones(tmp_path):
    run, path = make_run(tmp_path, {"p": [[0, 0], [1, 1]]}), tmp_path / "labels.csv"
    labelled = config(run, pairs={"name": "labelled", "file": str(path)}, target="one")
    for label, chosen in (("a", "p-0000"), ("b", "p-0001")):
        path.write_text(f"image_a,image_b,label\np-0000,p-0001,{label}\n")
        assert not select(labelled).was_reused
        assert [p.chosen_id for p in read_pairs(run / "select" / "pairs.parquet")] == [chosen]
    assert select(labelled).was_reused


def test_a_missing_file_of_labels_is_one_clear_line(tmp_path):
    run = make_run(tmp_path, CONFLICT)
    with pytest.raises(SelectionError, match="there is no file of labels"):
        select(config(run, pairs={"name": "labelled", "file": str(tmp_path / "none.csv")}))


def test_a_target_without_a_value_is_one_clear_line(tmp_path, monkeypatch):
    monkeypatch.setattr(
        module.registry, "load", lambda kind, name: odd_target if kind == "targets" else load(kind, name)
    )
    with pytest.raises(SelectionError, match=r"target 'one' has no value for 1 of 3 pairs.*leave out the scorer"):
        select(config(make_run(tmp_path, {"p": [[0, 0], [1, 1], [2, 2]]}), pairs="random", target="one"))
    assert not (tmp_path / "select" / "pairs.parquet").exists()


def odd_target(pairs):
    return np.where(np.arange(len(pairs.rewards_chosen)) == 1, np.nan, 1.0)


def test_turning_a_pair_round_turns_its_label_too():
    pairs = IndexPairs(*np.array([[0, 0], [1, 2], [3, 0]]), {"why": 1}, np.array([1.0, -1.0]))
    found = module.turned(pairs, np.array([False, True]))
    assert (found.chosen.tolist(), found.rejected.tolist(), found.labels.tolist()) == ([1, 0], [3, 2], [1.0, 1.0])
    assert found.dropped == {"why": 1}


def test_smoothing_uses_the_ranges_of_the_run_and_records_them(tmp_path):
    scores = {f"p{n}": [[n, 0], [n + 1, 0.5]] for n in range(9)}
    outcome = select(config(make_run(tmp_path, scores), pairs="best_worst", target="smoothed"))
    low, high = outcome.manifest.facts["ranges"]["world_alignment"]
    assert (low, high) == pytest.approx((0, 9), abs=0.05)
    gap = 1 / (high - low)
    second = outcome.manifest.facts["ranges"]["world_taste"]
    expected = 5 * (np.tanh(gap / 2) + np.tanh(0.5 / (second[1] - second[0]) / 2))
    assert read_pairs(outcome.folder / "pairs.parquet")[0].target == pytest.approx(expected)
