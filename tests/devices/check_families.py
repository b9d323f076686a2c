"""Every family's texts, pictures and training on a device that is not the CPU: where all lies, and the numbers."""

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from tiny_data import data_of
from two_devices import on_both

from accord.config import Choice, MethodConfig
from accord.models import ModelSettings, SamplerSettings, open_model
from accord.testing.pipelines import FAMILY_OF
from accord.train.loop import train
from accord.train.method import load_method
from accord.train.settings import AdapterSettings, TrainSettings
from accord.train.state import begin

TEXTS = ("a red circle above a blue square", "two green triangles")
SAMPLER = SamplerSettings(num_inference_steps=2, guidance_scale=3.0, height=32, width=32)
NOISE = Choice(name="gaussian_shared")
RENOISE = Choice(name="renoise", options={"num_steps": 1, "model": "policy"})
NEAR = {"rtol": 1e-3, "atol": 1e-4}  # UNets have another memory format on the CPU, and so other kernels


def opened(name, folder_of, device):
    return open_model(ModelSettings(FAMILY_OF[name], str(folder_of(name)), device=device))


@pytest.mark.parametrize("name", ["sdxl", "sd3", "flux", "sana"])
def test_texts_pictures_and_latents(name, folder_of):
    def work(device):
        model = opened(name, folder_of, device)
        told = {key: value.cpu() for key, value in model.encode_prompts(TEXTS).items()}
        drawn = model.generate(TEXTS, [1, 2], SAMPLER)
        return told, drawn.latents, np.stack(drawn.images), model.encode_images(drawn.images).cpu()

    (told, latents, images, encoded), there = on_both(work)
    torch.testing.assert_close(there[0], told, **NEAR)
    torch.testing.assert_close(there[1], latents, **NEAR)
    assert np.abs(there[2].astype(int) - images).max() <= 1
    torch.testing.assert_close(there[3], encoded, rtol=0.05, atol=0.05)  # of pictures that differ by one in 255


@pytest.mark.parametrize("name", ["sdxl", "flux"])
def test_training(name, folder_of):
    def work(device):
        AcceleratorState._reset_state(reset_partial_state=True)
        model = opened(name, folder_of, device)
        settings = TrainSettings(steps=2, batch_size=2, beta=5.0, learning_rate=1e-3, seed=11)
        adapter = AdapterSettings("lora", 4, 11.0, uses_gradient_checkpointing=True)
        method = load_method(MethodConfig(loss=Choice(name="logistic"), noise=RENOISE if name == "flux" else NOISE))
        accelerator = Accelerator(cpu=True)
        state = begin(model, method, settings, adapter, accelerator)
        logs = list(train(model, method, data_of(model, TEXTS), state, settings, accelerator))
        return [[log.loss, log.gradient_norm, log.metrics["margin"], log.metrics["distance"]] for log in logs[1:]]

    here, there = on_both(work)
    np.testing.assert_allclose(there, here, **NEAR)
