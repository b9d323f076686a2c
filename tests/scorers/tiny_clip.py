"""Tiny CLIPs in the official formats, and their arithmetic written out in plain torch on open_clip's names.

The reference knows nothing of transformers: it takes a state dict as open_clip stores it.
"""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import conv2d, gelu, layer_norm, linear, softmax
from transformers import CLIPConfig, CLIPModel

from accord.testing.tokenizers import clip_tokenizer

MEAN = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)
STD = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)
SIZE, PATCH, LENGTH, WIDTH_OF_TEXT, WIDTH, OUT = 28, 14, 20, 128, 160, 64
TEXTS = ["a red circle", "two blue squares, 'quoted'", "a red circle", ""]


def pictures() -> list[np.ndarray]:
    """Square, tall and wide ones, with odd margins, larger and smaller than the network's size."""
    rng = np.random.default_rng(0)
    shapes = ((28, 28, 3), (40, 57, 3), (61, 30, 3), (20, 33, 3))
    return [rng.integers(0, 256, shape, dtype=np.uint8) for shape in shapes]


def open_clip_weights(seed: int = 0, layers: int = 2, vocabulary: int = 0) -> dict[str, torch.Tensor]:
    """A random CLIP with ViT-H/14's head widths (80 and 64), under open_clip's names."""
    generator = torch.Generator().manual_seed(seed)
    vocabulary = vocabulary or len(clip_tokenizer())

    def random(*shape: int, scale: float = 0.1) -> torch.Tensor:
        return scale * torch.randn(shape, generator=generator)

    weights = {
        "logit_scale": torch.tensor(4.2),
        "positional_embedding": random(LENGTH, WIDTH_OF_TEXT),
        "text_projection": random(WIDTH_OF_TEXT, OUT),
        "token_embedding.weight": random(vocabulary, WIDTH_OF_TEXT),
        "visual.class_embedding": random(WIDTH),
        "visual.positional_embedding": random((SIZE // PATCH) ** 2 + 1, WIDTH),
        "visual.proj": random(WIDTH, OUT),
        "visual.conv1.weight": random(WIDTH, 3, PATCH, PATCH),
    }
    for name, width in (("visual.ln_pre", WIDTH), ("visual.ln_post", WIDTH), ("ln_final", WIDTH_OF_TEXT)):
        weights |= {f"{name}.weight": 1 + random(width), f"{name}.bias": random(width)}
    for tower, width in (("visual.", WIDTH), ("", WIDTH_OF_TEXT)):
        for layer in range(layers):
            block = f"{tower}transformer.resblocks.{layer}"
            for name, shape in {
                "ln_1": (width,), "ln_2": (width,), "attn.out_proj": (width, width), "mlp.c_fc": (2 * width, width),
                "mlp.c_proj": (width, 2 * width),
            }.items():  # fmt: skip
                gain = 1.0 if len(shape) == 1 else 0.0
                weights |= {
                    f"{block}.{name}.weight": gain + random(*shape),
                    f"{block}.{name}.bias": random(shape[0]),
                }
            weights |= {
                f"{block}.attn.in_proj_weight": random(3 * width, width),
                f"{block}.attn.in_proj_bias": random(3 * width),
            }
    return weights


def transformers_clip(act: str, seed: int = 0) -> CLIPModel:
    """A random CLIPModel of transformers with `act` as its activation, and heads as in `open_clip_weights`."""
    torch.manual_seed(seed)
    tokenizer = clip_tokenizer()
    text = {
        "vocab_size": len(tokenizer), "hidden_size": WIDTH_OF_TEXT, "intermediate_size": 256, "num_hidden_layers": 2,
        "num_attention_heads": 2, "max_position_embeddings": LENGTH, "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id, "hidden_act": act,
    }  # fmt: skip
    vision = {
        "hidden_size": WIDTH, "intermediate_size": 320, "num_hidden_layers": 2, "num_attention_heads": 2,
        "image_size": SIZE, "patch_size": PATCH, "hidden_act": act,
    }  # fmt: skip
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=OUT))
    with torch.no_grad():
        for parameter in model.parameters():  # the default is so small that all images look alike
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def save_tiny(folder: str, act: str = "quick_gelu", seed: int = 0) -> CLIPModel:
    """Write a folder as the hub has it: config, model.safetensors, tokenizer."""
    model = transformers_clip(act, seed)
    model.save_pretrained(folder)
    clip_tokenizer().save_pretrained(folder)
    return model


def to_open_clip(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Names of transformers to names of open_clip, written the other way round and on its own."""
    found = {
        "logit_scale": weights["logit_scale"],
        "positional_embedding": weights["text_model.embeddings.position_embedding.weight"],
        "text_projection": weights["text_projection.weight"].T,
        "token_embedding.weight": weights["text_model.embeddings.token_embedding.weight"],
        "visual.class_embedding": weights["vision_model.embeddings.class_embedding"],
        "visual.positional_embedding": weights["vision_model.embeddings.position_embedding.weight"],
        "visual.proj": weights["visual_projection.weight"].T,
        "visual.conv1.weight": weights["vision_model.embeddings.patch_embedding.weight"],
    }
    norms = {"visual.ln_pre": "vision_model.pre_layrnorm", "visual.ln_post": "vision_model.post_layernorm",
             "ln_final": "text_model.final_layer_norm"}  # fmt: skip
    parts = {"ln_1": "layer_norm1", "ln_2": "layer_norm2", "attn.out_proj": "self_attn.out_proj",
             "mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2"}  # fmt: skip
    for new, old in norms.items():
        found |= {f"{new}.{kind}": weights[f"{old}.{kind}"] for kind in ("weight", "bias")}
    for tower, model in (("visual.", "vision_model"), ("", "text_model")):
        layer = 0
        while f"{model}.encoder.layers.{layer}.layer_norm1.weight" in weights:
            old, new = f"{model}.encoder.layers.{layer}", f"{tower}transformer.resblocks.{layer}"
            for kind in ("weight", "bias"):
                found |= {f"{new}.{a}.{kind}": weights[f"{old}.{b}.{kind}"] for a, b in parts.items()}
                qkv = [weights[f"{old}.self_attn.{which}_proj.{kind}"] for which in "qkv"]
                found[f"{new}.attn.in_proj_{kind}"] = torch.cat(qkv)
            layer += 1
    return found


def activation(name: str):
    return (lambda x: x * torch.sigmoid(1.702 * x)) if name == "quick_gelu" else gelu


def block(x, weights, name, heads, act, mask):
    """One residual attention block on (B, L, D)."""

    def norm(x, which):
        return layer_norm(x, x.shape[-1:], weights[f"{name}.{which}.weight"], weights[f"{name}.{which}.bias"])

    def affine(x, which):
        return linear(x, weights[f"{name}.{which}.weight"], weights[f"{name}.{which}.bias"])

    batch, length, width = x.shape
    qkv = linear(norm(x, "ln_1"), weights[f"{name}.attn.in_proj_weight"], weights[f"{name}.attn.in_proj_bias"])
    q, k, v = (each.reshape(batch, length, heads, width // heads).transpose(1, 2) for each in qkv.chunk(3, dim=-1))
    scores = q @ k.transpose(-1, -2) / (width // heads) ** 0.5
    attention = softmax(scores if mask is None else scores + mask, dim=-1)
    x = x + affine((attention @ v).transpose(1, 2).reshape(batch, length, width), "attn.out_proj")
    return x + affine(activation(act)(affine(norm(x, "ln_2"), "mlp.c_fc")), "mlp.c_proj")


def tower(x, weights, prefix, head_width, act, mask=None):
    layer = 0
    while f"{prefix}transformer.resblocks.{layer}.ln_1.weight" in weights:
        name = f"{prefix}transformer.resblocks.{layer}"
        x = block(x, weights, name, x.shape[-1] // head_width, act, mask)
        layer += 1
    return x


def image_tokens(weights, pixels, act):
    """All image tokens (1, I, D) before the last norm, of prepared pixels (3, S, S)."""
    patches = conv2d(torch.as_tensor(pixels)[None], weights["visual.conv1.weight"], stride=PATCH)
    x = torch.cat([weights["visual.class_embedding"][None, None], patches.flatten(2).transpose(1, 2)], dim=1)
    x = x + weights["visual.positional_embedding"]
    x = layer_norm(x, x.shape[-1:], weights["visual.ln_pre.weight"], weights["visual.ln_pre.bias"])
    return tower(x, weights, "visual.", 80, act)


def text_tokens(weights, ids, act):
    """All text tokens (1, L, D) after the last norm, of token ids (L,)."""
    x = weights["token_embedding.weight"][torch.as_tensor(ids)][None] + weights["positional_embedding"]
    mask = torch.full((len(ids), len(ids)), -torch.inf).triu(1)
    x = tower(x, weights, "", 64, act, mask)
    return layer_norm(x, x.shape[-1:], weights["ln_final.weight"], weights["ln_final.bias"])


def reference_cosine(weights, pixels, ids, act) -> float:
    """The cosine of one prepared image and one tokenised text, alone."""
    seen = image_tokens(weights, pixels, act)[:, 0]
    seen = layer_norm(seen, seen.shape[-1:], weights["visual.ln_post.weight"], weights["visual.ln_post.bias"])
    image = seen @ weights["visual.proj"]
    text = text_tokens(weights, ids, act)[:, int(np.argmax(ids))] @ weights["text_projection"]
    return float((image / image.norm() * (text / text.norm())).sum())


def ids_of(text: str, length: int = LENGTH) -> list[int]:
    """Token ids of one text, padded with the end token and cut with the end token kept, put together by hand."""
    tokenizer = clip_tokenizer()
    inner = tokenizer(text, add_special_tokens=False)["input_ids"][: length - 2]
    ids = [tokenizer.bos_token_id, *inner, tokenizer.eos_token_id]
    return ids + [tokenizer.eos_token_id] * (length - len(ids))


def cropped(picture: np.ndarray, rounds: bool, size: int = SIZE) -> np.ndarray:
    """Shortest edge to `size` and centre crop with Pillow alone; `rounds` as torchvision does with odd margins."""
    height, width = picture.shape[:2]
    short = min(height, width)
    new = (
        size if width == short else int(size * width / height),
        size if height == short else int(size * height / width),
    )
    image = Image.fromarray(picture).resize(new, Image.Resampling.BICUBIC)
    left, top = ((margin - size) / 2 for margin in new)
    left, top = (round(left), round(top)) if rounds else (int(left), int(top))
    values = np.asarray(image.crop((left, top, left + size, top + size)), dtype=np.float32) / 255
    return ((values - MEAN) / STD).transpose(2, 0, 1)
