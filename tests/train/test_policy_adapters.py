import contextlib

import peft
import pytest
import torch

from accord.errors import TrainingError
from accord.train.adapters import adapter_off, adapter_state, has_adapter, trainable, wrap
from accord.train.reference import Frozen
from accord.train.settings import AdapterSettings


def answer(run, denoiser):
    text = torch.linspace(-1, 1, 12).reshape(2, 6)
    return run.model.predict(denoiser, torch.ones(2, 4, 3, 3), torch.tensor([100.0, 900.0]), {"prompt_embeds": text})


def perturb(policy):
    with torch.no_grad():
        for parameter in trainable(policy).values():
            parameter.add_(0.1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_fresh_adapter_changes_nothing_and_leaves_the_base_frozen(make_run, dtype):
    run = make_run()
    run.model.denoiser.to(dtype)
    before = {name: tensor.clone() for name, tensor in run.model.denoiser.state_dict().items()}
    latents, told = torch.ones(2, 4, 3, 3, dtype=dtype), torch.ones(2, 6, dtype=dtype)
    steps = torch.tensor([100.0, 900.0], dtype=dtype)
    expected = run.model.denoiser(latents, steps, told)
    policy = wrap(run.model.denoiser, AdapterSettings("lora", 2, 4.0), run.model.lora_targets, seed=0)
    assert torch.equal(policy(latents, steps, told), expected)
    names = trainable(policy)
    assert len(names) == 6
    assert all(".lora_" in name and parameter.dtype == torch.float32 for name, parameter in names.items())
    kept = {name.replace(".base_layer", ""): tensor for name, tensor in policy.get_base_model().state_dict().items()}
    assert all(torch.equal(kept[name], tensor) for name, tensor in before.items())


def test_the_first_factor_is_an_address_and_the_global_generator_is_left_alone(make_run):
    def factors(seed, noise):
        run = make_run()
        torch.manual_seed(noise)
        policy = wrap(run.model.denoiser, AdapterSettings("lora", 2, 4.0), run.model.lora_targets, seed)
        assert torch.equal(torch.rand(1), torch.rand(1, generator=torch.Generator().manual_seed(noise)))
        return {name: tensor.detach().clone() for name, tensor in trainable(policy).items() if "lora_A" in name}

    one, same, other = factors(0, 1), factors(0, 2), factors(1, 1)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not any(torch.equal(one[name], other[name]) for name in one)
    bound = 1 / 4**0.5  # Kaiming uniform with a = sqrt 5: at most 1 / sqrt(inputs); `inner` has 4
    inner = one["base_model.model.inner.lora_A.default.weight"]
    assert 0.5 * bound < inner.abs().max() <= bound


def test_layers_of_one_size_have_factors_of_their_own():
    twins = torch.nn.ModuleDict({"one": torch.nn.Linear(4, 8), "other": torch.nn.Linear(4, 8)})
    policy = wrap(twins, AdapterSettings("lora", 2, 4.0), ("one", "other"), seed=0)
    one, other = (tensor for name, tensor in trainable(policy).items() if "lora_A" in name)
    assert one.shape == other.shape
    assert not torch.equal(one, other)


@pytest.mark.parametrize(("rank", "alpha"), [(2, 4.0), (2, 1.0), (3, 3.0)])
def test_the_adapter_adds_alpha_over_rank_times_its_product(rank, alpha):
    linear = torch.nn.ModuleDict({"inner": torch.nn.Linear(4, 8)})
    weight = linear["inner"].weight.detach().clone()
    policy = wrap(linear, AdapterSettings("lora", rank, alpha), ("inner",), seed=0)
    perturb(policy)
    a, b = (dict(trainable(policy))[f"base_model.model.inner.lora_{part}.default.weight"] for part in "AB")
    assert a.shape == (rank, 4)
    with torch.no_grad():
        expected = weight + alpha / rank * (b @ a)
        found = policy.get_base_model()["inner"](torch.eye(4)) - linear["inner"].bias
    torch.testing.assert_close(found.T, expected)


def test_the_whole_denoiser_can_be_the_policy_in_float32(make_run):
    run = make_run()
    denoiser = run.model.denoiser.to(torch.bfloat16)
    policy = wrap(denoiser, AdapterSettings("full"), (), seed=0)
    assert policy is denoiser
    assert {parameter.dtype for parameter in policy.parameters()} == {torch.float32}
    assert len(trainable(policy)) == len(list(policy.parameters())) == 6
    assert not has_adapter(policy)
    with pytest.raises(TrainingError, match="no adapter"):
        adapter_state(policy)


@pytest.mark.parametrize("mode", ["lora", "full"])
def test_a_policy_has_no_dropout(make_run, mode):
    run = make_run(dropout=0.5)
    policy = wrap(run.model.denoiser.train(), AdapterSettings(mode), run.model.lora_targets, seed=0)
    assert torch.equal(answer(run, policy), answer(run, policy))


@pytest.mark.parametrize(("own", "family"), [(("absent",), ("inner",)), ((), ("inner", "absent")), ((), ())])
def test_targets_that_the_denoiser_lacks_are_named(make_run, own, family):
    with pytest.raises(TrainingError, match=r"no module named (absent|.no targets given.)"):
        wrap(make_run().model.denoiser, AdapterSettings("lora", targets=own), family, seed=0)


def test_own_targets_take_the_place_of_the_familys(make_run):
    policy = wrap(make_run().model.denoiser, AdapterSettings("lora", targets=("outer",)), ("inner",), seed=0)
    assert {name.split(".lora_")[0] for name in trainable(policy)} == {"base_model.model.outer"}


@pytest.mark.parametrize("mode", ["lora", "full"])
def test_a_second_adapter_on_the_same_denoiser_is_refused(make_run, mode):
    run = make_run()
    run.begin()
    with pytest.raises(TrainingError, match="already has an adapter"):
        wrap(run.model.denoiser, AdapterSettings(mode), run.model.lora_targets, seed=0)


def test_a_denoiser_that_cannot_checkpoint_gradients_is_refused(make_run):
    settings = AdapterSettings("lora", uses_gradient_checkpointing=True)
    with pytest.raises(TrainingError, match="SmallDenoiser cannot checkpoint gradients"):
        wrap(make_run().model.denoiser, settings, ("inner",), seed=0)


@pytest.mark.parametrize("mode", ["lora", "full"])
def test_the_frozen_reference_stays_the_denoiser_of_the_beginning(make_run, mode):
    run = make_run()
    base = answer(run, run.model.denoiser).detach()
    policy = wrap(run.model.denoiser, AdapterSettings(mode, 2, 4.0), run.model.lora_targets, seed=0)
    reference = Frozen(policy)
    perturb(policy)
    assert (answer(run, policy) - base).abs().max() > 0.01
    found = reference.denoise(None, lambda denoiser: answer(run, denoiser))
    assert torch.equal(found, base)
    assert not found.requires_grad
    assert reference.state() == {}


def test_the_adapter_is_on_and_trainable_after_it_was_off(make_run):
    run = make_run()
    policy = wrap(run.model.denoiser, AdapterSettings("lora", 2, 4.0), run.model.lora_targets, seed=0)
    perturb(policy)
    expected, names = answer(run, policy), list(trainable(policy))
    with contextlib.suppress(KeyError), adapter_off(policy):
        base = answer(run, policy)
        raise KeyError
    assert not torch.equal(base, expected)
    assert torch.equal(answer(run, policy), expected)
    assert list(trainable(policy)) == names


def test_switching_the_adapter_off_is_what_peft_means_by_it(make_run):
    run = make_run()
    policy = wrap(run.model.denoiser, AdapterSettings("lora", 2, 4.0), run.model.lora_targets, seed=0)
    perturb(policy)
    with policy.disable_adapter():
        expected = answer(run, policy)
    with adapter_off(policy):
        assert torch.equal(answer(run, policy), expected)


def test_the_adapters_state_is_pefts(make_run):
    policy = wrap(make_run().model.denoiser, AdapterSettings("lora", 2, 4.0), ("inner", "outer"), seed=0)
    state = adapter_state(policy)
    assert state.keys() == peft.get_peft_model_state_dict(policy).keys()
    assert {tuple(state[name].shape) for name in state if "lora_A" in name} == {(2, 4), (2, 16, 3, 3)}
