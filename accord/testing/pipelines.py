"""Tiny pipelines of every family: real diffusers classes, random weights, saved as users' folders are.

They draw coloured noise in a tenth of a second, which is all that a test of the machinery needs.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers

from accord.models.quiet import quiet
from accord.testing.pipeline_parts import SIZE, WIDTH, autoencoder, clip_text, t5_text
from accord.testing.tokenizers import clip_tokenizer, gemma_tokenizer, t5_tokenizer
from accord.world import architecture
from accord.world.tokenizer import make_tokenizer


def save_tiny_pipeline(family: str, folder: Path, seed: int = 0) -> Path:
    """Save a tiny pipeline of this family to `folder` and return it; equal seeds give equal files.

    Families: the names registered in accord, and the variants of `FAMILY_OF`.
    """
    with torch.random.fork_rng(devices=[]), quiet():
        torch.manual_seed(seed)
        pipeline = BUILDERS[family]()
        pipeline.save_pretrained(folder, safe_serialization=True)
    return Path(folder)


def stable_diffusion(scheduler: Any) -> Any:
    """Return a Stable Diffusion 1.x or 2.x pipeline; the scheduler says which."""
    unet = diffusers.UNet2DConditionModel(
        sample_size=SIZE // 2,
        block_out_channels=(16, 32),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=WIDTH,
        attention_head_dim=4,
        norm_num_groups=8,
    )
    return diffusers.StableDiffusionPipeline(
        vae=autoencoder(4, scaling_factor=0.18215),
        text_encoder=clip_text(projection=False),
        tokenizer=clip_tokenizer(),
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


STABLE_DIFFUSION_BETAS: dict[str, Any] = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
}


def sd15() -> Any:
    """Return Stable Diffusion 1.5 in small: PNDM, predicts epsilon."""
    return stable_diffusion(diffusers.PNDMScheduler(**STABLE_DIFFUSION_BETAS, skip_prk_steps=True))


def sd21() -> Any:
    """Return Stable Diffusion 2.1 in small: DDIM, predicts v."""
    options: dict[str, Any] = {"clip_sample": False, "set_alpha_to_one": False, "prediction_type": "v_prediction"}
    return stable_diffusion(diffusers.DDIMScheduler(**STABLE_DIFFUSION_BETAS, **options))


def world() -> Any:
    """Return the embedded world's base in small: its own parts, DPM-Solver++, predicts a flow."""
    return diffusers.StableDiffusionPipeline(
        vae=architecture.make_vae((8, 8, 16)),
        text_encoder=architecture.make_text_encoder(),
        tokenizer=make_tokenizer(),
        unet=architecture.make_unet((16, 32)),
        scheduler=architecture.make_scheduler("flow"),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def sdxl() -> Any:
    """Return SDXL in small: two text encoders, pooled text, size conditioning, Euler, predicts epsilon."""
    time_width, second_width = 8, 48
    unet = diffusers.UNet2DConditionModel(
        sample_size=SIZE // 2,
        block_out_channels=(16, 32),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=(2, 4),
        use_linear_projection=True,
        transformer_layers_per_block=(1, 2),
        cross_attention_dim=WIDTH + second_width,
        norm_num_groups=8,
        addition_embed_type="text_time",
        addition_time_embed_dim=time_width,
        projection_class_embeddings_input_dim=6 * time_width + second_width,
    )
    return diffusers.StableDiffusionXLPipeline(
        vae=autoencoder(4, scaling_factor=0.13025),
        text_encoder=clip_text(projection=False),
        text_encoder_2=clip_text(projection=True, hidden_act="gelu", width=second_width),
        tokenizer=clip_tokenizer(),
        tokenizer_2=clip_tokenizer(),
        unet=unet,
        scheduler=diffusers.EulerDiscreteScheduler(**STABLE_DIFFUSION_BETAS, timestep_spacing="leading"),
        add_watermarker=False,
    )


def sd3(with_t5: bool = True, **transformer_options: Any) -> Any:
    """Return Stable Diffusion 3 in small: three text encoders, the last one optional, rectified flow with shift 3.

    As in the real one the two CLIP encoders differ in width, T5 is as wide as both or wider, and the first one's
    pooled vector is not projected.
    """
    second_width, joint_width = 48, 96
    transformer = diffusers.SD3Transformer2DModel(
        sample_size=SIZE // 2,
        patch_size=2,
        in_channels=16,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=4,
        joint_attention_dim=joint_width,
        caption_projection_dim=32,
        pooled_projection_dim=WIDTH + second_width,
        out_channels=16,
        pos_embed_max_size=96,
        **transformer_options,
    )
    text_encoder = clip_text(projection=True)
    torch.nn.init.eye_(text_encoder.text_projection.weight)
    return diffusers.StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=autoencoder(16, scaling_factor=1.5305, shift_factor=0.0609),
        text_encoder=text_encoder,
        tokenizer=clip_tokenizer(),
        text_encoder_2=clip_text(projection=True, hidden_act="gelu", width=second_width),
        tokenizer_2=clip_tokenizer(),
        text_encoder_3=t5_text(joint_width) if with_t5 else None,
        tokenizer_3=t5_tokenizer() if with_t5 else None,
    )


def sd35() -> Any:
    """Return Stable Diffusion 3.5 medium in small: queries and keys are normalised, the first block attends twice."""
    return sd3(qk_norm="rms_norm", dual_attention_layers=(0,))


def flux() -> Any:
    """Return FLUX.1-dev in small: CLIP and T5, guidance as an input, rectified flow with dynamic shifting."""
    transformer = diffusers.FluxTransformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=WIDTH,
        pooled_projection_dim=WIDTH,
        axes_dims_rope=(4, 4, 8),
        guidance_embeds=True,
    )
    return diffusers.FluxPipeline(
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
        vae=autoencoder(4, scaling_factor=0.3611, shift_factor=0.1159),
        text_encoder=clip_text(projection=False),
        tokenizer=clip_tokenizer(),
        text_encoder_2=t5_text(),
        tokenizer_2=t5_tokenizer(),
        transformer=transformer,
    )


def sana() -> Any:
    """Return Sana in small: Gemma, an autoencoder of 8 x 8 pixels per latent, DPM-Solver++, flow with shift 3."""
    tokenizer = gemma_tokenizer()
    text_encoder = transformers.Gemma2Model(
        transformers.Gemma2Config(
            vocab_size=len(tokenizer),
            hidden_size=WIDTH,
            intermediate_size=37,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=16,
        )
    )
    blocks, widths, scales = (
        ("ResBlock", "ResBlock", "ResBlock", "EfficientViTBlock"),
        (8, 8, 8, 16),
        ((), (), (), (5,)),
    )
    vae = diffusers.AutoencoderDC(
        latent_channels=8,
        attention_head_dim=4,
        encoder_block_types=blocks,
        decoder_block_types=blocks,
        encoder_block_out_channels=widths,
        decoder_block_out_channels=widths,
        encoder_layers_per_block=(1,) * 4,
        decoder_layers_per_block=(1,) * 4,
        encoder_qkv_multiscales=scales,
        decoder_qkv_multiscales=scales,
        scaling_factor=0.41407,
    )
    transformer = diffusers.SanaTransformer2DModel(
        in_channels=8,
        out_channels=8,
        num_attention_heads=2,
        attention_head_dim=16,
        num_layers=2,
        num_cross_attention_heads=2,
        cross_attention_head_dim=16,
        cross_attention_dim=32,
        caption_channels=WIDTH,
        sample_size=SIZE // 8,
        qk_norm="rms_norm_across_heads",
    )
    scheduler = diffusers.DPMSolverMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
    )
    return diffusers.SanaPipeline(
        tokenizer=tokenizer, text_encoder=text_encoder, vae=vae, transformer=transformer, scheduler=scheduler
    )


BUILDERS: dict[str, Callable[[], Any]] = {
    "world": world,
    "sd15": sd15,
    "sd21": sd21,
    "sdxl": sdxl,
    "sd3": sd3,
    "sd3_without_t5": lambda: sd3(with_t5=False),
    "sd35": sd35,
    "flux": flux,
    "sana": sana,
}

FAMILY_OF = {name: name for name in BUILDERS} | {"sd3_without_t5": "sd3", "sd35": "sd3"}
"""The family that opens each of them."""
