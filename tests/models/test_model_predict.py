"""`predict` is the denoiser as the pipeline itself calls it, whatever wraps the denoiser."""

import diffusers
import pytest
import torch
from tiny_models import FAMILIES, PLAIN, SAMPLER, TEXTS
from torch import nn

from accord.models import ModelSettings, open_model
from accord.models.flux import pack, position_ids, unpack
from accord.models.pipeline_model import weight_dtype
from accord.models.sdxl import size_ids


def inputs(model, batch: int = 2):
    """Return noisy latents, timesteps and conditioning for a call of `predict`."""
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(batch, *model.latent_shape(32, 32), generator=generator)
    timesteps = model.schedule.timestep(torch.tensor([0.3, 0.8], dtype=torch.float64)[:batch])
    return latents, timesteps, model.encode_prompts(TEXTS[:batch])


def calls_of_the_pipeline(model):
    """Return (args, kwargs, output) of every denoiser call while the pipeline draws two images without guidance."""
    seen = []
    hook = model.denoiser.register_forward_hook(
        lambda module, args, kwargs, output: seen.append((args, kwargs, output[0])), with_kwargs=True
    )
    noise = model._family.pack(model.starting_noise([1, 2], 32, 32))
    try:
        with torch.no_grad():
            model.opened.pipe(
                prompt=list(TEXTS[:2]), num_inference_steps=2, guidance_scale=1.0, height=32, width=32, latents=noise,
                output_type="latent", **PLAIN.get(model.family, {}),
            )  # fmt: skip
    finally:
        hook.remove()
    return seen


@pytest.mark.parametrize("family", [*FAMILIES, "sd21", "sd35", "sd3_without_t5"])
def test_equals_what_the_pipeline_computes(family, shared):
    model = shared(family)
    conditioning = model.encode_prompts(TEXTS[:2])
    calls = calls_of_the_pipeline(model)
    assert len(calls) >= 2
    for args, kwargs, output in calls:
        latents = args[0] if args else kwargs["hidden_states"]
        timestep = kwargs["timestep"] if "timestep" in kwargs else args[1]
        if family == "flux":
            latents, output = (model._family.unpack(x, 16, 16) for x in (latents, output))
            timestep = timestep * 1000
        timesteps = timestep.float().expand(2)
        with torch.no_grad():
            predicted = model.predict(model.denoiser, latents, timesteps, conditioning)
        torch.testing.assert_close(predicted, output, rtol=1e-4, atol=1e-5)


def test_rows_do_not_mix(family, shared):
    model = shared(family)
    latents, timesteps, conditioning = inputs(model)
    with torch.no_grad():
        both = model.predict(model.denoiser, latents, timesteps, conditioning)
        second = model.predict(
            model.denoiser, latents[1:], timesteps[1:], {name: value[1:] for name, value in conditioning.items()}
        )
    torch.testing.assert_close(second[0], both[1], rtol=1e-4, atol=1e-5)


def test_text_and_timestep_matter(family, shared):
    model = shared(family)
    latents, timesteps, conditioning = inputs(model)
    swapped = {name: value.flip(0) for name, value in conditioning.items()}
    with torch.no_grad():
        plain = model.predict(model.denoiser, latents, timesteps, conditioning)
        assert (model.predict(model.denoiser, latents, timesteps, swapped) - plain).abs().max() > 1e-4
        assert (model.predict(model.denoiser, latents, timesteps.flip(0), conditioning) - plain).abs().max() > 1e-4


class Wrapper(nn.Module):
    """Wraps as DistributedDataParallel does: the module in `module`, no other attribute passed on."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, *args, **kwargs):
        return self.module(*args, **kwargs)


def test_the_denoiser_may_be_wrapped(family, shared):
    model = shared(family)
    arguments = inputs(model)
    with torch.no_grad():
        bare = model.predict(model.denoiser, *arguments)
        assert torch.equal(model.predict(Wrapper(model.denoiser), *arguments), bare)


@pytest.mark.parametrize(
    ("family", "dtype"),
    [
        *(("world", "float16"), ("sdxl", "float16"), ("sdxl", "bfloat16")),
        *(("sd3", "bfloat16"), ("flux", "bfloat16"), ("sana", "bfloat16")),
    ],
)
def test_half_precision_predicts_and_draws(family, dtype, folder_of, shared):
    model = open_model(ModelSettings(family, str(folder_of(family)), dtype=dtype))
    assert weight_dtype(model.denoiser) is getattr(torch, dtype)
    arguments = inputs(shared(family))
    with torch.no_grad():
        predicted = model.predict(model.denoiser, *arguments)
        exact = shared(family).predict(shared(family).denoiser, *arguments)
    assert predicted.dtype == torch.float32
    torch.testing.assert_close(predicted, exact, rtol=0.1, atol=0.1)
    drawn = model.generate(TEXTS[:1], [1], SAMPLER)
    assert drawn.latents.dtype == torch.float32
    assert drawn.latents.isfinite().all()
    # the noise is drawn in float32 whatever the weights are, so half precision draws about the same image
    assert (drawn.latents - shared(family).generate(TEXTS[:1], [1], SAMPLER).latents).abs().mean() < 0.1


def test_gradient_reaches_the_denoiser_only(family, folder_of):
    model = open_model(ModelSettings(family, str(folder_of(family))))
    model.predict(model.denoiser, *inputs(model)).square().mean().backward()
    assert any(parameter.grad is not None for parameter in model.denoiser.parameters())
    for name, component in model.opened.pipe.components.items():
        if isinstance(component, nn.Module) and component is not model.denoiser:
            assert not any(parameter.requires_grad for parameter in component.parameters()), name


def test_sdxl_is_told_the_size_as_its_pipeline_tells_it(shared):
    model = shared("sdxl")
    pipe = model.opened.pipe
    expected = pipe._get_add_time_ids((48, 32), (0, 0), (48, 32), torch.float32, text_encoder_projection_dim=48)
    latents = torch.zeros(2, *model.latent_shape(48, 32))
    assert torch.equal(size_ids(latents, model.opened.pixels_per_latent), expected.repeat(2, 1))


def test_flux_packs_as_its_pipeline_packs():
    latents = torch.arange(2 * 4 * 6 * 8, dtype=torch.float32).reshape(2, 4, 6, 8)
    pipeline = diffusers.FluxPipeline
    packed = pack(latents)
    assert torch.equal(packed, pipeline._pack_latents(latents, 2, 4, 6, 8))
    assert torch.equal(unpack(packed, 6, 8), latents)
    expected = pipeline._prepare_latent_image_ids(2, 3, 4, torch.device("cpu"), torch.float32)
    assert torch.equal(position_ids(3, 4), expected)


def test_flux_is_told_the_guidance_of_the_conditioning(shared):
    model = shared("flux")
    latents, timesteps, conditioning = inputs(model)
    assert conditioning["guidance"].tolist() == [1.0, 1.0]
    with torch.no_grad():
        plain = model.predict(model.denoiser, latents, timesteps, conditioning)
        guided = model.predict(model.denoiser, latents, timesteps, {**conditioning, "guidance": torch.full((2,), 3.5)})
    assert (plain - guided).abs().max() > 1e-4


def test_flux_without_a_guidance_input(tmp_path, folder_of):
    """FLUX.1-schnell's transformer takes no guidance."""
    pipe = diffusers.FluxPipeline.from_pretrained(folder_of("flux"))
    pipe.transformer = diffusers.FluxTransformer2DModel.from_config(pipe.transformer.config, guidance_embeds=False)
    pipe.save_pretrained(tmp_path)
    model = open_model(ModelSettings("flux", str(tmp_path)))
    latents, timesteps, conditioning = inputs(model)
    assert "guidance" not in conditioning
    assert model.predict(model.denoiser, latents, timesteps, conditioning).shape == latents.shape


def test_sana_never_sees_the_padding_of_a_text(shared):
    model = shared("sana")
    told = model.encode_prompts(TEXTS[:2])
    latents, timesteps = torch.randn(2, *model.latent_shape(32, 32)), torch.tensor([500.0, 500.0])
    is_padding = told["attention_mask"] == 0
    assert is_padding.any(dim=1).all()
    other = {**told, "prompt_embeds": told["prompt_embeds"].masked_fill(is_padding.unsqueeze(-1), 7.0)}
    words = {**told, "prompt_embeds": told["prompt_embeds"].masked_fill(~is_padding.unsqueeze(-1), 7.0)}
    with torch.no_grad():
        expected, padded, changed = (model.predict(model.denoiser, latents, timesteps, c) for c in (told, other, words))
    assert torch.equal(padded, expected)
    assert not torch.equal(changed, expected)
