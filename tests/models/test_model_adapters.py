"""Adapters and tuned denoisers: what Accord writes, an unmodified diffusers reads, and the other way round."""

import json

import diffusers
import numpy as np
import peft
import pytest
import safetensors
import torch
from test_model_generate import plain_pipeline
from tiny_models import PLAIN, SAMPLER, TEXTS

from accord.errors import ModelError
from accord.models import ModelSettings, open_model
from accord.models.export import export_pipeline
from accord.models.quiet import quiet


@pytest.fixture(params=("world", "sdxl", "sd3", "flux", "sana"))
def family(request) -> str:
    """Return a family of each kind of pipeline; Stable Diffusion 1 and 2 are the world's."""
    return request.param


def open_family(family, folder_of, **settings):
    return open_model(ModelSettings(family, str(folder_of(family)), **settings))


def tuned_policy(model, rank=4, alpha=11.0, **options):
    """Return the denoiser in peft's wrapper with an adapter that changes its output visibly."""
    config = peft.LoraConfig(r=rank, lora_alpha=alpha, target_modules=list(model.lora_targets), **options)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        policy = peft.get_peft_model(model.denoiser, config)
        for name, parameter in policy.named_parameters():
            if ".lora_B." in name:
                torch.nn.init.normal_(parameter, std=0.1)
    return policy.eval()


def save_policy(model, policy, folder):
    model.save_adapter(peft.get_peft_model_state_dict(policy), folder, policy.peft_config["default"])


def answer(model, denoiser, conditioning=None):
    """Return the denoiser's prediction for fixed inputs."""
    latents = torch.randn(2, *model.latent_shape(32, 32), generator=torch.Generator().manual_seed(0))
    timesteps = model.schedule.timestep(torch.tensor([0.3, 0.8], dtype=torch.float64))
    with torch.no_grad():
        return model.predict(denoiser, latents, timesteps, conditioning or model.encode_prompts(TEXTS[:2]))


def denoiser_of(pipeline):
    return pipeline.unet if hasattr(pipeline, "unet") else pipeline.transformer


def test_a_fresh_adapter_and_one_switched_off_are_the_base_exactly(family, folder_of):
    model = open_family(family, folder_of)
    base = answer(model, model.denoiser)
    policy = peft.get_peft_model(model.denoiser, peft.LoraConfig(target_modules=list(model.lora_targets)))
    assert torch.equal(answer(model, policy.eval()), base)
    model = open_family(family, folder_of)
    policy = tuned_policy(model)
    assert not torch.allclose(answer(model, policy), base, atol=1e-3)
    with policy.disable_adapter():
        assert torch.equal(answer(model, policy), base)


OTHER_OPTIONS = {"rank": 3, "alpha": 24.0, "use_rslora": True, "rank_pattern": {"to_q": 2}}


@pytest.mark.parametrize(
    ("name", "options"), [("world", {}), ("sdxl", {}), ("sd3", {}), ("flux", {}), ("sana", {}), ("sd15", OTHER_OPTIONS)]
)
def test_plain_diffusers_computes_what_the_policy_computed(name, options, folder_of, tmp_path):
    """Rank 4 and alpha 11: an adapter without its alpha in the file would act with 4/11 of its strength."""
    model = open_family(name, folder_of)
    base = answer(model, model.denoiser)
    policy = tuned_policy(model, **options)
    expected = answer(model, policy)
    save_policy(model, policy, tmp_path / "adapter")
    pipeline = plain_pipeline(folder_of(name))
    pipeline.load_lora_weights(tmp_path / "adapter")
    difference = (expected - base).abs().mean()
    assert difference > 0.01
    assert (answer(model, denoiser_of(pipeline)) - expected).abs().mean() < 1e-4 * difference


def test_generation_uses_the_loaded_adapter_as_plain_diffusers_does(family, folder_of, tmp_path):
    trained = open_family(family, folder_of, dtype="float32")
    save_policy(trained, tuned_policy(trained), tmp_path / "adapter")
    model = open_family(family, folder_of)
    base = model.generate(TEXTS[:1], [1], SAMPLER)
    model.load_adapter(tmp_path / "adapter")
    tuned = model.generate(TEXTS[:1], [1], SAMPLER)
    assert (tuned.latents - base.latents).abs().mean() > 0.01
    pipeline = plain_pipeline(folder_of(family))
    pipeline.load_lora_weights(tmp_path / "adapter")
    with quiet():
        plain = pipeline(
            TEXTS[0], num_inference_steps=3, guidance_scale=3.0, height=32, width=32,
            generator=torch.Generator().manual_seed(1), **PLAIN.get(family, {}),
        ).images[0]  # fmt: skip
    assert np.abs(tuned.images[0].astype(int) - np.asarray(plain).astype(int)).max() <= 1
    assert "adapter" in model.fingerprint()
    model.unload_adapter()
    assert torch.equal(model.generate(TEXTS[:1], [1], SAMPLER).latents, base.latents)
    assert "adapter" not in model.fingerprint()


def test_a_second_adapter_replaces_the_first(folder_of, tmp_path):
    model = open_family("world", folder_of)
    with torch.no_grad():
        next(model.denoiser.parameters()).mul_(1.5)
    model.save_full(model.denoiser, tmp_path / "full")
    trained = open_family("world", folder_of)
    policy = tuned_policy(trained)
    expected = answer(trained, policy)
    save_policy(trained, policy, tmp_path / "adapter")
    model.load_adapter(tmp_path / "full")
    for _ in range(2):  # neither on top of the full model nor on top of itself
        model.load_adapter(tmp_path / "adapter")
        torch.testing.assert_close(answer(model, model.denoiser), expected, rtol=1e-4, atol=1e-4)
    assert len(model.denoiser.peft_config) == 1


def test_the_file_says_rank_and_alpha_and_equal_adapters_give_equal_files(folder_of, tmp_path):
    for name in ("one", "two"):
        model = open_family("sd3", folder_of)
        save_policy(model, tuned_policy(model), tmp_path / name)
    files = [tmp_path / name / "pytorch_lora_weights.safetensors" for name in ("one", "two")]
    assert files[0].read_bytes() == files[1].read_bytes()
    with safetensors.safe_open(files[0], "pt") as file:
        said = json.loads(file.metadata()["lora_adapter_metadata"])
        assert all(key.startswith("transformer.") and ".lora_" in key for key in file.keys())  # noqa: SIM118
    assert said["transformer.r"] == 4
    assert said["transformer.lora_alpha"] == 11.0
    assert "path" not in json.dumps(said)


def test_an_adapter_of_another_model_is_refused(folder_of, tmp_path):
    other = open_family("sd3", folder_of)
    save_policy(other, tuned_policy(other), tmp_path / "sd3")
    save_full = open_family("sdxl", folder_of)
    save_policy(save_full, tuned_policy(save_full), tmp_path / "sdxl")
    model = open_family("sd15", folder_of)
    with pytest.raises(ModelError, match="changes no layer of a unet"):
        model.load_adapter(tmp_path / "sd3")
    with pytest.raises(ModelError, match=r"made for another model than .*: it changes layers that it lacks"):
        model.load_adapter(tmp_path / "sdxl")
    assert model.generate(TEXTS[:1], [1], SAMPLER).images


def test_an_adapter_of_another_width_is_refused_and_leaves_the_base(folder_of, tmp_path):
    """The layers have the same names as the model's but other shapes."""
    model = open_family("sd15", folder_of)
    policy = tuned_policy(model)
    state = {key: torch.cat([value, value], dim=-1) for key, value in peft.get_peft_model_state_dict(policy).items()}
    model.save_adapter(state, tmp_path, policy.peft_config["default"])
    target = open_family("sd15", folder_of)
    base = answer(target, target.denoiser)
    with pytest.raises(ModelError, match="cannot be put into"):
        target.load_adapter(tmp_path)
    assert torch.equal(answer(target, target.denoiser), base)


def test_an_adapter_that_is_cut_short_is_one_clear_line(shared, tmp_path):
    (tmp_path / "pytorch_lora_weights.safetensors").write_bytes(b"\xff" * 300)
    with pytest.raises(ModelError, match=r"the adapter in .* cannot be put into .*header"):
        shared("sd15").load_adapter(tmp_path)


def test_only_lora_weights_can_be_an_adapter(shared, tmp_path):
    config = peft.LoraConfig()
    with pytest.raises(ModelError, match=r"LoRA weights only, but holds 'conv_in\.weight'"):
        shared("world").save_adapter({"conv_in.weight": torch.zeros(1)}, tmp_path, config)
    with pytest.raises(ModelError, match="is empty"):
        shared("world").save_adapter({}, tmp_path, config)


def test_a_folder_without_adapter_is_refused(shared, tmp_path):
    with pytest.raises(ModelError, match=r"holds no adapter: neither pytorch_lora_weights\.safetensors"):
        shared("world").load_adapter(tmp_path)


def test_a_tuned_denoiser_survives_saving(family, folder_of, tmp_path):
    model = open_family(family, folder_of)
    base = answer(model, model.denoiser)
    with torch.no_grad():
        for parameter in model.denoiser.parameters():
            parameter.mul_(1.02)
    tuned = answer(model, model.denoiser)
    assert not torch.allclose(tuned, base, atol=1e-3)
    model.save_full(model.denoiser, tmp_path / "full")
    plain = type(model.denoiser).from_pretrained(tmp_path / "full")
    torch.testing.assert_close(answer(model, plain), tuned, rtol=1e-5, atol=1e-5)
    again = open_family(family, folder_of)
    again.load_adapter(tmp_path / "full")
    assert torch.equal(answer(again, again.denoiser), tuned)
    again.unload_adapter()
    assert torch.equal(answer(again, again.denoiser), base)


def test_a_pipeline_folder_can_be_the_tuned_model(folder_of, tmp_path):
    model = open_family("sd15", folder_of)
    pipeline = plain_pipeline(folder_of("sd15"))
    with torch.no_grad():
        pipeline.unet.conv_in.weight.mul_(2)
    pipeline.save_pretrained(tmp_path)
    model.load_adapter(tmp_path)
    torch.testing.assert_close(answer(model, model.denoiser), answer(model, pipeline.unet), rtol=1e-4, atol=1e-5)


def test_a_denoiser_of_another_class_is_refused(shared, folder_of):
    with pytest.raises(ModelError, match="must hold a UNet2DConditionModel, but holds a SD3Transformer2DModel"):
        shared("sd15").load_adapter(folder_of("sd3") / "transformer")


def test_a_wrapped_denoiser_is_no_full_model(folder_of, tmp_path):
    model = open_family("world", folder_of)
    policy = tuned_policy(model)
    with pytest.raises(ModelError, match="not wrapped in a PeftModel"):
        model.save_full(policy, tmp_path)
    with pytest.raises(ModelError, match="save the adapter instead"):
        model.save_full(model.denoiser, tmp_path)


@pytest.mark.parametrize(("family", "kind"), [("world", "lora"), ("sd3", "lora"), ("sdxl", "full")])
def test_an_exported_pipeline_needs_no_adapter(family, kind, folder_of, tmp_path):
    model = open_family(family, folder_of)
    if kind == "lora":
        policy = tuned_policy(model)
        expected = answer(model, policy)
        save_policy(model, policy, tmp_path / "tuned")
    else:
        with torch.no_grad():
            next(model.denoiser.parameters()).mul_(1.5)
        expected = answer(model, model.denoiser)
        model.save_full(model.denoiser, tmp_path / "tuned")
    export_pipeline(model.opened.settings, tmp_path / "tuned", tmp_path / "exported")
    pipeline = plain_pipeline(tmp_path / "exported")
    assert type(pipeline) is getattr(diffusers, model._family.pipeline_class)
    torch.testing.assert_close(answer(model, denoiser_of(pipeline)), expected, rtol=1e-3, atol=1e-4)
    exported = open_model(ModelSettings(family, str(tmp_path / "exported")))
    assert exported.generate(TEXTS[:1], [1], SAMPLER).images
    with pytest.raises(ModelError, match="is not empty"):
        export_pipeline(model.opened.settings, None, tmp_path / "exported")
