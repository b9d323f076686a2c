"""The parts of the small Stable Diffusion of the world, all plain diffusers and transformers classes.

32x32 pixels become 8x8 latents of 16 channels; about 4.3 million parameters in all, 8.7 MB in fp16. The return types
are `Any` because the type checker sees none of the methods of diffusers models.
"""

from collections.abc import Sequence
from typing import Any

from diffusers import AutoencoderKL, DPMSolverMultistepScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from accord.errors import ConfigError
from accord.world.tokenizer import LENGTH, vocabulary
from accord.world.vocabulary import SIZE

LATENT_CHANNELS = 16
LATENT_SIZE = SIZE // 4
TEXT_WIDTH = 96


def make_vae(widths: Sequence[int] = (16, 32, 64)) -> Any:
    """An AutoencoderKL: pixels (B, 3, 32, 32) in -1..1 to latents (B, 16, 8, 8) and back."""
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        block_out_channels=tuple(widths),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=8,
        sample_size=SIZE,
        mid_block_add_attention=False,
    )


def make_unet(widths: Sequence[int] = (64, 112)) -> Any:
    """A UNet2DConditionModel: noisy latents (B, 16, 8, 8), timesteps (B,), text states (B, L, 96) to (B, 16, 8, 8)."""
    return UNet2DConditionModel(
        sample_size=LATENT_SIZE,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        layers_per_block=1,
        block_out_channels=tuple(widths),
        down_block_types=("CrossAttnDownBlock2D",) * 2,
        up_block_types=("CrossAttnUpBlock2D",) * 2,
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=4,
        norm_num_groups=16,
    )


def make_text_encoder() -> Any:
    """A CLIPTextModel: token ids (B, L) to text states (B, L, 96)."""
    words = vocabulary()
    config = CLIPTextConfig(
        vocab_size=len(words),
        hidden_size=TEXT_WIDTH,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=LENGTH,
        projection_dim=TEXT_WIDTH,
        pad_token_id=words["<pad>"],
        bos_token_id=words["<start>"],
        eos_token_id=words["<end>"],
    )
    return CLIPTextModel(config)


def make_scheduler(objective: str) -> DPMSolverMultistepScheduler:
    """The sampler that belongs to a model trained with `objective`, `flow` or `epsilon`; twelve steps are enough.

    The epsilon model has the noise schedule of Stable Diffusion, sampled from its very end. DDIM, with the spacing that
    Stable Diffusion uses it with, would begin twelve steps at timestep 914 of 1000; it draws worse here (docs/log.md).
    """
    if objective == "flow":
        return DPMSolverMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0, steps_offset=1
        )
    if objective == "epsilon":
        return DPMSolverMultistepScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1
        )
    raise ConfigError(f"unknown objective {objective!r}; known: flow, epsilon")
