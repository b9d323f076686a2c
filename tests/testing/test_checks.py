"""The shared checks catch plug-ins that break their promises."""

import warnings
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from accord.calibrate.win_rate import win_rate
from accord.diffusion.noise import gaussian
from accord.losses.margin import margin, metrics
from accord.losses.squared import squared
from accord.noise.gaussian_shared import gaussian_shared
from accord.seeding import address
from accord.select.best_worst import best_worst
from accord.targets.win_rate_gap import win_rate_gap
from accord.testing.checks import (
    check_calibration,
    check_loss,
    check_noise,
    check_scorer,
    check_selector,
    check_target,
    check_timestep_sampling,
    check_weighting,
)
from accord.types import IndexPairs, LossOutput, ScorerCard

# --- calibrations ------------------------------------------------------------------------------------------------


def raw(scores, scales):
    return scores * scales


def lower_is_better(scores, scales):
    return -scores


def unscored_is_zero(scores, scales):
    return np.nan_to_num(scores)


def ties_broken_by_position(scores, scales):
    return scores.argsort(axis=1, kind="stable").argsort(axis=1).astype(float)


def unscored_spoils_the_prompt(scores, scales):
    return scores - scores.mean(axis=(1, 2), keepdims=True)


def half_precision(scores, scales):
    return win_rate(scores, scales).astype(np.float32)


def overwriting(scores, scales):
    scores *= scales
    return scores


def test_a_sound_calibration_passes():
    check_calibration(raw)


@pytest.mark.parametrize(
    ("calibrate", "promise"),
    [
        (lower_is_better, "order of scores"),
        (unscored_is_zero, "unscored image has no reward"),
        (ties_broken_by_position, "equal scores equal rewards"),
        (unscored_spoils_the_prompt, "every scored one has"),
        (half_precision, "float64"),
        (overwriting, "left as they are"),
        (lambda scores, scales: scores[:, :, :1], "shape"),
    ],
)
def test_a_broken_calibration_is_caught(calibrate, promise):
    with pytest.raises(AssertionError, match=promise):
        check_calibration(calibrate)


# --- selectors ---------------------------------------------------------------------------------------------------


def first_is_best(rewards, pool):
    """Ties become a preference by position, silently."""
    mean = np.nan_to_num(rewards.mean(axis=2))
    return IndexPairs(np.arange(len(rewards)), mean.argmax(axis=1), mean.argmin(axis=1))


def one_of_the_ties(rewards, pool):
    """Only the first of the tied pairs, so that the order of images decides."""
    pairs = best_worst(rewards)
    _, first = np.unique(pairs.prompt, return_index=True)
    return IndexPairs(pairs.prompt[first], pairs.chosen[first], pairs.rejected[first], pairs.dropped)


def uncounted(rewards, pool):
    pairs = best_worst(rewards)
    return IndexPairs(pairs.prompt, pairs.chosen, pairs.rejected)


def ignores_missing(rewards, pool):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return best_worst(np.nanmean(rewards, axis=2, keepdims=True))


def itself(rewards, pool):
    prompts, zeros = np.arange(len(rewards)), np.zeros(len(rewards), dtype=int)
    return IndexPairs(prompts, zeros, zeros)


def nothing(rewards, pool):
    empty = np.empty(0, dtype=int)
    return IndexPairs(empty, empty, empty, {"none": len(rewards)})


def twice(rewards, pool):
    p = best_worst(rewards)
    return IndexPairs(*(np.tile(x, 2) for x in (p.prompt, p.chosen, p.rejected)), p.dropped)


@pytest.mark.parametrize(
    ("select", "promise"),
    [
        (first_is_best, "not paired with itself"),
        (one_of_the_ties, "order of images"),
        (uncounted, "counted once in dropped"),
        (ignores_missing, "without one of its rewards"),
        (itself, "not paired with itself"),
        (nothing, "some pair is found"),
        (twice, "no pair is given twice"),
    ],
)
def test_a_broken_selector_is_caught(select, promise):
    with pytest.raises(AssertionError, match=promise):
        check_selector(select)


# --- targets -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "promise"),
    [
        (lambda pairs: np.abs(win_rate_gap(pairs)), "flips the sign"),
        (lambda pairs: np.ones(len(pairs.rewards_chosen)), "flips the sign"),
        (lambda pairs: np.zeros(len(pairs.rewards_chosen)), "some pair has a preference"),
        (lambda pairs: win_rate_gap(pairs) / np.abs(win_rate_gap(pairs)), "equal have target 0"),  # 0 / 0
        (lambda pairs: win_rate_gap(pairs) / (1 + np.abs(win_rate_gap(pairs)).max()), "other pairs"),
        (lambda pairs: win_rate_gap(pairs).astype(np.float32), "float64"),
        (lambda pairs: win_rate_gap(pairs)[:, None], "one target per pair"),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_broken_target_is_caught(target, promise):
    with pytest.raises(AssertionError, match=promise):
        check_target(target)


# --- losses ------------------------------------------------------------------------------------------------------


def output(per_pair, errors, targets, beta):
    return LossOutput(per_pair.mean(), per_pair, metrics(errors, targets, beta))


def wrong_sign(errors, targets, beta):
    return output((targets + beta * margin(errors)).square(), errors, targets, beta)


def batch_centred(errors, targets, beta):
    m = margin(errors)
    return output((targets - beta * (m - m.mean())).square(), errors, targets, beta)


def overflowing(errors, targets, beta):
    return output(torch.log1p(torch.exp(-targets * beta * margin(errors))), errors, targets, beta)


def without_metrics(errors, targets, beta):
    return replace(squared(errors, targets, beta), metrics={})


def summed(errors, targets, beta):
    return replace(squared(errors, targets, beta), loss=squared(errors, targets, beta).per_pair.sum())


def attached_metrics(errors, targets, beta):
    out = squared(errors, targets, beta)
    return replace(out, metrics={**out.metrics, "margin": margin(errors)})


@pytest.mark.parametrize(
    ("loss", "promise"),
    [
        (wrong_sign, "preferred image smaller"),
        (batch_centred, "does not depend on the others"),
        (overflowing, "finite for errors"),
        (without_metrics, "every loss reports margin"),
        (summed, "mean over pairs"),
        (attached_metrics, "metric margin is detached"),
    ],
)
def test_a_broken_loss_is_caught(loss, promise):
    with pytest.raises(AssertionError, match=promise):
        check_loss(loss)


# --- noises, weightings, timestep samplings ----------------------------------------------------------------------


def from_the_global_generator(request):
    noise = torch.randn(len(request.visits), *request.shape)
    return noise, noise


def from_the_place_in_the_batch(request):
    noise = gaussian([address(request.seed, "noise", row) for row in range(len(request.visits))], request.shape)
    return noise, noise


@pytest.mark.parametrize(
    ("noise", "promise"),
    [
        (from_the_global_generator, "global generator"),
        (from_the_place_in_the_batch, "does not depend on its batch"),
        (lambda request: tuple(side.half() for side in gaussian_shared(request)), "float32"),
        (lambda request: tuple(side[:, :1] for side in gaussian_shared(request)), "shape"),
    ],
)
def test_a_broken_noise_is_caught(noise, promise):
    with pytest.raises(AssertionError, match=promise):
        check_noise(noise)


@pytest.mark.parametrize(
    ("weigh", "promise"),
    [
        (lambda log_snr: log_snr.exp(), "finite"),
        (lambda log_snr: torch.tanh(log_snr), "at least 0"),
        (lambda log_snr: torch.softmax(-log_snr.clamp(-9, 9), 0), "does not depend on others"),
        (lambda log_snr: torch.zeros_like(log_snr), "some timestep"),
    ],
)
def test_a_broken_weighting_is_caught(weigh, promise):
    with pytest.raises(AssertionError, match=promise):
        check_weighting(weigh)


@pytest.mark.parametrize(
    ("sample", "promise"),
    [
        (lambda u: u, "strictly between 0 and 1"),
        (lambda u: u.float(), "float64"),
        (lambda u: 1 - u.clamp_min(1e-9), "keep the order"),
        (lambda u: (u.argsort().argsort().double() + 0.5) / len(u), "does not depend on the others"),
    ],
)
def test_a_broken_timestep_sampling_is_caught(sample, promise):
    with pytest.raises(AssertionError, match=promise):
        check_timestep_sampling(sample)


# --- scorers -----------------------------------------------------------------------------------------------------

CARD = ScorerCard("brightness", "1", "mean of the pixels", "0 to 255", 0.1, False, "Apache-2.0", "none", 0.0, 255.0)
IMAGES = [np.full((4, 4, 3), level, dtype=np.uint8) for level in (10, 120, 250)]
PROMPTS = ["dark", "grey", "white"]


def scorer(score, **card):
    return SimpleNamespace(card=replace(CARD, **card), score=score)


def brightness(images, prompts):
    return np.array([image.mean() for image in images])


def test_a_sound_scorer_passes():
    check_scorer(scorer(brightness), IMAGES, PROMPTS)


def test_a_tolerance_admits_small_differences_between_batches():
    slightly = scorer(lambda images, prompts: brightness(images, prompts) + 1e-6 * len(images))
    check_scorer(slightly, IMAGES, PROMPTS, tolerance=1e-4)
    with pytest.raises(AssertionError, match="depends on the batch"):
        check_scorer(slightly, IMAGES, PROMPTS)


@pytest.mark.parametrize(
    ("broken", "promise"),
    [
        (scorer(lambda images, prompts: brightness(images, prompts) - brightness(images, prompts).min()), "the batch"),
        (scorer(lambda images, prompts: brightness(images, prompts) + np.arange(len(images))), "the batch"),
        (scorer(lambda images, prompts: np.maximum.accumulate(brightness(images, prompts))), "its place"),
        (scorer(lambda images, prompts: brightness(images, prompts).astype(np.float32)), "float64"),
        (scorer(lambda images, prompts: brightness(images, prompts)[:, None]), "one score per image"),
        (scorer(lambda images, prompts: brightness(images, prompts).tolist()), "scores are an array"),
        (scorer(lambda images, prompts: np.full(len(images), np.nan)), "can be scored"),
        (scorer(brightness, uses_prompt=True), "no score changed"),
        (scorer(lambda images, prompts: np.array([float(len(p)) for p in prompts])), "a score changed"),
        (scorer(brightness, high=200.0), "above the card's 200"),
        (scorer(brightness, low=20.0), "below the card's low"),
        (scorer(brightness, citation=" "), "citation is empty"),
        (scorer(brightness, bradley_terry_scale=-1.0), "above 0"),
    ],
)
def test_a_broken_scorer_is_caught(broken, promise):
    with pytest.raises(AssertionError, match=promise):
        check_scorer(broken, IMAGES, PROMPTS)


def test_a_scorer_that_is_not_repeatable_is_caught():
    generator = np.random.default_rng(0)
    with pytest.raises(AssertionError, match="same scores"):
        check_scorer(scorer(lambda images, prompts: generator.random(len(images))), IMAGES, PROMPTS)
