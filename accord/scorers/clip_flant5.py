"""CLIP-FlanT5 (Lin et al., ECCV 2024, arXiv 2404.01291): Flan-T5 that reads the patches of CLIP-L/14 at 336 pixels.

The picture is CLIP's states before its last layer, without [CLS], through two linear layers with GELU between them. It
stands in the encoder's input between two texts that are tokenised separately, so an end mark `</s>` is before it.
Sizes are read from the weights.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from accord.errors import ScoringError
from accord.scorers.official import fill, fill_large, layers, same_name, split
from accord.scorers.placement import Placement, placed

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import CLIPVisionConfig, T5Config

PARTS = ("vision_tower.vision_tower.vision_model.", "mm_projector.", "")
EMBEDDINGS = ("shared.weight", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "embed_tokens.weight")
UNUSED = r"vision_tower\..*\.position_ids"
HEAD_WIDTH = 64  # of CLIP's attention


class ClipFlanT5:
    """The network: pictures and two texts to the logits of an answer."""

    def __init__(self, state: Mapping[str, Tensor], source: str, placement: Placement) -> None:
        """Open the network of these weights (official names); the language model is placed by transformers."""
        from transformers import CLIPVisionModel, T5ForConditionalGeneration

        vision, projector, language = parts(state, source)
        self.language = fill_large(
            T5ForConditionalGeneration, t5_config(language, source), language, same_name, source, placement.options()
        )
        config = clip_config(vision, source)
        device, dtype = str(self.language.shared.weight.device), placement.dtype
        self.vision = placed(fill(lambda: CLIPVisionModel(config), vision, same_name, source), device, dtype)
        width, read = projector["0.weight"].shape
        self.projector = placed(fill(lambda: two_layers(read, width), projector, same_name, source), device, dtype)
        self.image_size = edge(vision)

    def logits(self, pixels: Tensor, before: Tensor, after: Sequence[Tensor], answer: Tensor) -> Tensor:
        """Return the float32 logits of each token of the answer, (B, A, V).

        pixels (B, 3, S, S); before (L,) and after, one (L,) per row: token ids; answer (A,): ids that end with `</s>`.
        """
        import torch
        from torch.nn.utils.rnn import pad_sequence

        embed = self.language.shared
        device = embed.weight.device
        pictures = self.pictures(pixels.to(device))
        first = embed(before.to(device))
        rows = [
            torch.cat([first, picture, embed(ids.to(device))]) for picture, ids in zip(pictures, after, strict=True)
        ]
        mask = pad_sequence([torch.ones(len(row), dtype=torch.long, device=device) for row in rows], batch_first=True)
        start = answer.new_tensor([self.language.config.decoder_start_token_id])
        given = torch.cat([start, answer[:-1]]).to(device).expand(len(rows), -1)
        found = self.language(
            inputs_embeds=pad_sequence(rows, batch_first=True), attention_mask=mask, decoder_input_ids=given,
            use_cache=False,
        )  # fmt: skip
        return found.logits.float()

    def pictures(self, pixels: Tensor) -> Tensor:
        """Return what T5 reads of pictures (B, 3, S, S): (B, patches, D)."""
        states = self.vision(pixels.to(self.vision.dtype), output_hidden_states=True).hidden_states
        return self.projector(states[-2][:, 1:])


def parts(state: Mapping[str, Tensor], source: str) -> list[dict[str, Tensor]]:
    """Return the tensors of the vision network, of the projector and of T5, the last with its embedding three times.

    The official file names the one embedding up to four times; files converted to safetensors keep one of the names.
    """
    embedding = next((state[name] for name in EMBEDDINGS if name in state), None)
    if embedding is None:
        raise ScoringError(f"{source} is no CLIP-FlanT5 checkpoint: it has no {EMBEDDINGS[0]}")
    rest = {name: tensor for name, tensor in state.items() if name not in EMBEDDINGS}
    vision, projector, language = split(rest, PARTS, UNUSED, source)
    return [vision, projector, language | dict.fromkeys(EMBEDDINGS[:3], embedding)]


def t5_config(state: Mapping[str, Any], source: str) -> T5Config:
    """Return the configuration of a Flan-T5 with these weights: gated GELU, outputs not scaled."""
    from transformers import T5Config

    first = "encoder.block.0.layer."
    try:
        words, width = state["shared.weight"].shape
        buckets, heads = state[first + "0.SelfAttention.relative_attention_bias.weight"].shape
        inner, rows = (
            state[first + "1.DenseReluDense.wi_0.weight"].shape[0],
            state[first + "0.SelfAttention.q.weight"].shape[0],
        )
    except KeyError as error:
        raise ScoringError(f"{source} is no CLIP-FlanT5 checkpoint: it lacks {error}") from error
    sizes: dict[str, Any] = {
        "vocab_size": words,
        "d_model": width,
        "d_kv": rows // heads,
        "d_ff": inner,
        "num_heads": heads,
        "num_layers": layers(state, r"encoder\.block\.(\d+)\."),
        "num_decoder_layers": layers(state, r"decoder\.block\.(\d+)\."),
        "relative_attention_num_buckets": buckets,
    }
    kind: dict[str, Any] = {
        "feed_forward_proj": "gated-gelu",
        "tie_word_embeddings": False,
        "decoder_start_token_id": 0,
    }
    config = T5Config(**sizes, **kind)
    config.tie_word_embeddings = False  # the class sets it; here the output layer is its own
    return config


def clip_config(state: Mapping[str, Any], source: str) -> CLIPVisionConfig:
    """Return the configuration of OpenAI's CLIP vision network with these weights."""
    from transformers import CLIPVisionConfig

    try:
        width, patch = (
            state["embeddings.class_embedding"].shape[0],
            state["embeddings.patch_embedding.weight"].shape[-1],
        )
        inner = state["encoder.layers.0.mlp.fc1.weight"].shape[0]
    except KeyError as error:
        raise ScoringError(f"{source} lacks its vision network: {error} is missing") from error
    return CLIPVisionConfig(
        hidden_size=width, intermediate_size=inner, num_hidden_layers=layers(state, r"encoder\.layers\.(\d+)\."),
        num_attention_heads=width // HEAD_WIDTH, image_size=edge(state), patch_size=patch,
        hidden_act="quick_gelu",
    )  # fmt: skip


def edge(state: Mapping[str, Any]) -> int:
    """Return the edge in pixels of the square that a vision network with these weights reads."""
    patches = state["embeddings.position_embedding.weight"].shape[0] - 1
    return math.isqrt(patches) * int(state["embeddings.patch_embedding.weight"].shape[-1])


def two_layers(read: int, width: int) -> nn.Module:
    """Return the projector from CLIP's width to T5's."""
    from torch import nn

    return nn.Sequential(nn.Linear(read, width), nn.GELU(), nn.Linear(width, width))
