"""Noise by inversion in the loop: cached, live, and what it costs."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from accord.errors import TrainingError
from accord.losses.logistic import logistic
from accord.noise.ddim_inversion import ddim_inversion
from accord.noise.gaussian_shared import gaussian_shared
from accord.noise.prior import prior
from accord.noise.renoise import renoise
from accord.train.cache import CacheWriter, TensorCache
from accord.train.data import Visits, make_batch
from accord.train.denoising import twice
from accord.train.noise_cache import NOISE, NoiseCache, row_id
from accord.train.visit_noise import noise_request, predictor


def cached(run, folder, rule):
    """Return the run's data with the noise of all its visits computed beforehand, as the invert stage does."""
    from contextlib import nullcontext

    run.model.denoiser.requires_grad_(False)  # as under a LoRA adapter: kernels round otherwise
    visits, size = Visits(run.data.table, run.settings.seed), run.settings.batch_size
    with CacheWriter(folder) as writer:
        for start in range(0, run.settings.steps * size, size):
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


def test_smpo_with_target_1_and_gaussian_noise_is_diffusion_dpo(make_run, method):
    """The smoothed target scales the margin inside the logistic loss, so at 1 nothing is left of it."""
    import numpy as np

    from accord.targets.smoothed import smoothed
    from accord.types import PairScores

    low, high = 11.543526500463486, 28.201571106910706
    gap = 2 * np.arctanh(0.1) * (high - low)  # where 10 tanh(delta / 2) is 1
    both = PairScores(("pickscore",), *(np.array([[x]]) for x in (20 + gap, 20, 0, 0)))
    target = smoothed(both)
    assert target == pytest.approx(1.0, abs=1e-12)
    method = replace(method, loss=logistic, noise=gaussian_shared)
    logs = []
    for value in (1.0, float(target[0].round(12))):
        run = make_run(steps=4, beta=200.0, method=method)
        run.data = replace(run.data, table=replace(run.data.table, targets=np.full(30, value)))
        logs.append([log.loss for log in run.logs()])
    assert logs[0] == logs[1]
