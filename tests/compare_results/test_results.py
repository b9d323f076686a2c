"""The numbers of results.json are those of the score tables, and nothing missing is averaged over in silence."""

from __future__ import annotations

import math
import shutil
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from example_comparison import CHECKER, REWARDS, example_config, write_cells

from accord.compare.cells import Cell
from accord.compare.config import CompareConfig
from accord.compare.results import write_results
from accord.errors import ArtifactError
from accord.files import read_json, write_bytes

ARMS: dict[str, dict[str, Any]] = {
    "strong": {},
    "weak": {"steps": [50, 100]},
    "twin": {"steps": [100]},
    "only_taste": {"scorers": ["world_taste"]},
}
EFFECT = {"strong": (1.0, 1.0, 1.0), "weak": (0.3, 0.3, 0.3), "twin": (0.3, 0.3, 0.3), "only_taste": (-0.3, -0.3, 0.9)}


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> tuple[CompareConfig, list[Cell], dict[str, Any]]:
    """Return a finished comparison, its cells and its results; read only."""
    folder = tmp_path_factory.mktemp("results")
    config = example_config(folder, ARMS, tables={"most": {"title": "Most", "arms": ["strong", "weak", "twin"]}})
    cells = write_cells(config, EFFECT)
    return config, cells, read_json(write_results(folder, config, cells).parent / "results.json")


def scores(cell: Cell, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the tuned and the base model's scores of a cell, by prompt."""
    rows = pq.read_table(cell.folder / "evaluate" / "metrics" / "scores.parquet").to_pylist()
    tuned, base = ({r["prompt_id"]: r[name] for r in rows if r["model"] == model} for model in ("tuned", "base"))
    return np.array(list(tuned.values())), np.array([base[prompt] for prompt in tuned])


def test_win_rates_and_means_are_those_of_the_score_tables(comparison):
    _, cells, results = comparison
    mine = [cell for cell in cells if cell.arm == "strong"]
    row = results["arms"]["strong"]
    by_reward = {name: [np.mean(np.greater(*scores(cell, name))) for cell in mine] for name in REWARDS}
    for name, by_seed in by_reward.items():
        assert row["win_rates"][name]["by_seed"] == pytest.approx(by_seed)
        assert row["win_rates"][name]["value"] == pytest.approx(np.mean(by_seed))
        assert row["win_rates"][name]["std"] == pytest.approx(np.std(by_seed, ddof=1))
        gaps = [np.mean(np.subtract(*scores(cell, name))) for cell in mine]
        assert row["differences"][name]["value"] == pytest.approx(np.mean(gaps))
        assert row["scores"][name] - results["base"]["scores"][name] == pytest.approx(np.mean(gaps))
    assert row["mean_trained"]["value"] == pytest.approx(np.mean(list(by_reward.values())))
    assert row["seeds"] == [1, 2, 3]
    assert results["expected"] == 5 * 3
    assert results["missing"] == {}


def test_an_arm_of_one_reward_has_its_own_mean_beside_that_of_all(comparison):
    row = comparison[2]["arms"]["only_taste"]
    assert row["trains_on"] == ["world_taste"]
    assert row["mean_own"]["value"] == row["win_rates"]["world_taste"]["value"]
    assert row["mean_trained"]["value"] == pytest.approx(np.mean([row["win_rates"][n]["value"] for n in REWARDS]))


def test_skills_weigh_alike_and_follow_the_checker(comparison):
    _, cells, results = comparison
    gains = [np.subtract(*scores(cell, CHECKER)) for cell in cells if cell.arm == "strong"]
    per_skill = [np.mean([gain[n::3] for gain in gains]) for n in range(3)]  # prompts cycle through three skills
    row = results["arms"]["strong"]
    assert row["skill"]["value"] == pytest.approx(np.mean(per_skill))
    assert [row["skills"][s]["difference"]["value"] for s in ("counting", "colour", "position")] == pytest.approx(
        per_skill
    )
    assert row["skills"]["colour"]["tuned"] - results["base"]["skills"]["colour"] == pytest.approx(per_skill[1])


def test_pairs_of_arms_are_compared_on_the_same_prompt_and_training_seed(comparison):
    _, cells, results = comparison
    found = results["pairwise"]
    a, b = found["arms"].index("strong"), found["arms"].index("weak")
    one = {cell.seed: scores(cell, "world_taste")[0] for cell in cells if cell.arm == "strong"}
    two = {cell.seed: scores(cell, "world_taste")[0] for cell in cells if (cell.arm, cell.steps) == ("weak", 100)}
    expected = np.mean([np.mean(one[seed] > two[seed]) for seed in (1, 2, 3)])
    rate = found["world_taste"]
    assert rate["value"][a][b] == pytest.approx(expected, abs=1e-5)
    assert rate["value"][b][a] == pytest.approx(1 - expected, abs=1e-5)
    assert rate["low"][a][b] + rate["high"][b][a] == pytest.approx(1, abs=2e-5)
    assert rate["low"][a][b] < expected < rate["high"][a][b]
    assert rate["value"][a][a] is None


def test_the_best_is_told_apart_where_effects_differ_and_not_where_they_are_equal(comparison):
    _, _, results = comparison
    told = results["tables"]["most"]["groups"][0]["leaders"]["mean_trained"]
    assert told["best"] == "strong"
    assert told["close"] == []
    rows = results["arms"]
    gap = rows["strong"]["mean_trained"]["value"] - rows["weak"]["mean_trained"]["value"]
    assert told["gaps"]["weak"]["value"] == pytest.approx(gap)
    assert told["gaps"]["weak"]["low"] > 0


def test_equal_arms_are_marked_as_not_told_apart(tmp_path):
    config = example_config(tmp_path, {name: {} for name in ("one", "two", "three")})
    cells = write_cells(config, {"one": (0.3,) * 3, "two": (0.3,) * 3, "three": (-1.5,) * 3}, seed_std=0.0)
    results = read_json(write_results(tmp_path, config, cells).parent / "results.json")
    told = results["overall"]["mean_trained"]
    assert {told["best"], *told["close"]} == {"one", "two"}


def test_curves_hold_every_budget_and_read_steps_off_straight_lines(comparison):
    curve = comparison[2]["curves"]["weak"]
    assert set(comparison[2]["curves"]) == {"weak"}
    (first, half), (last, whole) = ((p["steps"], p["rates"]["mean_trained"]["value"]) for p in curve["points"])
    assert (first, last) == (50, 100)
    assert comparison[2]["arms"]["weak"]["mean_trained"]["value"] == whole
    assert 0.55 < half < 0.7
    assert curve["steps_to"]["mean_trained"]["0.55"] == pytest.approx(50 * 0.05 / (half - 0.5))
    assert curve["steps_to"]["world_taste"].keys() == {"0.55", "0.6", "0.65", "0.7"}


def test_settings_costs_and_health_are_means_over_seeds(comparison):
    facts = comparison[2]["arms"]["weak"]["facts"]
    assert (facts["beta"], facts["learning_rate"], facts["pairs_seen"]) == (250.0, 1e-3, 1600)
    assert facts["seconds"] == pytest.approx(0.5 * 100 + 2)  # seeds 1, 2, 3 add 1, 2, 3 seconds
    assert facts["accuracy"] == pytest.approx(np.mean(np.arange(91, 101) / 100))
    assert facts["distance"] == pytest.approx(0.1)
    assert facts["margin"] is None  # was not logged
    assert facts["prompts_with_pairs"] == 150


def test_volumes_are_products_and_what_only_one_arm_dominates(comparison):
    results = comparison[2]
    for name, start in (("above_0", 0.0), ("above_half", 0.5)):
        found = results["hypervolume"][name]
        for arm, row in results["arms"].items():
            product = math.prod(max(0.0, row["win_rates"][n]["value"] - start) for n in REWARDS)
            assert found["arms"][arm] == pytest.approx(product)
        assert max(found["arms"].values()) <= found["all"] + 1e-12
        assert found["exclusive"]["strong"] > found["exclusive"]["weak"]


def test_missing_cells_are_counted_and_shown_and_change_nothing_else(comparison, tmp_path):
    config, cells, whole = comparison
    rest = [c for c in cells if (c.arm, c.seed) != ("strong", 2) and c.arm != "only_taste" and c.steps != 50]
    page = write_results(tmp_path, config, rest)
    results = read_json(page.parent / "results.json")
    assert results["missing"] == {"strong": 1, "weak": 3, "only_taste": 3}
    assert {"arm": "weak", "steps": 50, "seeds": [1, 2, 3]} in results["missing_cells"]
    row, before = results["arms"]["strong"], whole["arms"]["strong"]
    kept = [before["win_rates"]["world_taste"]["by_seed"][n] for n in (0, 2)]
    assert row["win_rates"]["world_taste"]["by_seed"] == pytest.approx(kept)
    assert row["win_rates"]["world_taste"]["value"] == pytest.approx(np.mean(kept))
    assert results["arms"]["twin"] == whole["arms"]["twin"]
    assert "only_taste" not in results["arms"]
    assert results["tables"]["rest"]["absent"] == ["only_taste"]
    assert results["curves"]["weak"]["points"][0]["steps"] == 100
    text = (page.parent / "tables.md").read_text()
    assert "7 cells of 15 did not finish" in text
    assert "| only_taste | 200 | 1, 2, 3 |" in text
    assert "7\u202fcells" not in page.read_text()
    assert "7 cells of 15 did not finish: strong (1), weak (3) and only_taste (3)" in page.read_text()


def test_arms_without_a_common_seed_are_not_compared(comparison, tmp_path):
    config, cells, _ = comparison
    rest = [c for c in cells if (c.arm, c.seed) in (("strong", 1), ("twin", 2))]
    results = read_json(write_results(tmp_path, config, rest).parent / "results.json")
    assert results["pairwise"]["mean_trained"]["value"] == [[None, None], [None, None]]
    assert results["overall"]["mean_trained"]["gaps"] == {"twin": None}
    assert results["overall"]["mean_trained"]["close"] == ["twin"]  # not told apart, because nothing tells
    assert results["arms"]["strong"]["win_rates"]["world_taste"]["std"] is None


def test_same_cells_give_the_same_bytes_in_any_order(comparison, tmp_path):
    config, cells, _ = comparison
    first = write_results(tmp_path / "a", config, cells).parent
    second = write_results(tmp_path / "b", config, cells[::-1]).parent
    for name in ("results.json", "tables.md", "index.html"):
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_an_image_without_a_score_is_left_out(comparison, tmp_path):
    config, cells, whole = comparison
    folder = tmp_path / "cell"
    shutil.copytree(cells[0].folder, folder)
    path = folder / "evaluate" / "metrics" / "scores.parquet"
    rows = pq.read_table(path).to_pylist()
    next(row for row in rows if row["model"] == "tuned")["world_taste"] = float("nan")
    pq.write_table(pa.Table.from_pylist(rows), path)
    changed = [Cell(cells[0].arm, cells[0].steps, cells[0].seed, folder), *cells[1:]]
    row = read_json(write_results(tmp_path, config, changed).parent / "results.json")["arms"]["strong"]
    tuned, base = scores(cells[0], "world_taste")
    assert row["win_rates"]["world_taste"]["by_seed"][0] == pytest.approx(np.mean(tuned[1:] > base[1:]))
    assert row["win_rates"]["world_judge"] == whole["arms"]["strong"]["win_rates"]["world_judge"]


def test_cells_that_cannot_be_compared_are_refused(comparison, tmp_path):
    config, cells, _ = comparison
    with pytest.raises(ArtifactError, match="no cell of the comparison has finished"):
        write_results(tmp_path, config, [])
    other = example_config(tmp_path / "other", {"strong": {}})
    strange = write_cells(other, EFFECT, num_prompts=12)[0]
    with pytest.raises(ArtifactError, match="other prompts"):
        write_results(tmp_path, config, [cells[0], strange])
    folder = tmp_path / "cell"
    shutil.copytree(cells[1].folder, folder)
    told = (folder / "run.toml").read_text()
    write_bytes(folder / "run.toml", told.replace("250.0", "500.0").encode())
    with pytest.raises(ArtifactError, match="'strong' differ in beta"):
        write_results(tmp_path, config, [cells[0], Cell("strong", 200, 2, folder)])
    path = folder / "evaluate" / "metrics" / "scores.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["world_judge"]), path)
    with pytest.raises(ArtifactError, match="'strong', seed 2: the scores of 'world_judge'"):
        write_results(tmp_path, config, [cells[0], Cell("strong", 200, 2, folder)])
