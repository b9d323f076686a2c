"""How far the policy has moved from the model it began as."""

import copy

import peft
import pytest
import torch

from accord.train.adapters import has_adapter, trainable
from accord.train.distance import Distance, product_square


def adapted(policy):
    """Return the names that the trained layers' weights have in the denoiser."""
    names = {name.split(".lora_")[0].removeprefix("base_model.model.") for name in trainable(policy)}
    return [f"{name}.weight" if has_adapter(policy) else name for name in names]


def relative_distance(tuned, start, names):
    """Return the distance over these weights, from the weights themselves."""
    before, after = start.state_dict(), tuned.state_dict()
    squares = [(after[name].double() - before[name].double()).square().sum() for name in names]
    return (sum(squares) / sum(before[name].double().square().sum() for name in names)).sqrt().item()


@pytest.mark.parametrize("mode", ["lora", "full"])
def test_the_distance_is_that_of_the_merged_weights(make_run, mode):
    run = make_run(mode, steps=6, ema_decay=0.8)
    start = copy.deepcopy(run.model.denoiser)
    state = run.begin()
    distance = Distance(state.policy)
    assert distance.value() == 0
    list(run.train(state))
    found, averaged = distance.value(), distance.value(state.ema.average)
    with state.ema.in_place_of(state.parameters):
        assert distance.value() == averaged
    assert 0 < averaged < found
    names = adapted(state.policy)
    tuned = state.policy.merge_and_unload() if mode == "lora" else state.policy
    assert found == pytest.approx(relative_distance(tuned, start, names), rel=1e-5)


def test_the_distance_of_weights_that_grew_by_one_percent_is_one_hundredth(make_run):
    policy = make_run("full").begin().policy
    distance = Distance(policy)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.mul_(1.01)
    assert distance.value() == pytest.approx(0.01, rel=1e-5)


@pytest.mark.filterwarnings("ignore:LoRA adapter added to ConvNd layer with groups")
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_the_square_of_a_product_is_exact_for_grouped_convolutions_too(groups):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layer = torch.nn.Conv2d(8, 12, 3, groups=groups, bias=False)
        policy = peft.get_peft_model(
            torch.nn.Sequential(layer), peft.LoraConfig(r=4, lora_alpha=6, target_modules=["0"])
        )
        wrapped = policy.base_model.model[0]
        torch.nn.init.normal_(wrapped.lora_B["default"].weight)
    b, a = wrapped.lora_B["default"].weight.detach(), wrapped.lora_A["default"].weight.detach()
    # its kernel: what B after A answers to every single input, at the kernel's every place
    pulses = torch.eye(8 * 9).reshape(72, 8, 3, 3)
    kernel = wrapped.lora_B["default"](wrapped.lora_A["default"](pulses)).flatten(1).detach()
    assert product_square(b, a).item() == pytest.approx(kernel.double().square().sum().item(), rel=1e-5)


def test_the_square_of_a_product_that_nearly_cancels_is_not_below_zero():
    b = torch.tensor([[1.0, 1.0], [1.0, 1.0]])
    a = torch.tensor([[1e4 + 1 / 3, 7.7], [-1e4 - 1 / 3, -7.7]])
    assert product_square(b, a) == 0
    a[0, 0] += 0.5
    difference = (a[0, 0].double() + a[1, 0].double()).item()
    assert product_square(b, a).item() == pytest.approx(2 * difference**2, rel=1e-6)
