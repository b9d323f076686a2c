"""What the policy is measured against: what each reference is, remembers, and leaves alone."""

import contextlib
from dataclasses import replace
from functools import partial

import pytest
import torch
from test_training_checkpoint import IDENTITY, assert_same, everything, numbers

from accord import registry
from accord.config import Choice
from accord.errors import ConfigError, TrainingError
from accord.losses.logistic import logistic
from accord.losses.mapo import mapo
from accord.losses.margin import margin
from accord.train.adapters import adapter_off, adapter_state, trainable, wrap
from accord.train.checkpoint import load_checkpoint, save_checkpoint
from accord.train.denoising import Denoised, pair_errors
from accord.train.ema_reference import EmaReference
from accord.train.held_weights import HeldWeights
from accord.train.method import load_method
from accord.train.no_reference import NoReference
from accord.train.reference import Frozen
from accord.train.refreshed import Refreshed
from accord.train.settings import AdapterSettings

MODES = pytest.mark.parametrize("mode", ["lora", "full"])
MOVING = pytest.mark.parametrize(
    "reference",
    [partial(Refreshed, every=3), partial(EmaReference, decay=0.7), partial(EmaReference, decay=0.5, every=2)],
    ids=["refreshed", "ema", "ema_every_2"],
)


STEPS = 12  # of the small problem


@pytest.fixture
def run_with(make_run, method):
    """Return the function that makes a run of the small problem with this reference."""

    def made(reference, mode="lora", loss=method.loss, **settings):
        return make_run(mode, method=replace(method, reference=reference, loss=loss), **settings)

    return made


@pytest.fixture
def policy_of(make_run):
    """Return the function that gives a run, its policy before training, and what that answers, as the base does."""

    def made(mode="lora"):
        run = make_run(mode)
        policy = wrap(run.model.denoiser, AdapterSettings(mode, 2, 4.0), run.model.lora_targets, seed=0)
        return run, policy, answer(run, policy)

    return made


def recording(loss, margins):
    """Return the loss, which also notes every pair's margin."""

    def recorded(errors, targets, beta):
        margins.append(margin(errors).detach())
        return loss(errors, targets, beta)

    return recorded


def answer(run, denoiser):
    text = torch.linspace(-1, 1, 12).reshape(2, 6)
    latents = torch.linspace(-2, 2, 72).reshape(2, 4, 3, 3)
    with torch.no_grad():
        return run.model.predict(denoiser, latents, torch.tensor([100.0, 900.0]), {"prompt_embeds": text})


def shift(policy, by=0.1):
    with torch.no_grad():
        for parameter in trainable(policy).values():
            parameter.add_(by)


def asked(run, reference):
    """Return the reference's answer to fixed inputs."""
    return reference.denoise(None, partial(answer, run))


# --- every reference ------------------------------------------------------------------------------------------------


@MODES
@pytest.mark.parametrize("name", registry.names("references"))
def test_every_reference_begins_as_the_policy_and_leaves_it_alone(run_with, name, mode):
    run = run_with(registry.load("references", name), mode, steps=3)
    state = run.begin()
    logs = []
    for log in run.train(state):
        logs.append(log)
        before = {name: parameter.detach().clone() for name, parameter in state.policy.named_parameters()}
        flags = {name: parameter.requires_grad for name, parameter in state.policy.named_parameters()}
        found = asked(run, state.reference)
        assert found is None or not found.requires_grad
        assert all(torch.equal(before[name], parameter) for name, parameter in state.policy.named_parameters())
        assert flags == {name: parameter.requires_grad for name, parameter in state.policy.named_parameters()}
    assert logs[0].metrics["margin"] == 0
    again = registry.load("references", name)(run_with(Frozen, mode).begin().policy)
    again.load_state({key: value.clone() for key, value in state.reference.state().items()})
    assert_same(again.state(), state.reference.state())


@MODES
@MOVING
def test_a_moving_reference_is_no_part_of_what_is_trained_saved_or_averaged(run_with, mode, reference):
    runs = [run_with(kind, mode, steps=4) for kind in (Frozen, reference)]
    frozen, moving = (run.begin() for run in runs)
    for run, state in zip(runs, (frozen, moving), strict=True):
        list(run.train(state))
    names = list(frozen.policy.state_dict())
    assert list(moving.policy.state_dict()) == names
    assert list(trainable(moving.policy)) == list(trainable(frozen.policy))
    assert list(moving.ema.average) == list(frozen.ema.average)
    own = {id(parameter) for parameter in trainable(moving.policy).values()}
    assert {id(p) for group in moving.optimizer.param_groups for p in group["params"]} == own
    held = moving.reference.state()
    places = {tensor.data_ptr() for tensor in [*moving.policy.parameters(), *moving.ema.average.values()]}
    assert held
    assert not any(tensor.requires_grad or tensor.data_ptr() in places for tensor in held.values())
    before = answer(runs[1], moving.policy)
    if mode == "lora":
        assert list(moving.policy.peft_config) == ["default"]
        exported = {name: tensor.clone() for name, tensor in adapter_state(moving.policy).items()}
    for tensor in held.values():
        tensor.add_(1.0)
    assert torch.equal(answer(runs[1], moving.policy), before)
    if mode == "lora":
        assert_same(adapter_state(moving.policy), exported)


@MODES
@MOVING
def test_a_run_that_stopped_at_any_step_equals_one_that_did_not(run_with, tmp_path, mode, reference):
    whole = run_with(reference, mode, steps=9)
    state = whole.begin()
    logs = []
    for log in whole.train(state):
        logs.append(numbers(log))
        save_checkpoint(tmp_path / f"at-{log.step}", state, IDENTITY)
    expected = everything(state) | {f"reference {key}": tensor for key, tensor in state.reference.state().items()}
    for stop in (1, 3, 5, 6):  # before the first refresh, right after one, between two, right after another
        run = run_with(reference, mode, steps=9)
        resumed = run.begin()
        load_checkpoint(tmp_path / f"at-{stop}", resumed, IDENTITY)
        assert [numbers(log) for log in run.train(resumed)] == logs[stop:]
        found = everything(resumed) | {f"reference {key}": t for key, t in resumed.reference.state().items()}
        assert_same(found, expected)


@pytest.mark.parametrize("reference", [partial(Refreshed, every=1), EmaReference], ids=["refreshed", "ema"])
def test_the_reference_of_another_policy_is_refused(policy_of, reference):
    _, policy, _ = policy_of("full")
    with pytest.raises(TrainingError, match="belongs to other parameters"):
        reference(policy).load_state({"other": torch.zeros(1)})


# --- refreshed ------------------------------------------------------------------------------------------------------


@MODES
@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_refreshed_too_rarely_is_the_frozen_run_bit_for_bit(run_with, mode, precision):
    runs = [run_with(kind, mode, precision=precision) for kind in (Frozen, partial(Refreshed, every=STEPS))]
    states = [run.begin() for run in runs]
    logs = [[numbers(log) for log in run.train(state)] for run, state in zip(runs, states, strict=True)]
    assert logs[0] == logs[1]
    assert logs[0][-1]["metrics"]["margin"] != 0
    assert_same(everything(states[0]), everything(states[1]))


@MODES
@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_straight_after_a_refresh_every_margin_is_zero(run_with, mode, precision):
    margins = []
    run = run_with(partial(Refreshed, every=4), mode, recording(logistic, margins), precision=precision)
    logs = run.logs()
    is_zero = [bool((m == 0).all()) for m in margins]
    assert is_zero == [step % 4 == 0 for step in range(STEPS)]
    log_two = -torch.nn.functional.logsigmoid(torch.zeros(1)).item()
    assert [log.loss == log_two for log in logs] == is_zero


@MODES
def test_between_refreshes_the_reference_is_the_policy_of_the_last(policy_of, mode):
    run, policy, base = policy_of(mode)
    reference = Refreshed(policy, every=2)
    seen = []
    for step in range(1, 6):
        shift(policy)
        seen.append(answer(run, policy))
        reference.after_step(step, policy)
        expected = base if step < 2 else seen[step // 2 * 2 - 1]
        assert torch.equal(asked(run, reference), expected)
        assert not torch.equal(answer(run, policy), base)


def test_without_its_adapter_the_policy_is_still_the_base(policy_of):
    run, policy, base = policy_of()
    reference = Refreshed(policy, every=1)
    shift(policy)
    reference.after_step(1, policy)
    shift(policy)
    with adapter_off(policy):
        assert torch.equal(answer(run, policy), base)
    assert not torch.equal(asked(run, reference), base)
    assert not torch.equal(asked(run, reference), answer(run, policy))


@pytest.mark.parametrize("reference", [partial(Refreshed, every=0), partial(EmaReference, decay=1.5)])
def test_options_that_mean_nothing_are_refused(policy_of, reference):
    with pytest.raises(TrainingError, match=r"not every 0|not 1\.5 and 1"):
        reference(policy_of()[1])


def test_the_policy_is_back_after_an_error(policy_of):
    run, policy, base = policy_of()
    held = HeldWeights(policy)
    shift(policy)
    expected, pointers = answer(run, policy), [p.data_ptr() for p in policy.parameters()]
    with contextlib.suppress(KeyError), held.in_place() as denoiser:
        assert torch.equal(answer(run, denoiser), base)
        raise KeyError
    assert torch.equal(answer(run, policy), expected)
    assert [p.data_ptr() for p in policy.parameters()] == pointers


# --- moving average -------------------------------------------------------------------------------------------------


@MODES
def test_the_average_is_the_recurrence_of_its_definition(policy_of, mode):
    _, policy, _ = policy_of(mode)
    reference = EmaReference(policy, decay=0.75, every=2)
    expected = {name: p.detach().double() for name, p in trainable(policy).items()}
    for step in range(1, 8):
        shift(policy, by=0.1 * step)
        reference.after_step(step, policy)
        if step % 2 == 0:
            for name, parameter in trainable(policy).items():
                expected[name] = 0.75 * expected[name] + 0.25 * parameter.detach().double()
    assert reference.state().keys() == expected.keys()
    for name, tensor in reference.state().items():
        torch.testing.assert_close(tensor.double(), expected[name], rtol=1e-6, atol=1e-6)


def test_an_average_without_memory_is_a_refresh_and_one_that_never_moves_is_frozen(run_with):
    for settled, average in ((partial(Refreshed, every=1), 0.0), (Frozen, 1.0)):
        logs = [
            [numbers(log) for log in run_with(kind, steps=5).logs()]
            for kind in (settled, partial(EmaReference, decay=average))
        ]
        assert logs[0] == logs[1]


# --- none -----------------------------------------------------------------------------------------------------------


def test_without_a_reference_the_denoiser_is_called_once_and_margins_are_zero(run_with):
    margins = []
    run = run_with(NoReference, loss=recording(partial(mapo, T=1.0), margins), beta=0.1, steps=6)
    logs = run.logs()
    assert run.model.calls == [8] * 6  # chosen and rejected of four pairs, by the policy alone
    assert all((m == 0).all() for m in margins)
    assert {log.metrics["margin"] for log in logs} == {0.0}
    assert all(log.gradient_norm > 0 for log in logs)


def test_without_a_reference_its_distance_is_unknown_and_its_errors_have_no_gradient():
    policy = Denoised(torch.rand(4, requires_grad=True), torch.rand(4, 1, 2, 2, requires_grad=True))
    errors = pair_errors(policy, None, torch.ones(4), torch.ones(2))
    assert errors.distance_chosen is errors.distance_rejected is None
    assert torch.equal(errors.reference_chosen, errors.policy_chosen)
    assert errors.policy_chosen.requires_grad
    assert not errors.reference_chosen.requires_grad


def test_losses_that_need_a_reference_are_not_run_without_one():
    class Choices:
        noise, weighting, timesteps = Choice(name="gaussian_shared"), Choice(name="uniform"), Choice(name="uniform")
        reference = Choice(name="none")

    for name in ("logistic", "squared"):
        Choices.loss = Choice(name=name)
        with pytest.raises(ConfigError, match=f"'{name}' measures the policy against a reference"):
            load_method(Choices())
    Choices.loss = Choice(name="mapo")
    assert load_method(Choices()).reference.func is NoReference
