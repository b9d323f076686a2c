"""The cross-attention of MPS: image tokens ask text tokens, four times, each time followed by self-attention.

Parameter names are those of the official checkpoint: the numbers in them are places in its module lists. Attention has
one head of keys and values for all heads of queries, and the feed-forward part runs beside it on the same input.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm, scaled_dot_product_attention, silu

HEAD_WIDTH = 64
MULTIPLE = 4  # feed-forward width over model width


class Norm(nn.Module):
    """Layer norm with a gain; the bias is a constant 0 that the checkpoint stores."""

    bias: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.register_buffer("bias", torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """Return (..., D)."""
        return layer_norm(x, x.shape[-1:], self.weight, self.bias.to(x.dtype))


class SwiGlu(nn.Module):
    """The first half, gated by the SiLU of the second."""

    def forward(self, x: Tensor) -> Tensor:
        """Return (..., W) of (..., 2 W)."""
        value, gate = x.chunk(2, dim=-1)
        return silu(gate) * value


class CrossAttention(nn.Module):
    """Image tokens ask text tokens; a feed-forward part beside it."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = Norm(width)
        self.to_q = nn.Linear(width, heads * HEAD_WIDTH, bias=False)
        self.to_kv = nn.Linear(width, 2 * HEAD_WIDTH, bias=False)
        self.to_out = nn.Linear(heads * HEAD_WIDTH, width, bias=False)
        inner = MULTIPLE * width
        self.ff = nn.Sequential(nn.Linear(width, 2 * inner, bias=False), SwiGlu(), nn.Linear(inner, width, bias=False))

    def forward(self, x: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        """Return (B, I, D) for image tokens x (B, I, D), text tokens (B, L, D), and which of them count (B, L)."""
        x = self.norm(x)
        keys, values = self.to_kv(context).chunk(2, dim=-1)
        found = attend(self.to_q(x), keys, values, self.heads, mask[:, None, None, :])
        return self.to_out(found) + self.ff(x)


class SelfAttention(nn.Module):
    """Image tokens ask each other, with rotary positions; a feed-forward part beside it, all from one projection."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = Norm(width)
        self.rotary_emb = Rotary()
        self.parts = (heads * HEAD_WIDTH, HEAD_WIDTH, HEAD_WIDTH, 2 * MULTIPLE * width)
        self.fused_attn_ff_proj = nn.Linear(width, sum(self.parts), bias=False)
        self.attn_out = nn.Linear(heads * HEAD_WIDTH, width, bias=False)
        self.ff_out = nn.Sequential(SwiGlu(), nn.Linear(MULTIPLE * width, width, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, I, D)."""
        queries, keys, values, inner = self.fused_attn_ff_proj(self.norm(x)).split(self.parts, dim=-1)
        queries = self.rotary_emb(queries.unflatten(-1, (self.heads, HEAD_WIDTH)).transpose(1, 2))
        found = attend(queries.transpose(1, 2).flatten(2), self.rotary_emb(keys), values, self.heads)
        return self.attn_out(found) + self.ff_out(inner)


class Rotary(nn.Module):
    """Rotary positions (Su et al. 2021), in float32: the two halves of a head are turned against each other."""

    inv_freq: Tensor

    def __init__(self) -> None:
        super().__init__()
        steps = torch.arange(0, HEAD_WIDTH, 2, device="cpu").float() / HEAD_WIDTH
        self.register_buffer("inv_freq", 10000.0**-steps)

    def forward(self, x: Tensor) -> Tensor:
        """Return (..., I, W) turned by its place along I."""
        places = torch.arange(x.shape[-2], device=x.device, dtype=self.inv_freq.dtype)
        angles = (places[:, None] * self.inv_freq).repeat(1, 2)
        first, second = x.chunk(2, dim=-1)
        return x * angles.cos().to(x.dtype) + torch.cat([-second, first], dim=-1) * angles.sin().to(x.dtype)


class Residual(nn.Module):
    """A module beside which its input goes on."""

    def __init__(self, fn: nn.Module) -> None:
        super().__init__()
        self.fn = fn

    def forward(self, x: Tensor, *rest: Tensor) -> Tensor:
        """Return fn(x, ...) + x."""
        return self.fn(x, *rest) + x


class CrossModel(nn.Module):
    """All layers: `layers.i.0` is the cross-attention, `layers.i.1` the self-attention."""

    def __init__(self, width: int, heads: int, num_layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.ModuleList([Residual(CrossAttention(width, heads)), Residual(SelfAttention(width, heads))])
            for _ in range(num_layers)
        )

    def forward(self, image_tokens: Tensor, text_tokens: Tensor, mask: Tensor) -> Tensor:
        """Return the fused image tokens (B, I, D); `mask` (B, L) is True for text tokens that count."""
        for layer in self.layers:
            assert isinstance(layer, nn.ModuleList)
            cross, own = layer
            image_tokens = own(cross(image_tokens, text_tokens, mask))
        return image_tokens


def attend(queries: Tensor, keys: Tensor, values: Tensor, heads: int, mask: Tensor | None = None) -> Tensor:
    """Return (B, I, heads x W) for queries of that shape; keys and values (B, L, W) serve all heads."""
    asked = queries.unflatten(-1, (heads, keys.shape[-1])).transpose(1, 2)
    keys, values = (each[:, None].expand(-1, heads, -1, -1) for each in (keys, values))
    return scaled_dot_product_attention(asked, keys, values, attn_mask=mask).transpose(1, 2).flatten(2)
