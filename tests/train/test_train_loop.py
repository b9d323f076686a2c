import itertools
import math
from dataclasses import replace

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from accord.diffusion.schedules import RectifiedFlow, VariancePreserving
from accord.diffusion.weighting import sigmoid
from accord.errors import TrainingError
from accord.losses.logistic import logistic
from accord.noise.gaussian_shared import gaussian_shared
from accord.train.data import Visits, make_batch
from accord.train.reference import Frozen


@pytest.mark.parametrize("mode", ["lora", "full"])
def test_training_fits_targets_and_reports_every_step(make_run, mode):
    run = make_run(mode, steps=80, batch_size=10, learning_rate=3e-3)  # one epoch a step
    logs = run.logs()
    assert [log.step for log in logs] == list(range(1, 81))
    # before the first step every margin is 0: the loss is the mean squared target, accuracy one half
    targets = run.data.table.targets[[visit.row for visit in Visits(run.data.table, 7).between(0, 10)]]
    assert logs[0].loss == pytest.approx((targets**2).mean(), rel=1e-6)
    assert logs[0].metrics["margin"] == 0
    assert logs[0].metrics["accuracy"] == 0.5
    late = logs[-5:]
    assert sum(log.loss for log in late) / 5 < 0.7 * logs[0].loss
    assert sum(log.metrics["accuracy"] for log in late) / 5 > 0.8
    names = {"margin", "accuracy", "reward_chosen", "reward_rejected", "error_chosen_rise", "error_rejected_rise"}
    names |= {"saturation", "target", "gradient_chosen", "gradient_rejected"}
    assert logs[0].metrics.keys() == names
    assert logs[-1].metrics.keys() == names | {"distance"}
    assert all(log.seconds > 0 and log.gradient_norm > 0 for log in logs)
    assert [log.learning_rate for log in logs[:3]] == pytest.approx([1e-3, 2e-3, 3e-3])


def test_only_the_policy_changes(make_run):
    run = make_run(steps=3)
    state = run.begin()
    frozen = {name: p.detach().clone() for name, p in state.policy.named_parameters() if not p.requires_grad}
    before = {name: p.detach().clone() for name, p in state.parameters.items()}
    list(run.train(state))
    after = dict(state.policy.named_parameters())
    assert all(torch.equal(after[name], tensor) for name, tensor in frozen.items())
    assert not any(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_the_denoiser_is_called_twice_per_micro_batch(make_run):
    run = make_run(steps=2, batch_size=6, gradient_accumulation=3)
    run.logs()
    assert run.model.calls == [4] * 12  # 2 steps x 3 micro-batches x (policy, reference), each on chosen and rejected


@pytest.mark.parametrize("mode", ["lora", "full"])
@pytest.mark.parametrize("parts", [2, 4])
def test_results_do_not_depend_on_the_micro_batch_size(make_run, mode, parts):
    whole, split = (make_run(mode, steps=5, gradient_accumulation=n) for n in (1, parts))
    states = whole.begin(), split.begin()
    logs = [list(run.train(state)) for run, state in zip((whole, split), states, strict=True)]
    # the first step to rounding; later ones let Adam divide small differences by small moments
    assert logs[0][0].loss == pytest.approx(logs[1][0].loss, rel=1e-6)
    assert logs[0][0].gradient_norm == pytest.approx(logs[1][0].gradient_norm, rel=1e-5)
    for one, other in zip(*logs, strict=True):
        assert one.loss == pytest.approx(other.loss, rel=1e-4)
        for name, value in one.metrics.items():
            assert value == pytest.approx(other.metrics[name], rel=1e-3, abs=1e-5), name
    for name, parameter in states[0].parameters.items():
        torch.testing.assert_close(parameter, states[1].parameters[name], rtol=1e-3, atol=1e-5)


def test_a_step_is_plain_torch_written_out(make_run, method, make_table):
    """Three steps of full training, recomputed without accelerate, stores or batches: one pair at a time."""
    method = replace(method, loss=logistic, noise=gaussian_shared, weighting=sigmoid)
    settings = {"steps": 3, "beta": 30.0, "max_grad_norm": 0.02, "weight_decay": 0.1, "ema_decay": 0.0}
    run, plain = (make_run("full", method=method, **settings) for _ in range(2))
    logs = run.logs()
    denoiser, schedule = plain.model.denoiser, RectifiedFlow()
    base = {name: tensor.clone() for name, tensor in denoiser.state_dict().items()}
    optimizer = torch.optim.AdamW(denoiser.parameters(), weight_decay=0.1)
    for step in range(3):
        losses = []
        for visit in Visits(make_table(), 7).between(4 * step, 4 * step + 4):
            batch = make_batch(plain.data, [visit], torch.device("cpu"))
            t = schedule.timestep(torch.tensor([visit.draw], dtype=torch.float64)) / 1000
            seed = gaussian_seed(7, visit)
            noise = torch.randn(4, 3, 3, generator=torch.Generator().manual_seed(seed))[None]

            def error(weights, clean, t=t, noise=noise, text=batch.conditioning["prompt_embeds"]):
                noisy = (1 - t) * clean + t * noise
                velocity = torch.func.functional_call(denoiser, weights, (noisy, 1000 * t, text))
                return (1 - t) ** 2 * (velocity - (noise - clean)).square().mean()

            own = dict(denoiser.named_parameters())
            gains = [error(base, clean) - error(own, clean) for clean in (batch.chosen, batch.rejected)]
            weight = torch.sigmoid(1.5 - 2 * torch.log((1 - t) / t))
            margin = 0.5 * weight * (gains[0] - gains[1])
            losses.append(-torch.nn.functional.logsigmoid(batch.targets * 30.0 * margin))
        optimizer.zero_grad()
        loss = torch.cat(losses).mean()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(denoiser.parameters(), 0.02)
        for group in optimizer.param_groups:
            group["lr"] = 1e-2 * (step + 1) / 3
        optimizer.step()
        assert logs[step].loss == pytest.approx(loss.item(), rel=1e-5)
        assert logs[step].gradient_norm == pytest.approx(norm.item(), rel=1e-3)


def gaussian_seed(seed, visit):
    from accord.seeding import address

    return address(seed, "noise", visit.prompt_id, visit.number)


def test_native_errors_leave_the_denoisers_own_space(make_run):
    """alpha^2 < 1 of the flow's errors turns into 1, so gradients grow; for epsilon models nothing changes."""
    for schedule, prediction, is_same in (
        (RectifiedFlow(), "flow", False),
        (VariancePreserving(torch.linspace(0.999, 0.01, 1000)), "v_prediction", False),
        (VariancePreserving(torch.linspace(0.999, 0.01, 1000)), "epsilon", True),
    ):
        norms = []
        for space in ("epsilon", "native"):
            run = make_run(steps=1, error_space=space)
            run.model.schedule, run.model.prediction = schedule, prediction
            norms.append(run.logs()[0].gradient_norm)
        assert (norms[0] == norms[1]) is is_same
        assert norms[0] <= norms[1]


def test_the_seed_decides_and_suffices(make_run):
    def losses(seed):
        torch.manual_seed(len(str(seed)) + int(torch.rand(1) * 1000))  # global state must not matter
        return [log.loss for log in make_run(seed=seed, steps=4).logs()]

    assert losses(1) == losses(1)
    assert losses(1) != losses(2)


def test_dropout_is_found_before_the_first_step(make_run):
    run = make_run(dropout=0.3)
    state = run.begin()
    state.policy.train()
    with pytest.raises(TrainingError, match="dropout or training mode"):
        next(run.train(state))
    assert state.step == 0


def test_a_loss_that_is_not_finite_stops_before_the_step_and_names_the_pairs(make_run):
    run = make_run(steps=3)
    bad = Visits(run.data.table, 7)[9]  # the second pair of the third step
    image = run.data.table.rejected_ids[bad.row]
    drawn = run.data.latents

    class Damaged:
        def get(self, ids):
            latents = drawn.get(ids)
            latents[[i for i, name in enumerate(ids) if name == image]] = math.nan
            return latents

    run.data = replace(run.data, latents=Damaged())
    first = next(i for i in itertools.count() if image in ids_of(run.data.table, Visits(run.data.table, 7)[i]))
    state = run.begin()
    logs = run.train(state)
    for _ in range(first // 4):
        next(logs)
    before = {name: p.detach().clone() for name, p in state.parameters.items()}
    expected = rf"step {first // 4 + 1}: loss nan.*prompt {bad.prompt_id}: \S+ over {image} \(visit \d\)\. Look"
    with pytest.raises(TrainingError, match=expected):
        next(logs)
    assert state.step == first // 4
    assert all(torch.equal(p, before[name]) for name, p in state.parameters.items())


def ids_of(table, visit):
    return table.chosen_ids[visit.row], table.rejected_ids[visit.row]


def test_margins_are_zero_before_the_first_step_under_mixed_precision(make_run):
    for mode in ("lora", "full"):
        run = make_run(mode, steps=2, precision="bf16")
        logs = run.logs()
        assert logs[0].metrics["margin"] == 0
        assert logs[1].metrics["margin"] != 0
        assert logs[0].gradient_norm != make_run(mode, steps=2).logs()[0].gradient_norm  # bf16 was really used


def test_a_run_can_be_left_and_taken_up_again_within_a_process(make_run):
    whole = [log.loss for log in make_run(steps=6).logs()]
    run = make_run(steps=6)
    state = run.begin()
    first = [log.loss for log in itertools.islice(run.train(state), 2)]
    assert first + [log.loss for log in run.train(state)] == whole
    assert list(run.train(state)) == []


def test_a_reference_sees_every_step_and_its_errors_are_used(make_run, method):
    seen = []

    class Watched(Frozen):
        def after_step(self, step, policy):
            seen.append((step, policy))

        def denoise(self, batch, measure):
            found = super().denoise(batch, measure)
            return replace(found, errors=found.errors + len(seen))

    run = make_run(steps=3, method=replace(method, reference=Watched))
    state = run.begin()
    logs = list(run.train(state))
    assert seen == [(step, state.policy) for step in (1, 2, 3)]
    plain = make_run(steps=3).logs()
    for step in (1, 2):  # errors off by `step`: rewards move by half of that, margins do not
        for name in ("reward_chosen", "reward_rejected"):
            assert logs[step].metrics[name] == pytest.approx(plain[step].metrics[name] + step / 2, rel=1e-3)
        assert logs[step].metrics["margin"] == pytest.approx(plain[step].metrics["margin"], abs=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gradient_accumulation_steps": 2}, "without gradient_accumulation_steps"),
        ({"mixed_precision": "fp16"}, "mixed precision 'fp16'"),
    ],
)
def test_an_accelerator_that_would_change_the_result_is_refused(make_run, options, message):
    run = make_run()
    AcceleratorState._reset_state(reset_partial_state=True)
    run.accelerator = Accelerator(cpu=True, **options)
    with pytest.raises(TrainingError, match=message):
        run.begin()


def test_the_margin_rises_towards_the_mean_target_and_not_past_it(make_run):
    run = make_run("full", steps=120, batch_size=10, learning_rate=1e-3)  # every step sees all prompts once
    margins = [log.metrics["margin"] for log in run.logs()]
    mean_target = run.data.table.targets.mean()
    tens = [sum(margins[a : a + 10]) / 10 for a in range(0, 120, 10)]
    assert margins[0] == 0
    assert tens[0] < min(tens[1:])  # it rises first
    assert 0.5 * mean_target < sum(tens[6:]) / 6  # and comes near: noise in the margin keeps a regression below it
    assert max(tens) < mean_target  # but never runs past
