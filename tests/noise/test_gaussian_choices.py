from dataclasses import replace

import pytest
import torch

from accord.noise.gaussian_independent import gaussian_independent
from accord.noise.gaussian_shared import gaussian_shared
from accord.noise.request import NoiseRequest

SHAPE = (4, 4, 4)


def request(prompts=("p", "q", "p"), visits=(0, 0, 1), seed=3) -> NoiseRequest:
    size = len(prompts)
    zeros = torch.zeros(size, *SHAPE)
    chosen, rejected = tuple(f"{p}/best" for p in prompts), tuple(f"{p}/worst" for p in prompts)
    return NoiseRequest(seed, prompts, chosen, rejected, visits, torch.full((size,), 500.0), SHAPE, zeros, zeros)


def test_shared_noise_is_the_same_for_both_images():
    chosen, rejected = gaussian_shared(request())
    assert torch.equal(chosen, rejected)
    assert chosen.shape == (3, *SHAPE)


def test_independent_noise_differs_between_the_images():
    chosen, rejected = gaussian_independent(request(prompts=("p",) * 400, visits=tuple(range(400))))
    correlation = (chosen.flatten() * rejected.flatten()).mean().item()
    assert abs(correlation) < 4 / (400 * 64) ** 0.5


@pytest.mark.parametrize("choose", [gaussian_shared, gaussian_independent])
def test_seed_prompt_and_visit_each_change_the_noise(choose):
    base = choose(request())[0]
    assert not torch.equal(base[0], base[1])  # another prompt
    assert not torch.equal(base[0], base[2])  # another visit
    assert not torch.equal(base, choose(request(seed=4))[0])
    assert torch.equal(base, choose(request())[0])


@pytest.mark.parametrize("choose", [gaussian_shared, gaussian_independent])
def test_a_visit_has_its_noise_whatever_the_batch(choose):
    whole, alone = choose(request()), choose(request(prompts=("p",), visits=(1,)))
    assert torch.equal(whole[0][2], alone[0][0])
    assert torch.equal(whole[1][2], alone[1][0])


def test_independent_noise_of_an_image_does_not_depend_on_its_partner_or_side():
    one = request(prompts=("p",), visits=(0,))
    swapped = replace(one, chosen_ids=one.rejected_ids, rejected_ids=one.chosen_ids)
    assert torch.equal(gaussian_independent(one)[0], gaussian_independent(swapped)[1])
