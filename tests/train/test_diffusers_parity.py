"""One step of the loop against Diffusion-DPO written with diffusers' own parts, as its example script does it."""

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from diffusers import DDPMScheduler, FlowMatchEulerDiscreteScheduler
from tiny_data import data_of

from accord.config import Choice, MethodConfig
from accord.models.interface import ModelSettings, open_model
from accord.seeding import address, generator
from accord.testing.pipelines import save_tiny_pipeline
from accord.train.loop import train
from accord.train.method import load_method
from accord.train.settings import AdapterSettings, TrainSettings
from accord.train.state import begin

BETA, SEED = 5.0, 11  # float32 errors near 1 are known to 1e-7, so losses to beta * 1e-7: at 2000 only to 1e-4
PROMPTS = [f"prompt {letter}" for letter in "abcd"]


def opened(family, folder):
    model = open_model(ModelSettings(family, str(save_tiny_pipeline(family, folder))))
    return model, data_of(model, PROMPTS)


def noised_by_diffusers(pipe, latents, noise, draws):
    """Return timesteps, noisy latents, target and the factor to the noise space from diffusers' own scheduler."""
    if pipe.scheduler.config.prediction_type == "flow_prediction":
        scheduler = FlowMatchEulerDiscreteScheduler(shift=pipe.scheduler.config.flow_shift)
        scheduler.set_timesteps(sigmas=draws)
        timesteps, sigmas = scheduler.timesteps, scheduler.sigmas[:-1]
        return timesteps, scheduler.scale_noise(latents, timesteps, noise), noise - latents, (1 - sigmas) ** 2
    scheduler = DDPMScheduler.from_config(pipe.scheduler.config)
    timesteps = torch.tensor([int(draw * 1000) for draw in draws])
    noisy = scheduler.add_noise(latents, noise, timesteps)
    if scheduler.config.prediction_type == "v_prediction":
        return timesteps, noisy, scheduler.get_velocity(latents, noise, timesteps), scheduler.alphas_cumprod[timesteps]
    return timesteps, noisy, noise, torch.ones(len(draws))


def loss_of_diffusers(pipe, policy, data, step, settings):
    """Return the loss of a step (two pairs) from diffusers' scheduler and UNet, in the words of its example script."""
    order = generator(SEED, "order", step // 2).permutation(4)[2 * (step % 2) :][:2]
    prompts = [PROMPTS[place] for place in order]
    draws = [generator(SEED, "timestep", prompt, step // 2).random() for prompt in prompts] * 2
    noises = [address(SEED, "noise", prompt, step // 2) for prompt in prompts]
    latents = data.latents.get([f"{prompt}-1" for prompt in prompts] + [f"{prompt}-0" for prompt in prompts])
    shape = latents.shape[1:]
    noise = torch.stack([torch.randn(shape, generator=torch.Generator().manual_seed(n)) for n in noises])
    noise = noise.repeat(2, 1, 1, 1)
    embeds = pipe.encode_prompt(prompts, "cpu", 1, False)[0].repeat(2, 1, 1)
    timesteps, noisy, target, to_epsilon = noised_by_diffusers(pipe, latents, noise, draws)
    factor = to_epsilon if settings.error_space == "epsilon" else 1.0

    def errors(unet):
        prediction = unet(noisy, timesteps, embeds, return_dict=False)[0]
        error = torch.nn.functional.mse_loss(prediction, target, reduction="none").mean(dim=[1, 2, 3])
        return (error * factor).chunk(2)

    with torch.no_grad():
        model_w, model_l = errors(policy)
        with policy.disable_adapter():
            ref_w, ref_l = errors(policy)
    inside = -0.5 * BETA * ((model_w - model_l) - (ref_w - ref_l))
    return -torch.nn.functional.logsigmoid(inside).mean().item()


@pytest.mark.parametrize(
    ("family", "space"),
    [
        *(("sd15", "epsilon"), ("sd21", "epsilon"), ("sd21", "native")),
        *(("world", "epsilon"), ("world", "native")),  # a flow
    ],
)
def test_the_loss_is_diffusers_diffusion_dpo(tmp_path, family, space):
    AcceleratorState._reset_state(reset_partial_state=True)
    model, data = opened(family, tmp_path / family)
    dpo = MethodConfig(loss=Choice(name="logistic"), noise=Choice(name="gaussian_shared"))
    settings = TrainSettings(steps=4, batch_size=2, beta=BETA, learning_rate=6e-2, error_space=space, seed=SEED)
    accelerator = Accelerator(cpu=True)
    method = load_method(dpo)
    state = begin(model, method, settings, AdapterSettings("lora", 4, 4.0), accelerator)
    logs = train(model, method, data, state, settings, accelerator)
    expected, found = [], []
    for step in range(4):
        expected.append(loss_of_diffusers(model.opened.pipe, state.policy, data, step, settings))
        found.append(next(logs).loss)
    assert found[0] == pytest.approx(np.log(2), abs=1e-6)
    assert (
        max(abs(value - found[0]) for value in found[1:]) > 1e-4
    )  # the policy has left the reference: 100 times the tolerance
    assert found == pytest.approx(expected, abs=1e-6)
