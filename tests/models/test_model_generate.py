"""Images depend on their own text and seed, and are those of an unmodified diffusers."""

from dataclasses import replace

import diffusers
import numpy as np
import pytest
import torch
from tiny_models import PLAIN, SAMPLER, TEXTS

from accord.diffusion.noise import gaussian
from accord.errors import ModelError
from accord.models import ModelSettings, open_model
from accord.models.quiet import quiet

SEEDS = (7, 8, 9)


def plain_pipeline(folder):
    """Open a folder as a user without Accord would."""
    with quiet():
        pipeline = diffusers.DiffusionPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def plain_images(folder, texts, seeds, settings, **options):
    """Draw the images as a user without Accord would."""
    with quiet():
        images = plain_pipeline(folder)(
            prompt=list(texts),
            num_inference_steps=settings.num_inference_steps,
            guidance_scale=settings.guidance_scale,
            height=settings.height,
            width=settings.width,
            generator=[torch.Generator("cpu").manual_seed(seed) for seed in seeds],
            **options,
        ).images
    return [np.asarray(image) for image in images]


def test_pixels_are_those_of_the_plain_pipeline(family, folder_of):
    model = open_model(ModelSettings(family, str(folder_of(family))))
    fast = model.generate(TEXTS, SEEDS, SAMPLER).images
    model.denoiser.to(memory_format=torch.contiguous_format)  # as diffusers leaves it
    drawn = model.generate(TEXTS, SEEDS, SAMPLER).images
    expected = plain_images(folder_of(family), TEXTS, SEEDS, SAMPLER, **PLAIN.get(family, {}))
    for image, quick, plain in zip(drawn, fast, expected, strict=True):
        assert image.dtype == np.uint8
        assert image.shape == (32, 32, 3)
        assert np.array_equal(image, plain)
        # With channels last, sums are made in another order: rarely a value falls on the other side of a grey level.
        difference = np.abs(quick.astype(int) - plain.astype(int))
        assert difference.max() <= 1
        assert (difference > 0).mean() < 0.002


def test_a_sampler_that_draws_noise_at_every_step_draws_that_of_the_plain_pipeline(folder_of, tmp_path):
    """Its first draw of a step must not be the starting noise again."""
    pipeline = plain_pipeline(folder_of("sd15"))
    pipeline.scheduler = diffusers.EulerAncestralDiscreteScheduler.from_config(pipeline.scheduler.config)
    pipeline.save_pretrained(tmp_path)
    model = open_model(ModelSettings("sd15", str(tmp_path)))
    drawn, plain = model.generate(TEXTS, SEEDS, SAMPLER).images, plain_images(tmp_path, TEXTS, SEEDS, SAMPLER)
    assert np.abs(np.stack(drawn).astype(int) - np.stack(plain).astype(int)).max() <= 1


def test_an_image_does_not_depend_on_batch_size_or_order(family, shared):
    model = shared(family)
    together = model.generate(TEXTS, SEEDS, SAMPLER)
    backwards = model.generate(TEXTS[::-1], SEEDS[::-1], SAMPLER)
    alone = model.generate(TEXTS[1:2], SEEDS[1:2], SAMPLER)
    torch.testing.assert_close(backwards.latents.flip(0), together.latents, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(alone.latents[0], together.latents[1], rtol=1e-4, atol=1e-4)
    assert np.abs(alone.images[0].astype(int) - together.images[1].astype(int)).max() <= 1


def test_the_same_call_gives_the_same_bits(family, shared):
    model = shared(family)
    first, second = (model.generate(TEXTS[:2], SEEDS[:2], SAMPLER) for _ in range(2))
    assert torch.equal(first.latents, second.latents)
    assert all(np.array_equal(a, b) for a, b in zip(first.images, second.images, strict=True))


def test_text_and_seed_matter(family, shared):
    model = shared(family)
    drawn = model.generate([TEXTS[0], TEXTS[0], TEXTS[1]], [1, 2, 1], SAMPLER).latents
    assert (drawn[0] - drawn[1]).abs().mean() > 0.1  # another seed
    assert (drawn[0] - drawn[2]).abs().max() > 1e-3  # another text


def test_starting_noise_belongs_to_the_seed(family, shared):
    model = shared(family)
    noise = model.starting_noise(SEEDS, 32, 32)
    assert noise.shape == (3, *model.latent_shape(32, 32))
    assert torch.equal(noise, gaussian(SEEDS, model.latent_shape(32, 32)))
    assert torch.equal(model.starting_noise([SEEDS[2]], 32, 32)[0], noise[2])


def test_generation_starts_from_the_starting_noise(family, shared):
    """Nearly no steps away from a rectified flow's noise lies the noise itself: one hook sees what the model sees."""
    model, seen = shared(family), []
    hook = model.denoiser.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(args[0] if args else kwargs["hidden_states"]), with_kwargs=True
    )
    try:
        model.generate(TEXTS[:1], [5], SAMPLER)
    finally:
        hook.remove()
    noise = model.starting_noise([5], 32, 32)
    first = seen[0][:1] if family != "flux" else model._family.unpack(seen[0], *noise.shape[-2:])
    first = first / first.std() * noise.std()  # SDXL's Euler sampler scales what the model sees
    torch.testing.assert_close(first, noise, rtol=1e-3, atol=1e-3)


def test_latents_are_what_the_images_were_decoded_from(family, shared):
    model = shared(family)
    drawn = model.generate(TEXTS[:2], SEEDS[:2], SAMPLER)
    assert drawn.latents.dtype == torch.float32
    assert drawn.latents.shape == (2, *model.latent_shape(32, 32))
    config = model.opened.pipe.vae.config
    unscaled = drawn.latents / config.scaling_factor + (config.get("shift_factor") or 0.0)
    with torch.no_grad():
        decoded = model.opened.pipe.vae.decode(unscaled).sample
    expected = ((decoded / 2 + 0.5).clamp(0, 1) * 255).round().permute(0, 2, 3, 1).numpy()
    assert np.abs(np.stack(drawn.images).astype(int) - expected.astype(int)).max() <= 1


def test_other_sizes_than_the_pipelines_own(family, shared):
    drawn = shared(family).generate(TEXTS[:1], SEEDS[:1], replace(SAMPLER, height=64, width=32))
    assert drawn.images[0].shape == (64, 32, 3)


def test_a_negative_prompt_changes_the_image(shared, folder_of):
    model, settings = shared("sdxl"), replace(SAMPLER, negative_prompt="a dull square")
    drawn = model.generate(TEXTS, SEEDS, settings)
    plain = plain_images(folder_of("sdxl"), TEXTS, SEEDS, settings, negative_prompt=["a dull square"] * 3)
    assert np.abs(drawn.images[0].astype(int) - plain[0].astype(int)).max() <= 1
    assert not torch.equal(drawn.latents, model.generate(TEXTS, SEEDS, SAMPLER).latents)


def test_flux_refuses_a_negative_prompt(shared):
    with pytest.raises(ModelError, match="takes no negative prompt"):
        shared("flux").generate(TEXTS, SEEDS, replace(SAMPLER, negative_prompt="dull"))


def test_every_text_needs_a_seed(shared):
    with pytest.raises(ModelError, match="3 texts, 2 seeds"):
        shared("world").generate(TEXTS, SEEDS[:2], SAMPLER)


@pytest.mark.parametrize(("name", "size"), [("world", (32, 30)), ("flux", (32, 34)), ("sd15", (0, 32))])
def test_a_size_the_model_cannot_draw_is_refused(name, size, shared):
    with pytest.raises(ModelError, match="multiples of"):
        shared(name).latent_shape(*size)


def test_numbers_that_are_not_finite_are_no_black_picture(folder_of):
    model = open_model(ModelSettings("sd15", str(folder_of("sd15"))))
    with torch.no_grad():
        model.denoiser.conv_out.bias.fill_(float("nan"))
    with pytest.raises(ModelError, match=r"not finite .*if model\.dtype is 'float16'"):
        model.generate(TEXTS[:1], [1], SAMPLER)
