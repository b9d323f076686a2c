"""Noise by inversion in the loop: cached, live, and what it costs."""

from contextlib import nullcontext
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from accord.config import MethodConfig
from accord.errors import TrainingError
from accord.noise.ddim_inversion import ddim_inversion
from accord.noise.prior import prior
from accord.noise.renoise import renoise
from accord.recipes.choices import recipe_method
from accord.targets.smoothed import PUBLISHED, smoothed
from accord.train.cache import CacheWriter, TensorCache
from accord.train.data import Visits, make_batch
from accord.train.denoising import twice
from accord.train.method import load_method
from accord.train.noise_cache import NOISE, NoiseCache, row_id
from accord.train.visit_noise import noise_request, predictor
from accord.types import PairScores


def cached(run, folder, rule):
    """Return the run's data with the noise of all its visits computed beforehand, as the invert stage does."""
    run.model.denoiser.requires_grad_(False)  # as under a LoRA adapter: kernels round otherwise
    visits, size = Visits(run.data.table, run.settings.seed), run.settings.micro_batch_size(1)
    with CacheWriter(folder) as writer:
        for start in range(0, run.settings.steps * run.settings.batch_size, size):
            visited = visits.between(start, start + size)
            batch = make_batch(run.data, visited, torch.device("cpu"))
            draws = torch.tensor([visit.draw for visit in visited], dtype=torch.float64)
            timesteps = run.model.schedule.timestep(run.method.timesteps(draws))
            denoiser = predictor(run.model, lambda: nullcontext(run.model.denoiser), twice(batch.conditioning))
            request = noise_request(run.model, run.data, run.settings.seed, batch, timesteps, denoiser, None)
            ids = zip(batch.prompt_ids * 2, batch.visits * 2, batch.chosen_ids + batch.rejected_ids, strict=True)
            writer.add([row_id(*row) for row in ids], {NOISE: torch.cat(rule(request))})
    return replace(run.data, noise=NoiseCache(TensorCache(folder)))


@pytest.mark.parametrize("rule", [renoise, partial(ddim_inversion, num_steps=3)])
def test_cached_noise_is_what_the_loop_would_have_found_bit_for_bit(make_run, method, tmp_path, rule):
    method = replace(method, noise=rule)
    live = make_run(steps=4, method=method)
    expected = [(log.loss, log.metrics["margin"]) for log in live.logs()]
    run = make_run(steps=4, method=method)
    run.data = cached(run, tmp_path, rule)
    run.model.calls.clear()
    assert [(log.loss, log.metrics["margin"]) for log in run.logs()] == expected
    assert len(run.model.calls) == 2 * 4  # reference and policy, nothing else


def test_live_inversion_costs_its_predictions(make_run, method):
    for rule, calls in ((partial(renoise, num_steps=3), 6), (partial(ddim_inversion, num_steps=3), 3)):
        run = make_run(steps=2, method=replace(method, noise=rule))
        list(run.logs())
        assert len(run.model.calls) == 2 * (2 + calls)


def test_inversion_along_the_policy_changes_as_it_learns(make_run, method):
    runs = {}
    for model in ("initial", "policy"):
        run = make_run(steps=5, learning_rate=5e-2, method=replace(method, noise=partial(renoise, model=model)))
        runs[model] = [log.loss for log in run.logs()]
    assert runs["initial"][0] == runs["policy"][0]
    assert runs["initial"][-1] != runs["policy"][-1]


def test_full_fine_tuning_inverts_beforehand_or_along_the_policy(make_run, method):
    with pytest.raises(TrainingError, match="run `accord invert` first"):
        list(make_run("full", method=replace(method, noise=renoise)).logs())
    assert (
        len(list(make_run("full", steps=2, method=replace(method, noise=partial(renoise, model="policy"))).logs())) == 2
    )


def test_prior_noise_comes_from_the_images_own_store(make_run, method):
    asked = []

    def draw(ids):
        asked.append(tuple(ids))
        return torch.stack([torch.full((4, 3, 3), float(identity[-1])) for identity in ids])

    run = make_run(steps=2, method=replace(method, noise=prior))
    with pytest.raises(TrainingError, match="drawn here"):
        list(run.logs())
    run = make_run(steps=2, method=replace(method, noise=prior))
    run.data = replace(run.data, prior=draw)
    list(run.logs())
    assert all(identity.startswith("p") for ids in asked for identity in ids)
    assert len(asked) == 4  # chosen and rejected of two steps


def recipe(name, **changes):
    """Return the choices of a recipe, some replaced."""
    return load_method(MethodConfig.model_validate(recipe_method(name, "sd15") | changes))


def test_smpo_with_target_1_and_gaussian_noise_is_diffusion_dpo_bit_for_bit(make_run):
    """At 3.34 points of PickScore, where gamma (2 p - 1) is 1, the smoothed target leaves Diffusion-DPO."""
    low, high = PUBLISHED["pickscore"]
    gap = 2 * np.arctanh(0.1) * (high - low)
    targets = smoothed(PairScores(("pickscore",), *(np.full((30, 1), x) for x in (20 + gap, 20.0, 0.0, 0.0))))
    assert gap == pytest.approx(3.34, abs=5e-3)
    logs = {}
    for name, values, changes in (
        ("diffusion_dpo", np.ones(30), {}),
        ("smpo", targets, {"noise": "gaussian_shared"}),
        ("smpo twice as sure", 2 * targets, {"noise": "gaussian_shared"}),
    ):
        run = make_run(steps=4, beta=200.0, method=recipe(name.split(" ")[0], **changes))
        run.data = replace(run.data, table=replace(run.data.table, targets=values))
        logs[name] = [(log.loss, log.gradient_norm, log.metrics) for log in run.logs()]
    assert logs["smpo"] == logs["diffusion_dpo"]
    assert logs["smpo twice as sure"] != logs["diffusion_dpo"]


def test_blocks_of_inversion_are_the_micro_batches_of_training(make_run, method, tmp_path):
    method = replace(method, noise=partial(renoise, num_steps=2))
    live = make_run(steps=3, batch_size=8, gradient_accumulation=4, method=method)
    expected = [log.loss for log in live.logs()]
    run = make_run(steps=3, batch_size=8, gradient_accumulation=4, method=method)
    run.data = cached(run, tmp_path, method.noise)
    assert [log.loss for log in run.logs()] == expected
