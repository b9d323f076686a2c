"""Every family, from a folder as users have it to pictures that plain diffusers draws with what was trained."""

import diffusers
import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from tiny_data import data_of

from accord.config import Choice, MethodConfig
from accord.models import ModelSettings, SamplerSettings, open_model
from accord.models.quiet import quiet
from accord.testing.pipelines import BUILDERS, FAMILY_OF, save_tiny_pipeline
from accord.train.adapters import adapter_state
from accord.train.loop import train
from accord.train.method import load_method
from accord.train.settings import AdapterSettings, TrainSettings
from accord.train.state import begin

PROMPTS = ("a red circle", "a blue square", "two green triangles", "a square")
SAMPLER = SamplerSettings(num_inference_steps=2, guidance_scale=3.0, height=32, width=32)
PLAIN = {"sana": {"use_resolution_binning": False}}  # it would draw the nearest size of a list and resize


ABSENT = {"sd3_without_t5": {"text_encoder_3": None, "tokenizer_3": None}}  # diffusers wants to be told


def trained(name, folder, mode, dtype="float32"):
    """Return model, policy state and logs of two steps on the tiny pipeline saved in a folder."""
    AcceleratorState._reset_state(reset_partial_state=True)
    model = open_model(ModelSettings(FAMILY_OF[name], str(save_tiny_pipeline(name, folder)), dtype=dtype))
    data = data_of(model, PROMPTS)
    settings = TrainSettings(steps=2, batch_size=2, beta=5.0, learning_rate=2e-2 if mode == "lora" else 1e-3, seed=11)
    accelerator = Accelerator(cpu=True, mixed_precision="bf16" if dtype == "bfloat16" else "no")
    method = load_method(MethodConfig(loss=Choice(name="logistic")))
    adapter = AdapterSettings(mode, 4, 11.0, uses_gradient_checkpointing=True)
    state = begin(model, method, settings, adapter, accelerator)
    return model, state, list(train(model, method, data, state, settings, accelerator))


def plain_picture(name, folder, adapter=None, full=None):
    """Draw a picture as a user without Accord would, with an adapter or a tuned denoiser."""
    with quiet():
        pipe = diffusers.DiffusionPipeline.from_pretrained(folder, **ABSENT.get(name, {}))
        if adapter is not None:
            pipe.load_lora_weights(adapter)
        if full is not None:
            part = "unet" if hasattr(pipe, "unet") else "transformer"
            setattr(pipe, part, type(getattr(pipe, part)).from_pretrained(full))
        pipe.set_progress_bar_config(disable=True)
        generator = torch.Generator().manual_seed(1)
        return np.asarray(
            pipe(PROMPTS[0], num_inference_steps=2, guidance_scale=3.0, height=32, width=32, generator=generator,
                 **PLAIN.get(name, {})).images[0]
        )  # fmt: skip


@pytest.mark.parametrize("mode", ["lora", "full"])
@pytest.mark.parametrize("name", BUILDERS)
def test_from_a_folder_to_pictures_of_the_trained_model_in_plain_diffusers(tmp_path, name, mode):
    model, state, (first, second) = trained(name, tmp_path / "base", mode)
    assert first.metrics["margin"] == 0  # exactly: before the first step the policy is the reference
    assert first.loss == pytest.approx(np.log(2), abs=1e-6)
    assert second.metrics["margin"] != 0
    tuned = {"adapter" if mode == "lora" else "full": tmp_path / "tuned"}
    if mode == "lora":
        model.save_adapter(adapter_state(state.policy), tmp_path / "tuned", state.policy.peft_config["default"])
    else:
        model.save_full(state.policy, tmp_path / "tuned")
    ours = open_model(ModelSettings(FAMILY_OF[name], str(tmp_path / "base")))
    base = ours.generate(PROMPTS[:1], [1], SAMPLER)
    ours.load_adapter(tmp_path / "tuned")
    drawn = ours.generate(PROMPTS[:1], [1], SAMPLER)
    assert (drawn.latents - base.latents).abs().max() > 1e-4  # what was trained is in use
    picture = plain_picture(name, tmp_path / "base", **tuned)
    assert np.abs(drawn.images[0].astype(int) - picture.astype(int)).max() <= 1


@pytest.mark.parametrize("name", ["sd15", "sd35", "flux", "sana"])
def test_weights_of_half_precision_begin_at_the_reference_too(tmp_path, name):
    _, _, (first, second) = trained(name, tmp_path / "base", "lora", "bfloat16")
    assert first.metrics["margin"] == 0
    assert second.metrics["margin"] != 0


def test_full_training_reaches_what_sets_stable_diffusion_35_apart(tmp_path):
    """Its second attention and the norms of queries and keys have weights of their own, and those move."""
    _, state, _ = trained("sd35", tmp_path / "base", "full")
    fresh = open_model(ModelSettings("sd3", str(tmp_path / "base"))).denoiser.state_dict()
    moved = {name for name, weights in state.policy.state_dict().items() if not torch.equal(weights, fresh[name])}
    for part in ("0.attn2.to_q.weight", "0.attn2.norm_k.weight", "1.attn.norm_q.weight", "0.attn.norm_added_k.weight"):
        assert f"transformer_blocks.{part}" in moved
