"""The choices of noise that look at the images: by inversion, and the prior noise that an image was drawn from."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from accord.diffusion.noise import gaussian
from accord.diffusion.noising import add_noise
from accord.diffusion.schedules import RectifiedFlow, VariancePreserving
from accord.errors import ConfigError, TrainingError
from accord.noise.ddim_inversion import ddim_inversion
from accord.noise.prior import prior
from accord.noise.renoise import renoise
from accord.noise.request import NoiseRequest
from accord.registry import check_options
from accord.seeding import address

SHAPE = (2, 4, 4)
DIFFUSION = VariancePreserving(torch.cumprod(1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2, 0))
RULES = {
    "ddim": ddim_inversion,
    "noisy ddim": partial(ddim_inversion, noise_level=0.1),
    "renoise": renoise,
    "code": partial(renoise, mode="code"),
}


class Denoiser:
    """A denoiser that mixes channels, knows the timestep, and keeps what it was given. Rows never mix."""

    def __init__(self, bias=0.1):
        self.bias, self.given = bias, []

    def __call__(self, latents, timesteps):
        self.given.append((latents, timesteps))
        return torch.tanh(0.7 * latents + 0.3 * latents.flip(1) + self.bias + timesteps[:, None, None, None] / 2000)


def images(ids):
    return gaussian([address(1, identity) for identity in ids], SHAPE)


def request(schedule=DIFFUSION, prompts=("p", "q", "p"), visits=(0, 0, 1), **changes):
    chosen, rejected = tuple(f"{p}/best" for p in prompts), tuple(f"{p}/worst" for p in prompts)
    asked = NoiseRequest(
        seed=3,
        prompt_ids=prompts,
        chosen_ids=chosen,
        rejected_ids=rejected,
        visits=visits,
        timesteps=torch.tensor([40.0, 500.0, 901.0])[: len(prompts)],
        shape=SHAPE,
        chosen=images(chosen),
        rejected=images(rejected),
        schedule=schedule,
        prediction="flow" if isinstance(schedule, RectifiedFlow) else "epsilon",
        initial=Denoiser(),
        policy=Denoiser(-0.4),
    )
    return replace(asked, **changes)


def row_of(asked, row):
    """Return the request for one of its visits alone."""
    one = slice(row, row + 1)
    kept = {
        name: getattr(asked, name)[one]
        for name in ("prompt_ids", "chosen_ids", "rejected_ids", "visits", "timesteps", "chosen", "rejected")
    }
    return replace(asked, **kept)


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("bias", [0.1, 0.6])
def test_noise_and_image_give_back_the_inverted_latent(name, bias, monkeypatch):
    """What the rule returns is defined by this: with it, noising the clean image lands on the inversion's end."""
    from accord.noise import inverting

    ends = []
    implied = inverting.implied_noise
    monkeypatch.setattr(inverting, "implied_noise", lambda end, *rest: ends.append(end) or implied(end, *rest))
    asked = request(initial=Denoiser(bias))
    noise = torch.cat(RULES[name](asked))
    assert noise.dtype == torch.float32
    t = asked.timesteps.repeat(2)
    clean = torch.cat([asked.chosen, asked.rejected])
    noisy = add_noise(clean, noise, DIFFUSION.alpha(t), DIFFUSION.sigma(t))
    torch.testing.assert_close(noisy, ends[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", RULES)
def test_both_images_of_all_pairs_go_in_one_call(name):
    asked = request()
    RULES[name](asked)
    latents, _ = asked.initial.given[0]
    assert torch.equal(latents, torch.cat([asked.chosen, asked.rejected]))
    assert {len(latents) for latents, _ in asked.initial.given} == {6}
    assert {len(timesteps) for _, timesteps in asked.initial.given} == {6}
    assert len(asked.initial.given) == {"ddim": 9, "noisy ddim": 9, "renoise": 18, "code": 20}[name]
    assert not asked.policy.given


@pytest.mark.parametrize("name", RULES)
def test_a_visit_has_its_noise_whatever_the_batch_and_the_side(name):
    asked = request()
    whole = RULES[name](asked)
    for row in range(3):
        alone = row_of(asked, row)
        assert torch.equal(RULES[name](alone)[0][0], whole[0][row])
        swapped = replace(
            alone,
            chosen_ids=alone.rejected_ids,
            rejected_ids=alone.chosen_ids,
            chosen=alone.rejected,
            rejected=alone.chosen,
        )
        assert torch.equal(RULES[name](swapped)[1][0], whole[0][row])


@pytest.mark.parametrize("rule", [ddim_inversion, renoise])
def test_the_model_is_the_one_asked_for(rule):
    asked = request()
    noise = rule(asked, model="policy")[0]
    assert not asked.initial.given
    assert asked.policy.given
    assert not torch.equal(noise, rule(asked)[0])
    assert torch.equal(noise, rule(request(initial=Denoiser(-0.4)))[0])


@pytest.mark.parametrize("rule", [ddim_inversion, renoise])
def test_without_the_denoiser_the_command_is_named(rule):
    with pytest.raises(TrainingError, match=r"initial denoiser.*`accord invert`"):
        rule(request(initial=None))
    with pytest.raises(TrainingError, match="policy denoiser"):
        rule(request(policy=None), model="policy")


def test_the_number_of_steps_is_the_papers_unless_told():
    asked = request(initial=Denoiser())
    renoise(asked)
    assert len(asked.initial.given) == 2 * 9
    asked = request(initial=Denoiser())
    renoise(asked, mode="code", num_steps=5)
    assert len(asked.initial.given) == 2 * 5
    assert check_options("noises", "renoise", {"mode": "code", "num_steps": 5}) == {"mode": "code", "num_steps": 5}
    with pytest.raises(ConfigError, match="num_steps"):
        check_options("noises", "renoise", {"num_steps": "many"})


def test_added_noise_is_the_share_of_ddims_own_and_belongs_to_the_step():
    """With a denoiser of no noise the latents are the image scaled, plus what was added: its size is known."""
    nothing = lambda latents, timesteps: torch.zeros_like(latents)  # noqa: E731
    prompts, shape = ("p",) * 60, (4, 16, 16)
    asked = request(
        prompts=prompts,
        visits=tuple(range(60)),
        shape=shape,
        timesteps=torch.full((60,), 800.0),
        chosen=torch.zeros(60, *shape),
        rejected=torch.zeros(60, *shape),
        initial=nothing,
    )
    assert torch.equal(ddim_inversion(asked, num_steps=2)[0], torch.zeros(60, *shape))
    found = ddim_inversion(asked, num_steps=2, noise_level=0.1)[0] * DIFFUSION.sigma(torch.tensor(800.0))
    cumprod = DIFFUSION.alphas_cumprod
    variance = [(1 - cumprod[a]) / (1 - cumprod[b]) * (1 - cumprod[b] / cumprod[a]) for a, b in ((0, 400), (400, 800))]
    expected = 0.01 * (variance[1] + variance[0] * cumprod[800] / cumprod[400])  # the second step scales the first
    assert found.var().item() == pytest.approx(expected.item(), rel=0.03)


def test_added_noise_has_no_place_in_a_flow():
    with pytest.raises(TrainingError, match="noise_level belongs to a diffusion schedule"):
        ddim_inversion(request(RectifiedFlow()), noise_level=0.1)


def test_a_flow_has_no_loop_of_a_thousand_timesteps():
    with pytest.raises(TrainingError, match='use mode = "idea"'):
        renoise(request(RectifiedFlow()), mode="code")


def test_prior_noise_is_the_same_at_every_visit_and_asked_for_by_image():
    asked = request(prior=images)
    chosen, rejected = prior(asked)
    assert torch.equal(chosen, images(asked.chosen_ids))
    assert torch.equal(rejected, images(asked.rejected_ids))
    assert torch.equal(chosen[0], chosen[2])  # one image, two visits
    assert not torch.equal(chosen[0], rejected[0])


def test_images_from_elsewhere_have_no_prior_noise():
    with pytest.raises(TrainingError, match="images that were drawn here"):
        prior(request(prior=None))


def test_rules_say_what_they_need():
    assert renoise.inverts
    assert ddim_inversion.inverts
    assert prior.needs_prior
