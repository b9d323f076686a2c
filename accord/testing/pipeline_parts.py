"""Parts of tiny pipelines: text encoders and autoencoders of real classes, random weights."""

from __future__ import annotations

from typing import Any

import diffusers
import transformers

from accord.testing.tokenizers import clip_tokenizer, t5_tokenizer

WIDTH = 32
"""Of every text encoder; a denoiser's text input is built from it."""

SIZE = 32
"""Height and width in pixels that every tiny pipeline draws quickly."""


def clip_text(projection: bool, hidden_act: str = "quick_gelu", width: int = WIDTH) -> Any:
    """Return a text encoder of CLIP for `clip_tokenizer`, 77 tokens to (B, 77, width)."""
    tokenizer = clip_tokenizer()
    config = transformers.CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=37,
        num_hidden_layers=3,
        num_attention_heads=4,
        projection_dim=width,
        hidden_act=hidden_act,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return transformers.CLIPTextModelWithProjection(config) if projection else transformers.CLIPTextModel(config)


def t5_text(width: int = WIDTH) -> Any:
    """Return a text encoder of T5 for `t5_tokenizer`, L tokens to (B, L, width)."""
    config = transformers.T5Config(
        vocab_size=len(t5_tokenizer()), d_model=width, d_kv=8, d_ff=37, num_layers=1, num_heads=4
    )
    return transformers.T5EncoderModel(config)


def autoencoder(channels: int, **scaling: float) -> Any:
    """Return an autoencoder that halves height and width."""
    return diffusers.AutoencoderKL(
        block_out_channels=(16, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        layers_per_block=1,
        latent_channels=channels,
        norm_num_groups=8,
        sample_size=SIZE,
        **scaling,
    )
