"""BLIP (Li et al., ICML 2022, arXiv 2201.12086) on transformers' classes, from the names and shapes of its own files.

Sizes are read from the weights; attention heads are 64 wide in every BLIP. The vision network is timm's: its layer
norms add 1e-6. The text networks are BERT with cross-attention to the picture.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from accord.errors import ScoringError
from accord.scorers.checkpoint import Needed, how_to_fetch
from accord.scorers.official import fill, layers, opened, same_name

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import BertTokenizer, BlipTextConfig, BlipTextModel, BlipVisionModel
    from transformers.models.blip.modeling_blip_text import BlipTextLMHeadModel

HEAD_WIDTH = 64
TOKENIZER = "google-bert/bert-base-uncased"

VISION_NAMES = (
    (r"cls_token", "embeddings.class_embedding"),
    (r"pos_embed", "embeddings.position_embedding"),
    (r"patch_embed\.proj\.", "embeddings.patch_embedding."),
    (r"norm\.", "post_layernorm."),
    (r"blocks\.(\d+)\.norm([12])\.", r"encoder.layers.\1.layer_norm\2."),
    (r"blocks\.(\d+)\.attn\.qkv\.", r"encoder.layers.\1.self_attn.qkv."),
    (r"blocks\.(\d+)\.attn\.proj\.", r"encoder.layers.\1.self_attn.projection."),
    (r"blocks\.(\d+)\.mlp\.", r"encoder.layers.\1.mlp."),
)


def vision_name(name: str) -> str:
    """Return transformers' name of a parameter of BLIP's vision network."""
    for pattern, own in VISION_NAMES:
        if match := re.match(pattern, name):
            return match.expand(own) + name[match.end() :]
    return name


def vision_model(state: Mapping[str, Tensor], source: str) -> BlipVisionModel:
    """Return the vision network of these weights (BLIP's names)."""
    from transformers import BlipVisionConfig, BlipVisionModel

    try:
        width, patch = state["cls_token"].shape[-1], state["patch_embed.proj.weight"].shape[-1]
        patches, inner = state["pos_embed"].shape[1] - 1, state["blocks.0.mlp.fc1.weight"].shape[0]
    except KeyError as error:
        raise ScoringError(f"{source} is no BLIP checkpoint: its vision network lacks {error}") from error
    config = BlipVisionConfig(
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=layers(state, r"blocks\.(\d+)\."),
        num_attention_heads=width // HEAD_WIDTH,
        image_size=patch * math.isqrt(patches),
        patch_size=patch,
        layer_norm_eps=1e-6,
    )
    return fill(lambda: BlipVisionModel(config), state, vision_name, source)


def image_size(model: BlipVisionModel) -> int:
    """Return the edge in pixels of the square that a vision network reads."""
    size = model.config.image_size
    assert isinstance(size, int), "set as one number by `vision_model`"
    return size


def text_encoder(state: Mapping[str, Tensor], source: str) -> BlipTextModel:
    """Return the text network without a head. Call it with `is_decoder=False`, its default."""
    from transformers import BlipTextModel

    config = _text_config(state, source)
    return fill(lambda: BlipTextModel(config, add_pooling_layer=False), state, same_name, source)


def text_decoder(state: Mapping[str, Tensor], source: str) -> BlipTextLMHeadModel:
    """Return the text network with its head over the vocabulary."""
    from transformers.models.blip.modeling_blip_text import BlipTextLMHeadModel

    bare = {name.removeprefix("bert."): tensor for name, tensor in state.items()}
    config = _text_config(bare, source)
    config.tie_word_embeddings = False  # the file holds the tied tensors under both names
    return fill(lambda: BlipTextLMHeadModel(config), state, same_name, source)


def _text_config(state: Mapping[str, Tensor], source: str) -> BlipTextConfig:
    from transformers import BlipTextConfig

    try:
        words, width = state["embeddings.word_embeddings.weight"].shape
        layer = "encoder.layer.0."
        inner = state[layer + "intermediate.dense.weight"].shape[0]
        seen = state[layer + "crossattention.self.key.weight"].shape[1]
        positions = state["embeddings.position_embeddings.weight"].shape[0]
    except KeyError as error:
        raise ScoringError(f"{source} is no BLIP checkpoint: a text network lacks {error}") from error
    return BlipTextConfig(
        vocab_size=words,
        hidden_size=width,
        encoder_hidden_size=seen,
        intermediate_size=inner,
        num_hidden_layers=layers(state, r"encoder\.layer\.(\d+)\."),
        num_attention_heads=width // HEAD_WIDTH,  # the class's default, 8, is not BLIP's
        max_position_embeddings=positions,
        layer_norm_eps=1e-12,
        hidden_act="gelu",
        pad_token_id=0,
    )


def vocabulary(path: str) -> Needed:
    """Return the file of the words of BERT's tokenizer."""
    return Needed(path, ("tokenizer.json", "vocab.txt"), instead=how_to_fetch(path))


def tokenizer(path: str, words: int) -> BertTokenizer:
    """Return BERT's tokenizer with BLIP's two tokens, [DEC] (30522) and [ENC] (30523), at the end.

    words: the rows of the model's word embeddings. Raises ScoringError unless the vocabulary has as many.
    """
    from transformers import BertTokenizer

    vocabulary(path).find()
    found = opened(lambda: BertTokenizer.from_pretrained(path), path, "tokenizer")
    found.add_tokens(["[DEC]", "[ENC]"], special_tokens=True)
    if len(found) != words:
        raise ScoringError(f"the tokenizer '{path}' has {len(found)} words with BLIP's two, the model {words}")
    return found
