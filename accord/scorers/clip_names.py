"""CLIP weights in open_clip's names, as HPSv2 stores them, brought to those of transformers; and sizes from shapes.

| open_clip                          | transformers                                            |
|------------------------------------|---------------------------------------------------------|
| visual.conv1                       | vision_model.embeddings.patch_embedding                 |
| visual.ln_pre, ln_post             | vision_model.pre_layrnorm (sic), post_layernorm         |
| visual.proj, text_projection       | visual_projection, text_projection: transposed          |
| resblocks.i.attn.in_proj_          | encoder.layers.i.self_attn.q_proj, k_proj, v_proj       |
| resblocks.i.ln_1, ln_2             | layer_norm1, layer_norm2                                |
| resblocks.i.mlp.c_fc, c_proj       | mlp.fc1, mlp.fc2                                        |
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from accord.errors import ScoringError

if TYPE_CHECKING:
    from torch import Tensor

_WHOLE = {
    "logit_scale": "logit_scale",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
}
_TRANSPOSED = {"text_projection": "text_projection.weight", "visual.proj": "visual_projection.weight"}
_NORMS = {
    "ln_final": "text_model.final_layer_norm",
    "visual.ln_pre": "vision_model.pre_layrnorm",
    "visual.ln_post": "vision_model.post_layernorm",
}
_PARTS = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
_BLOCK = re.compile(r"(visual\.)?transformer\.resblocks\.(\d+)\.(.+?)[._](weight|bias)")


def from_open_clip(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights under transformers' names. Raises ScoringError on a name that open_clip's CLIP has not."""
    return {new: value for name, weight in weights.items() for new, value in _renamed(name, weight)}


def _renamed(name: str, weight: Tensor) -> Iterator[tuple[str, Tensor]]:
    module, _, kind = name.rpartition(".")
    block = _BLOCK.fullmatch(name)
    if name in _WHOLE:
        yield _WHOLE[name], weight
    elif name in _TRANSPOSED:
        yield _TRANSPOSED[name], weight.T.contiguous()
    elif module in _NORMS:
        yield f"{_NORMS[module]}.{kind}", weight
    elif block is not None and block[3] in (*_PARTS, "attn.in_proj"):
        layer = f"{'vision' if block[1] else 'text'}_model.encoder.layers.{block[2]}"
        if block[3] in _PARTS:
            yield f"{layer}.{_PARTS[block[3]]}.{block[4]}", weight
        else:
            for which, part in zip("qkv", weight.chunk(3), strict=True):
                yield f"{layer}.self_attn.{which}_proj.{block[4]}", part.contiguous()
    else:
        raise ScoringError(f"'{name}' is no weight of a CLIP of open_clip; get the official file again")


def h14_config(weights: Mapping[str, Tensor]) -> Any:
    """Return the CLIPConfig of a ViT-H/14 whose sizes are those of these weights (transformers' names).

    What shapes do not tell is ViT-H/14's: heads 80 wide for images and 64 for texts, plain GELU, and the end of a text
    found as its largest token id.
    """
    from transformers import CLIPConfig

    patch = _shape(weights, "vision_model.embeddings.patch_embedding.weight")
    places = _shape(weights, "vision_model.embeddings.position_embedding.weight")[0]
    vocabulary, text_width = _shape(weights, "text_model.embeddings.token_embedding.weight")
    vision = {
        **_tower(weights, "vision_model", patch[0], 80),
        "patch_size": patch[2],
        "image_size": patch[2] * round((places - 1) ** 0.5),
    }
    text = {
        **_tower(weights, "text_model", text_width, 64),
        "vocab_size": vocabulary,
        "max_position_embeddings": _shape(weights, "text_model.embeddings.position_embedding.weight")[0],
        "eos_token_id": 2,
    }
    projection = _shape(weights, "text_projection.weight")[0]
    return CLIPConfig(text_config=text, vision_config=vision, projection_dim=projection)


def _tower(weights: Mapping[str, Tensor], name: str, width: int, head_width: int) -> dict[str, Any]:
    layers = {found[1] for each in weights if (found := re.match(rf"{name}\.encoder\.layers\.(\d+)\.", each))}
    return {
        "hidden_size": width,
        "intermediate_size": _shape(weights, f"{name}.encoder.layers.0.mlp.fc1.weight")[0],
        "num_hidden_layers": len(layers),
        "num_attention_heads": width // head_width,
        "hidden_act": "gelu",
    }


def _shape(weights: Mapping[str, Tensor], name: str) -> tuple[int, ...]:
    if name not in weights:
        raise ScoringError(f"the weights lack '{name}'; get the official file again")
    return tuple(weights[name].shape)
