"""The other device itself: it computes as the CPU does, and refuses what a GPU refuses."""

import pytest
import torch
from two_devices import DEVICE, IS_REAL, at_home

pytestmark = pytest.mark.skipif(IS_REAL, reason="of the device that only tests have")


@pytest.fixture(autouse=True)
def on_the_other_device():
    with at_home(DEVICE.type):
        yield


def test_two_devices_do_not_meet():
    here, there = torch.ones(3), torch.ones(3, device=DEVICE)
    for meet in (
        lambda: here + there,
        lambda: torch.cat([here, there]),
        lambda: here[there.long()],
        lambda: there.add_(here),
        lambda: torch.where(here > 0, there, there),
        lambda: torch.nn.Linear(3, 2)(there),
    ):
        with pytest.raises(RuntimeError, match="met a tensor"):
            meet()
    with pytest.raises(RuntimeError, match="numpy"):
        there.numpy()


def test_copies_indices_and_plain_numbers_may():
    there = torch.arange(6.0).to(DEVICE).reshape(2, 3)
    assert there.device == (there * torch.tensor(2.0)).device == there[torch.tensor([1])].device == DEVICE
    assert there[torch.tensor([1])].cpu().tolist() == [[3, 4, 5]]
    there.copy_(torch.zeros(2, 3))
    assert there.cpu().numpy().sum() == 0


def test_views_share_their_values_and_gradients_flow():
    layer = torch.nn.Linear(3, 1, bias=False).to(DEVICE)
    values = torch.ones(2, 3, device=DEVICE)
    values[1].mul_(2)
    layer(values).sum().backward()
    assert layer.weight.grad.device == DEVICE
    assert layer.weight.grad.tolist() == [[3, 3, 3]]
