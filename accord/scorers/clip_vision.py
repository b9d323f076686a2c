"""What CLIP's vision network says of an image, without the work that nobody reads.

The embedding is made of one token, [CLS]. So the last layer is computed for that token alone: it looks at all others,
but theirs are not carried on, 3 % of all multiplications. And the activation, on the widest of all tensors, works in
place where no gradient is asked for. The numbers stay what they are, but for rounding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def embed_images(model: Any, pixels: Tensor) -> Tensor:
    """Return the projected embeddings (B, D), of any length, of prepared pixels (B, 3, S, S).

    model: a CLIPModel of transformers; this is its `get_image_features(pixels).pooler_output`.
    """
    vision, kind = model.vision_model, model.config.vision_config.hidden_act
    tokens = vision.pre_layrnorm(vision.embeddings(pixels))
    *layers, last = vision.encoder.layers
    for layer in layers:
        tokens = tokens + attend(layer, tokens, tokens.shape[1])
        tokens = tokens + feed_forward(layer, tokens, kind)
    first = tokens[:, :1] + attend(last, tokens, 1)
    first = first + feed_forward(last, first, kind)
    return model.visual_projection(vision.post_layernorm(first[:, 0]))


def attend(layer: Any, tokens: Tensor, count: int) -> Tensor:
    """Return what the first `count` tokens of (B, L, D) learn from all tokens of their image, (B, count, D)."""
    from torch.nn.functional import scaled_dot_product_attention

    attention, seen = layer.self_attn, layer.layer_norm1(tokens)
    query, key, value = (
        part(each).unflatten(-1, (attention.num_heads, attention.head_dim)).transpose(1, 2)
        for part, each in (
            (attention.q_proj, seen[:, :count]),
            (attention.k_proj, seen),
            (attention.v_proj, seen),
        )
    )
    found = scaled_dot_product_attention(query, key, value, scale=attention.scale)
    return attention.out_proj(found.transpose(1, 2).flatten(2))


def feed_forward(layer: Any, tokens: Tensor, kind: str) -> Tensor:
    """Return what a layer's feed-forward part makes of tokens (B, L, D); kind: its activation, as transformers says."""
    import torch

    wide = layer.mlp.fc1(layer.layer_norm2(tokens))
    if torch.is_grad_enabled() or kind not in ("gelu", "quick_gelu"):
        wide = layer.mlp.activation_fn(wide)
    elif kind == "gelu":
        torch.ops.aten.gelu_(wide)
    else:
        wide *= torch.mul(wide, 1.702).sigmoid_()
    return layer.mlp.fc2(wide)
