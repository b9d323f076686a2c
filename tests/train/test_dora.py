"""DoRA: LoRA that also learns the length of each row of the weights, through peft."""

from dataclasses import replace

import diffusers
import numpy as np
import pytest
import torch
from test_every_family import PLAIN, PROMPTS, SAMPLER
from test_training_checkpoint import IDENTITY, assert_same, everything, numbers
from tiny_data import Latents, Texts

from accord.errors import TrainingError
from accord.models import ModelSettings, open_model
from accord.models.quiet import quiet
from accord.testing.pipelines import save_tiny_pipeline
from accord.train.adapters import adapter_off, adapter_state, trainable, wrap
from accord.train.checkpoint import load_checkpoint, save_checkpoint
from accord.train.settings import AdapterSettings

DORA = AdapterSettings("lora", 2, 4.0, uses_dora=True)


def made(make_run, **settings):
    run = make_run(**settings)
    run.adapter = DORA
    return run


def test_it_begins_at_the_reference_learns_lengths_and_goes_on_from_a_checkpoint(make_run, tmp_path):
    run = made(make_run, steps=6)
    state = run.begin()
    lengths = {name: p.detach().clone() for name, p in state.parameters.items() if "magnitude" in name}
    assert len(lengths) == 3  # one for each layer
    logs = []
    for log in run.train(state):
        logs.append(numbers(log))
        if log.step == 3:
            save_checkpoint(tmp_path, state, IDENTITY)
    assert logs[0]["metrics"]["margin"] == 0
    assert logs[1]["metrics"]["margin"] != 0
    assert not any(torch.equal(state.parameters[name], before) for name, before in lengths.items())
    again = made(make_run, steps=6)
    resumed = again.begin()
    load_checkpoint(tmp_path, resumed, IDENTITY)
    assert [numbers(log) for log in again.train(resumed)] == logs[3:]
    assert_same(everything(resumed), everything(state))


def test_the_distance_is_that_of_the_merged_weights(make_run):
    run = made(make_run, steps=4)
    state = run.begin()
    base = {name: tensor.clone() for name, tensor in run.model.denoiser.state_dict().items() if "base_layer" in name}
    assert state.distance.value() == pytest.approx(0, abs=1e-6)
    *_, last = run.train(state)
    merged = state.policy.merge_and_unload().state_dict()
    weights = {name.replace(".base_layer", ""): tensor for name, tensor in base.items() if name.endswith("weight")}
    moved = sum((merged[name] - tensor).square().sum() for name, tensor in weights.items())
    assert last.metrics["distance"] == pytest.approx((moved / sum(w.square().sum() for w in weights.values())) ** 0.5)
    assert last.metrics["distance"] > 1e-3


def test_switched_off_it_is_the_denoiser_of_the_beginning(make_run):
    run = make_run()
    latents, text, steps = torch.ones(2, 4, 3, 3), torch.ones(2, 6), torch.tensor([100.0, 900.0])
    expected = run.model.denoiser(latents, steps, text)
    policy = wrap(run.model.denoiser, DORA, run.model.lora_targets, seed=0)
    with torch.no_grad():
        for parameter in trainable(policy).values():
            parameter.add_(0.1)
    assert not torch.allclose(policy(latents, steps, text), expected)
    with adapter_off(policy):
        assert torch.equal(policy(latents, steps, text), expected)


@pytest.mark.parametrize("family", ["sd15", "sd3"])
def test_plain_diffusers_draws_with_it(make_run, family, tmp_path):
    model = open_model(ModelSettings(family, str(save_tiny_pipeline(family, tmp_path / "base"))))
    run = made(make_run, steps=2, batch_size=2, learning_rate=2e-2, ema_decay=0.0)
    run.model = model
    run.data = replace(run.data, latents=Latents(model.latent_shape(32, 32)), conditioning=Texts(model))
    state = run.begin()
    list(run.train(state))
    model.save_adapter(adapter_state(state.policy), tmp_path / "tuned", state.policy.peft_config["default"])
    ours = open_model(ModelSettings(family, str(tmp_path / "base")))
    base = ours.generate(PROMPTS[:1], [1], SAMPLER)
    ours.load_adapter(tmp_path / "tuned")
    drawn = ours.generate(PROMPTS[:1], [1], SAMPLER)
    assert (drawn.latents - base.latents).abs().max() > 1e-4
    with quiet():
        pipe = diffusers.DiffusionPipeline.from_pretrained(tmp_path / "base")
        pipe.load_lora_weights(tmp_path / "tuned")
        pipe.set_progress_bar_config(disable=True)
        given = {"height": 32, "width": 32, "generator": torch.Generator().manual_seed(1), **PLAIN.get(family, {})}
        picture = np.asarray(pipe(PROMPTS[0], num_inference_steps=2, guidance_scale=3.0, **given).images[0])
    assert np.abs(drawn.images[0].astype(int) - picture.astype(int)).max() <= 1


def test_it_belongs_to_lora(make_run):
    with pytest.raises(TrainingError, match=r"uses_dora is for adapter\.mode = 'lora'"):
        wrap(make_run().model.denoiser, AdapterSettings("full", uses_dora=True), (), seed=0)
