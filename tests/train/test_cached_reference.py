"""A reference known by its errors alone: the same training, half the forward passes, no second model."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from test_training_checkpoint import IDENTITY, assert_same, everything, numbers

from accord.config import MethodConfig
from accord.errors import ConfigError, MissingArtifact, TrainingError
from accord.losses.dspo import dspo
from accord.losses.logistic import logistic
from accord.noise.gaussian_shared import gaussian_shared
from accord.noise.prior import prior
from accord.train.adapters import wrap
from accord.train.beforehand import require_cacheable_reference
from accord.train.cache import CacheWriter, TensorCache
from accord.train.cached_reference import ERRORS, CachedReference, ErrorCache, visit_ids
from accord.train.checkpoint import load_checkpoint, save_checkpoint
from accord.train.data import Visits, make_batch
from accord.train.denoising import make_task
from accord.train.visit_noise import visit_noise

MODES = pytest.mark.parametrize("mode", ["lora", "full"])


def fill(run, folder, shift=0.0):
    """Compute the errors of all visits of a run that has not begun, in blocks of its micro-batches."""
    if run.adapter.mode == "full":
        untrained = wrap(run.model.denoiser, run.adapter, run.model.lora_targets, run.settings.seed)
    else:
        untrained = run.model.denoiser.requires_grad_(False)
    visits, size = Visits(run.data.table, run.settings.seed), run.settings.micro_batch_size(1)
    with CacheWriter(folder, rows_per_shard=7) as writer:
        for start in range(0, run.settings.steps * run.settings.batch_size, size):
            visited = visits.between(start, start + size)
            batch = make_batch(run.data, visited, torch.device("cpu"))
            timesteps = run.model.schedule.timestep(
                run.method.timesteps(torch.tensor([visit.draw for visit in visited], dtype=torch.float64))
            )
            noise = visit_noise(run.model, run.method, run.data, run.settings.seed, batch, timesteps, None)
            task = make_task(run.model, batch, timesteps, noise, run.settings.error_space)
            with torch.no_grad():
                errors = task.measure(run.model, run.accelerator.autocast, untrained).errors + shift
            writer.add(visit_ids(batch), {ERRORS: torch.stack(errors.chunk(2), dim=1)})
    return ErrorCache(TensorCache(folder))


def cached(run, errors):
    """Return the run with this reference."""
    run.method = replace(run.method, reference=partial(CachedReference, errors=errors))
    run.model.calls.clear()
    return run


def finished(run):
    state = run.begin()
    return [numbers(log) for log in run.train(state)], everything(state)


@MODES
@pytest.mark.parametrize(
    ("space", "noise", "precision", "settings"),
    [
        ("epsilon", None, "no", {}),
        ("native", gaussian_shared, "no", {"gradient_accumulation": 2}),
        ("epsilon", prior, "bf16", {"batch_size": 6, "gradient_accumulation": 3}),
    ],
)
def test_training_is_that_with_the_frozen_reference_bit_for_bit(
    make_run, method, tmp_path, mode, space, noise, precision, settings
):
    def made():
        run = make_run(
            mode,
            method=replace(method, noise=noise or method.noise, loss=partial(logistic, safeguard=1.0)),
            precision=precision,
            error_space=space,
            **settings,
        )
        run.data = replace(run.data, prior=lambda ids: torch.stack([run.data.latents.get([i])[0].cos() for i in ids]))
        return run

    logs, state = finished(made())
    run = cached(made(), fill(made(), tmp_path))
    cached_logs, cached_state = finished(run)
    assert cached_logs == logs
    assert_same(cached_state, state)
    assert logs[0]["metrics"]["margin"] == 0
    assert logs[-1]["metrics"]["margin"] != 0
    pairs = run.settings.steps * run.settings.batch_size
    assert sum(run.model.calls) == 2 * pairs  # the policy on both images, and nothing else


def test_no_second_model_is_held(make_run, tmp_path):
    state = cached(make_run("full"), fill(make_run("full"), tmp_path)).begin()
    assert not any(isinstance(value, torch.nn.Module) for value in vars(state.reference).values())
    assert state.reference.state() == {}


@MODES
def test_a_run_continues_from_a_checkpoint_bit_for_bit(make_run, tmp_path, mode):
    errors = fill(make_run(mode), tmp_path / "errors")
    logs, state = finished(cached(make_run(mode), errors))
    run = cached(make_run(mode), errors)
    stopped = run.begin()
    for log in run.train(stopped):
        if log.step == 5:
            save_checkpoint(tmp_path / "checkpoints", stopped, IDENTITY)
            break
    again = cached(make_run(mode), errors)
    resumed = again.begin()
    load_checkpoint(tmp_path / "checkpoints", resumed, IDENTITY)
    assert [numbers(log) for log in again.train(resumed)] == logs[5:]
    assert_same(everything(resumed), state)


@MODES
def test_errors_of_other_blocks_serve_up_to_rounding(make_run, tmp_path, mode):
    """One visit at a time beside micro-batches of four: the same numbers to a float's last bits."""
    single = make_run(mode, gradient_accumulation=4)
    errors = fill(single, tmp_path)
    expected = make_run(mode).logs()
    for one, other in zip(cached(make_run(mode), errors).logs(), expected, strict=True):
        assert one.loss == pytest.approx(other.loss, rel=1e-4)


def test_errors_of_another_model_are_found_before_the_first_step(make_run, tmp_path):
    run = cached(make_run(), fill(make_run(), tmp_path, shift=0.5))
    state = run.begin()
    with pytest.raises(
        TrainingError, match=r"one is \d+\.\d% off what was computed beforehand; run `accord reference`"
    ):
        next(run.train(state))
    assert state.step == 0


def test_a_visit_without_errors_is_named(make_run, tmp_path):
    errors = fill(make_run(steps=3), tmp_path)
    run = cached(make_run(steps=4), errors)
    logs = run.train(run.begin())
    for _ in range(3):
        next(logs)
    with pytest.raises(MissingArtifact, match=r"has no row for p\d+/\d+/p\d+-\d/p\d+-\d .*run the stage"):
        next(logs)


def test_a_loss_that_reads_predictions_refuses(make_run, method, tmp_path):
    errors = fill(make_run(), tmp_path)
    run = cached(make_run(method=replace(method, loss=dspo)), errors)
    with pytest.raises(TrainingError, match="needs the reference's predictions, not only its errors"):
        next(run.train(run.begin()))


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"reference": "refreshed"}, "needs method.reference 'frozen', not 'refreshed'"),
        ({"reference": "none", "loss": "mapo"}, "not 'none'"),
        ({"loss": "dspo"}, "the loss 'dspo' reads the reference's predictions"),
        ({"noise": {"name": "renoise", "model": "policy"}}, "'renoise' inverts along the policy"),
    ],
)
def test_what_cannot_be_computed_beforehand_is_refused(choices, message):
    with pytest.raises(ConfigError, match=message):
        require_cacheable_reference(MethodConfig.model_validate(choices))


@pytest.mark.parametrize("choices", [{}, {"noise": "renoise"}, {"noise": "prior", "error_space": "native"}])
def test_what_can_be_is_not(choices):
    require_cacheable_reference(MethodConfig.model_validate(choices))
