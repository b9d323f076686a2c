import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from accord.calibrate.mean_reward import mean_reward
from accord.calibrate.win_rate import win_rate
from accord.errors import SelectionError
from accord.select import index_pairs as module
from accord.select.best_worst import best_worst
from accord.select.dominance import dominates
from accord.select.frontier import frontier
from accord.types import IndexPairs

RULES = [best_worst, frontier]

# Few values, so that ties and partial ties are frequent.
small = st.one_of(st.integers(0, 4).map(float), st.just(float("nan")))
groups = hnp.arrays(np.float64, hnp.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=5), elements=small)


def triples(pairs: IndexPairs) -> list[tuple[int, int, int]]:
    return list(zip(pairs.prompt.tolist(), pairs.chosen.tolist(), pairs.rejected.tolist(), strict=True))


def of_one_prompt(pairs: IndexPairs) -> set[tuple[int, int]]:
    return {(chosen, rejected) for _, chosen, rejected in triples(pairs)}


# --- frontier ----------------------------------------------------------------------------------------------------


def test_figure_of_the_authors():
    # Images 1 to 5 of the figure: two rewards, 1 to 3 on the upper frontier, 4 and 5 on the lower.
    rewards = np.array([[[1.0, 5.0], [3.0, 4.0], [5.0, 2.0], [0.0, 3.0], [2.0, 1.0]]])
    accepted, rejected = {(1, 4), (2, 4), (2, 5), (3, 5)}, {(1, 5), (3, 4)}
    found = {(chosen + 1, rejected + 1) for chosen, rejected in of_one_prompt(frontier(rewards))}
    assert found == accepted
    assert not found & rejected


def test_an_image_between_the_frontiers_is_in_no_pair():
    rewards = np.array([[[3.0, 3.0], [2.0, 2.0], [1.0, 1.0]]])
    assert of_one_prompt(frontier(rewards)) == {(0, 2)}


def test_an_image_on_both_frontiers_is_in_no_pair():
    rewards = np.array([[[3.0, 3.0], [1.0, 1.0], [0.0, 9.0]]])  # the last neither dominates nor is dominated
    assert of_one_prompt(frontier(rewards)) == {(0, 1)}


def test_equal_images_do_not_dominate_each_other_and_are_all_paired():
    rewards = np.array([[[2.0, 2.0], [2.0, 2.0], [1.0, 2.0], [1.0, 2.0]]])
    assert of_one_prompt(frontier(rewards)) == {(0, 2), (0, 3), (1, 2), (1, 3)}


def brute_force_frontier(rewards: np.ndarray) -> list[tuple[int, int, int]]:
    """The definition, image by image."""
    found = []
    for p, group in enumerate(rewards):
        valid = [i for i in range(len(group)) if not np.isnan(group[i]).any()]

        def beats(i, j, group=group):
            return bool((group[i] >= group[j]).all() and (group[i] > group[j]).any())

        upper = [i for i in valid if not any(beats(j, i) for j in valid)]
        lower = [i for i in valid if not any(beats(i, j) for j in valid)]
        found += [(p, i, j) for i in upper for j in lower if i not in lower and j not in upper and beats(i, j)]
    return found


@given(groups)
def test_frontier_equals_its_definition(rewards):
    assert triples(frontier(rewards)) == brute_force_frontier(rewards)


@given(groups)
def test_chosen_dominates_rejected_and_has_the_higher_mean(rewards):
    pairs = frontier(rewards)
    assert dominates(rewards)[pairs.prompt, pairs.chosen, pairs.rejected].all()
    mean = mean_reward(rewards)
    assert (mean[pairs.prompt, pairs.chosen] > mean[pairs.prompt, pairs.rejected]).all()


@given(groups)
def test_calibration_does_not_change_frontier_pairs(scores):
    calibrated = win_rate(scores, np.linspace(1, 3, scores.shape[2]))
    alone = (~np.isnan(scores)).sum(axis=1, keepdims=True) < 2  # calibration has no opponent for these
    assert triples(frontier(calibrated)) == triples(frontier(np.where(alone, np.nan, scores)))


def test_calibration_changes_best_of_a_sum():
    # The first scorer's scale is wide: a raw sum follows it, though image 0 is by far the worst to the second scorer.
    scores = np.array([[[100.0, 0.0], [50.0, 5.0], [0.0, 5.0]]])
    assert of_one_prompt(best_worst(scores)) == {(0, 2)}
    assert of_one_prompt(best_worst(win_rate(scores, np.ones(2)))) == {(1, 2)}


# CaPO notes, simulated with independent or correlated Gaussian rewards:
# (K, correlation, N, images on the upper frontier, on both, cross pairs, dominated pairs,
#  share of prompts without a pair)
SIMULATED = [
    (3, 0.0, 4, 2.9, 1.9, 1.4, 1.3, 0.27),
    (3, 0.0, 8, 4.4, 1.7, 7.2, 4.8, 0.011),
    (3, 0.0, 16, 6.5, 1.3, 26, 14, 0.0),
    (3, 0.3, 16, 4.5, 0.2, 18, 13, 0.0),
    (2, 0.0, 16, 3.4, 0.1, 10.5, 8.3, 0.0),
    (4, -0.2, 16, 13.1, 10.3, 9.3, 4.1, 0.055),
]


@pytest.mark.parametrize(
    ("num_scorers", "correlation", "num_images", "on_upper", "on_both", "cross", "dominated", "without"), SIMULATED
)
def test_simulated_sizes_of_frontiers(
    num_scorers, correlation, num_images, on_upper, on_both, cross, dominated, without
):
    covariance = np.full((num_scorers, num_scorers), correlation) + (1 - correlation) * np.eye(num_scorers)
    num_prompts = 4000
    generator = np.random.default_rng(11)
    rewards = generator.multivariate_normal(np.zeros(num_scorers), covariance, size=(num_prompts, num_images))

    wins = dominates(rewards)
    upper, lower = ~wins.any(axis=1), ~wins.any(axis=2)
    crossed = (upper & ~lower).sum(axis=1) * (lower & ~upper).sum(axis=1)
    pairs = frontier(rewards)
    accepted = np.bincount(pairs.prompt, minlength=num_prompts)
    sizes = ((upper.sum(axis=1), on_upper), (lower.sum(axis=1), on_upper), ((upper & lower).sum(axis=1), on_both))
    for counts, expected in (*sizes, (crossed, cross), (accepted, dominated)):
        rounding = 0.5 if isinstance(expected, int) else 0.05
        error = counts.std() / num_prompts**0.5
        # The notes do not say how many prompts were simulated; theirs is taken to be as large as ours.
        assert counts.mean() == pytest.approx(expected, abs=rounding + 4 * 2**0.5 * error)
    dropped = pairs.dropped.get("no image dominates another", 0) / num_prompts
    assert dropped == pytest.approx(without, abs=0.005 + 4 * 2**0.5 * (without * (1 - without) / num_prompts) ** 0.5)


# --- best and worst ----------------------------------------------------------------------------------------------


def test_best_over_worst_by_the_mean_over_scorers():
    rewards = np.array([[[0.9, 0.1], [0.6, 0.6], [0.2, 0.3]]])
    assert of_one_prompt(best_worst(rewards)) == {(1, 2)}


def test_all_tied_best_are_paired_with_all_tied_worst():
    rewards = np.array([[[2.0], [1.0], [0.0], [2.0], [0.0]]])
    assert of_one_prompt(best_worst(rewards)) == {(0, 2), (0, 4), (3, 2), (3, 4)}


@given(groups)
def test_best_worst_equals_its_definition(rewards):
    expected = []
    for p, group in enumerate(mean_reward(rewards)):
        valid = [i for i in range(len(group)) if not np.isnan(group[i])]
        best, worst = (f((group[i] for i in valid), default=0) for f in (max, min))
        if best > worst:
            expected += [(p, i, j) for i in valid for j in valid if group[i] == best and group[j] == worst]
    assert triples(best_worst(rewards)) == expected


def test_a_best_worst_pair_need_not_agree_on_every_reward_but_a_frontier_pair_does():
    rewards = win_rate(np.random.default_rng(0).normal(size=(300, 16, 3)), np.ones(3))
    agreement = {}
    for rule in RULES:
        pairs = rule(rewards)
        gaps = rewards[pairs.prompt, pairs.chosen] - rewards[pairs.prompt, pairs.rejected]
        agreement[rule] = (gaps >= 0).all(axis=1).mean()
    assert agreement[frontier] == 1.0
    assert agreement[best_worst] < 1.0


# --- both --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES)
def test_prompts_without_a_pair_are_counted_by_reason(rule):
    nan = np.nan
    rewards = np.array([
        [[1.0], [2.0], [3.0]],
        [[1.0], [nan], [nan]],
        [[nan], [nan], [nan]],
        [[5.0], [5.0], [nan]],
    ])  # fmt: skip
    pairs = rule(rewards)
    assert triples(pairs) == [(0, 2, 0)]
    tied = {best_worst: "all images tied", frontier: "no image dominates another"}[rule]
    assert pairs.dropped == {"fewer than two fully scored images": 2, tied: 1}


@pytest.mark.parametrize("rule", RULES)
def test_an_image_without_one_of_its_rewards_is_left_out(rule):
    rewards = np.array([[[9.0, np.nan], [2.0, 2.0], [1.0, 1.0], [np.nan, -9.0]]])
    assert of_one_prompt(rule(rewards)) == {(1, 2)}


@pytest.mark.parametrize("rule", RULES)
@given(rewards=groups, seed=st.integers(0, 1000))
def test_nothing_depends_on_the_order_of_images(rule, rewards, seed):
    order = np.random.default_rng(seed).permutation(rewards.shape[1])
    moved = rule(rewards[:, order])
    back = {(p, int(order[i]), int(order[j])) for p, i, j in triples(moved)}
    assert back == set(triples(rule(rewards)))
    assert moved.dropped == rule(rewards).dropped


@pytest.mark.parametrize("rule", RULES)
@given(rewards=groups)
def test_every_prompt_has_a_pair_or_is_counted(rule, rewards):
    pairs = rule(rewards)
    assert len(np.unique(pairs.prompt)) + sum(pairs.dropped.values()) == len(rewards)
    assert triples(pairs) == sorted(set(triples(pairs)))


@pytest.mark.parametrize("rule", RULES)
def test_chunks_do_not_show(rule, monkeypatch):
    rewards = np.random.default_rng(0).integers(0, 5, size=(50, 6, 2)).astype(float)
    whole = rule(rewards)
    monkeypatch.setattr(module, "_CELLS_PER_CHUNK", 6 * 6 * 7)  # 7 prompts at a time
    in_parts = rule(rewards)
    assert triples(in_parts) == triples(whole)
    assert in_parts.dropped == whole.dropped


@pytest.mark.parametrize("rule", RULES)
def test_no_prompts_give_no_pairs(rule):
    pairs = rule(np.empty((0, 4, 2)))
    assert triples(pairs) == []
    assert pairs.dropped == {}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("shape", [(3, 4), (3, 4, 0)])
def test_wrong_shapes_are_refused(rule, shape):
    with pytest.raises(SelectionError, match=r"rewards \(P, N, K\)"):
        rule(np.zeros(shape))
