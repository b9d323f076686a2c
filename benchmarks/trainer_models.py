"""Small random models whose parts cost each other what the real ones' do, and the FLOPs that say so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from accord.models.interface import ModelSettings, open_model
from accord.models.quiet import quiet
from accord.testing.pipelines import STABLE_DIFFUSION_BETAS
from accord.testing.tokenizers import clip_tokenizer, t5_tokenizer

SIZE = 256
"""Pixels of the small models' images; the real ones are counted at 512."""

T5_TOKENS = 256  # what the pipelines of diffusers ask of T5, and so what the denoiser is told beside CLIP's 77


@dataclass(frozen=True)
class Cost:
    """FLOPs of one image's encoding and of one text's, in units of one forward pass of the denoiser on one image."""

    denoiser: float  # FLOPs
    vae: float  # encoding one image : one forward pass
    text: float  # encoding one text : one forward pass


def save_model(family: str, folder: Path) -> Path:
    """Save the small model of this family as a pipeline folder."""
    with torch.random.fork_rng(devices=[]), quiet():
        torch.manual_seed(0)
        BUILDERS[family]().save_pretrained(folder, safe_serialization=True)
    return folder


def vae(width: int, channels: int, **scaling: float) -> Any:
    """Return the real autoencoders' architecture, `width` channels wide (theirs is 128)."""
    return diffusers.AutoencoderKL(
        block_out_channels=(width, 2 * width, 4 * width, 4 * width),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        latent_channels=channels,
        norm_num_groups=4,
        sample_size=SIZE,
        **scaling,
    )


def clip(width: int, layers: int, projection: bool) -> Any:
    """Return a text encoder of CLIP."""
    tokenizer = clip_tokenizer()
    config = transformers.CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=width, intermediate_size=4 * width, num_hidden_layers=layers,
        num_attention_heads=width // 32, projection_dim=width, bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    return transformers.CLIPTextModelWithProjection(config) if projection else transformers.CLIPTextModel(config)


def sd15() -> Any:
    """Return Stable Diffusion 1.5, a quarter as wide. Its heads are as wide as the real ones, and a quarter as many:
    with as many, exponentials would cost more than products.
    """
    return diffusers.StableDiffusionPipeline(
        vae=vae(32, 4, scaling_factor=0.18215),
        text_encoder=clip(160, 4, projection=False),
        tokenizer=clip_tokenizer(),
        unet=diffusers.UNet2DConditionModel(
            sample_size=SIZE // 8,
            block_out_channels=(80, 160, 320, 320),
            cross_attention_dim=160,
            attention_head_dim=2,
            norm_num_groups=16,  # the first is the number of heads
        ),
        scheduler=diffusers.PNDMScheduler(**STABLE_DIFFUSION_BETAS, skip_prk_steps=True),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def sdxl() -> Any:
    """Return SDXL, its UNet a fifth as wide and two thirds as deep, its heads as wide as the real ones."""
    unet = diffusers.UNet2DConditionModel(
        sample_size=SIZE // 8, block_out_channels=(64, 128, 256),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=(1, 2, 4), use_linear_projection=True, transformer_layers_per_block=(1, 2, 7),
        cross_attention_dim=128 + 192, addition_embed_type="text_time", addition_time_embed_dim=32,
        projection_class_embeddings_input_dim=6 * 32 + 192,
    )  # fmt: skip
    return diffusers.StableDiffusionXLPipeline(
        vae=vae(24, 4, scaling_factor=0.13025),
        text_encoder=clip(128, 4, projection=False),
        text_encoder_2=clip(192, 12, projection=True),
        tokenizer=clip_tokenizer(),
        tokenizer_2=clip_tokenizer(),
        unet=unet,
        scheduler=diffusers.EulerDiscreteScheduler(**STABLE_DIFFUSION_BETAS, timestep_spacing="leading"),
        add_watermarker=False,
    )


def sd3() -> Any:
    """Return Stable Diffusion 3 medium, its transformer a third as deep and a quarter as wide."""
    transformer = diffusers.SD3Transformer2DModel(
        sample_size=SIZE // 8, num_layers=8, num_attention_heads=6, attention_head_dim=64, joint_attention_dim=768,
        caption_projection_dim=384, pooled_projection_dim=128 + 192, out_channels=16, pos_embed_max_size=48,
    )  # fmt: skip
    t5 = transformers.T5Config(
        vocab_size=len(t5_tokenizer()), d_model=768, d_kv=64, d_ff=2176, num_layers=6, num_heads=12,
        feed_forward_proj="gated-gelu",
    )  # fmt: skip
    return diffusers.StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=vae(24, 16, scaling_factor=1.5305, shift_factor=0.0609),
        text_encoder=clip(128, 2, projection=True),
        tokenizer=clip_tokenizer(),
        text_encoder_2=clip(192, 3, projection=True),
        tokenizer_2=clip_tokenizer(),
        text_encoder_3=transformers.T5EncoderModel(t5),
        tokenizer_3=t5_tokenizer(),
    )


BUILDERS: dict[str, Callable[[], Any]] = {"sd15": sd15, "sdxl": sdxl, "sd3": sd3}


def attention(query: Any, key: Any, value: Any, *others: Any, **out: Any) -> int:
    """Return the FLOPs of attention on the CPU between tensors of these shapes, as torch counts that on GPUs."""
    return sdpa_flop_count(query, key, value)


def attention_backward(gradient: Any, query: Any, key: Any, value: Any, *others: Any, **out: Any) -> int:
    """Return the FLOPs of its backward pass, as torch counts that on GPUs."""
    return sdpa_backward_flop_count(gradient, query, key, value)


ON_CPU = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: attention_backward,
}
"""What torch's counter leaves out."""


def counter() -> FlopCounterMode:
    """Return a context that counts floating-point operations in matrix products, convolutions and attention."""
    return FlopCounterMode(display=False, custom_mapping=ON_CPU)


def flops(work: Callable[[], Any]) -> int:
    """Return the floating-point operations of `work()`, without gradients."""
    with counter() as counted, torch.no_grad(), quiet():
        work()
    return counted.get_total_flops()


def measured_cost(family: str, folder: Path) -> Cost:
    """Return what the parts of the saved small model cost."""
    model: Any = open_model(ModelSettings(family, str(folder)))
    conditioning = model.encode_prompts(["a red circle"])
    latents = torch.zeros(1, *model.latent_shape(SIZE, SIZE))
    timesteps = model.schedule.timestep(torch.tensor([0.5], dtype=torch.float64))
    denoiser = flops(lambda: model.predict(model.denoiser, latents, timesteps, conditioning))
    encoding = flops(lambda: model.opened.pipe.vae.encode(torch.zeros(1, 3, SIZE, SIZE)))
    return Cost(denoiser, encoding / denoiser, flops(lambda: model.encode_prompts(["a red circle"])) / denoiser)


def real_cost(family: str) -> Cost:
    """Return what the parts of the real model cost at 512 pixels, counted on shapes alone, without weights."""
    with torch.device("meta"), quiet():
        encoder = vae(128, 16 if family == "sd3" else 4)
        encoding = flops(lambda: encoder.encode(torch.empty(1, 3, 512, 512)))
        text = sum(text_flops(config) for config in REAL_TEXT[family])
        denoiser = flops(REAL_DENOISERS[family]())
    return Cost(denoiser, encoding / denoiser, text / denoiser)


def text_flops(config: Any) -> int:
    """Return the FLOPs of encoding one text, of 77 tokens or `T5_TOKENS`. To be called on the meta device."""
    is_t5 = isinstance(config, transformers.T5Config)
    encoder: Any = transformers.T5EncoderModel(config) if is_t5 else transformers.CLIPTextModel(config)
    tokens = torch.zeros(1, T5_TOKENS if is_t5 else 77, dtype=torch.long)
    return flops(lambda: encoder(tokens))


def real_sd15() -> Callable[[], Any]:
    """Return a forward pass of Stable Diffusion 1.5's UNet."""
    unet = diffusers.UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8)
    return lambda: unet(torch.empty(1, 4, 64, 64), torch.empty(1), torch.empty(1, 77, 768))


def real_sdxl() -> Callable[[], Any]:
    """Return a forward pass of SDXL's UNet."""
    unet = diffusers.UNet2DConditionModel(
        sample_size=128, block_out_channels=(320, 640, 1280),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=(5, 10, 20), use_linear_projection=True, transformer_layers_per_block=(1, 2, 10),
        cross_attention_dim=2048, addition_embed_type="text_time", addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=2816,
    )  # fmt: skip
    added = {"text_embeds": torch.empty(1, 1280), "time_ids": torch.empty(1, 6)}
    return lambda: unet(torch.empty(1, 4, 64, 64), torch.empty(1), torch.empty(1, 77, 2048), added_cond_kwargs=added)


def real_sd3() -> Callable[[], Any]:
    """Return a forward pass of Stable Diffusion 3 medium's transformer, told 77 + T5_TOKENS tokens."""
    transformer = diffusers.SD3Transformer2DModel(
        sample_size=128, num_layers=24, num_attention_heads=24, attention_head_dim=64, joint_attention_dim=4096,
        caption_projection_dim=1536, pooled_projection_dim=2048, out_channels=16, pos_embed_max_size=192,
    )  # fmt: skip
    return lambda: transformer(
        hidden_states=torch.empty(1, 16, 64, 64), timestep=torch.empty(1),
        encoder_hidden_states=torch.empty(1, 77 + T5_TOKENS, 4096), pooled_projections=torch.empty(1, 2048),
    )  # fmt: skip


REAL_DENOISERS: dict[str, Callable[[], Callable[[], Any]]] = {"sd15": real_sd15, "sdxl": real_sdxl, "sd3": real_sd3}

CLIP_L = transformers.CLIPTextConfig(
    hidden_size=768, num_hidden_layers=12, num_attention_heads=12, intermediate_size=3072
)
CLIP_G = transformers.CLIPTextConfig(
    hidden_size=1280, num_hidden_layers=32, num_attention_heads=20, intermediate_size=5120
)
T5_XXL = transformers.T5Config(
    d_model=4096, d_kv=64, d_ff=10240, num_layers=24, num_heads=64, feed_forward_proj="gated-gelu"
)
REAL_TEXT: dict[str, tuple[Any, ...]] = {"sd15": (CLIP_L,), "sdxl": (CLIP_L, CLIP_G), "sd3": (CLIP_L, CLIP_G, T5_XXL)}
