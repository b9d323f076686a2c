"""MPS on a tiny random checkpoint in its official names, against its arithmetic written out for one row at a time."""

import math

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tiny_clip import (
    OUT,
    TEXTS,
    cropped,
    ids_of,
    image_tokens,
    pictures,
    text_tokens,
    to_open_clip,
    transformers_clip,
)

from accord.errors import ScoringError
from accord.scorers.mps import FILE, Mps, concerns
from accord.testing.checks import check_scorer
from accord.testing.tokenizers import clip_tokenizer

HEADS, HEAD, LAYERS = 2, 64, 2
CONDITION = (
    "light, color, clarity, tone, style, ambiance, artistry, shape, face, hair, hands, limbs, structure, instance, "
    "texture, quantity, attributes, position, number, location, word, things."
)  # of the authors' README, with its full stop


def cross_weights(seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    inner = 4 * OUT
    shapes = {
        "0.fn.to_q.weight": (HEADS * HEAD, OUT), "0.fn.to_kv.weight": (2 * HEAD, OUT),
        "0.fn.to_out.weight": (OUT, HEADS * HEAD),
        "0.fn.ff.0.weight": (2 * inner, OUT), "0.fn.ff.2.weight": (OUT, inner),
        "1.fn.fused_attn_ff_proj.weight": (HEADS * HEAD + 2 * HEAD + 2 * inner, OUT),
        "1.fn.attn_out.weight": (OUT, HEADS * HEAD), "1.fn.ff_out.1.weight": (OUT, inner),
    }  # fmt: skip
    found = {}
    for layer in range(LAYERS):
        for name, shape in shapes.items():
            value = torch.randn(shape, generator=generator) * 1.2 / math.sqrt(shape[1])
            found[f"layers.{layer}.{name}"] = value
        for part in (0, 1):
            found[f"layers.{layer}.{part}.fn.norm.weight"] = 1 + 0.1 * torch.randn(OUT, generator=generator)
            found[f"layers.{layer}.{part}.fn.norm.bias"] = torch.zeros(OUT)
        frequencies = [1 / 10000 ** (i / HEAD) for i in range(0, HEAD, 2)]
        found[f"layers.{layer}.1.fn.rotary_emb.inv_freq"] = torch.tensor(frequencies)
    return found


@pytest.fixture(scope="module")
def weights():
    """CLIP under open_clip's names, and the cross-attention."""
    model = transformers_clip("gelu", seed=5)
    return {name: weight.detach() for name, weight in model.state_dict().items()}, cross_weights()


@pytest.fixture(scope="module")
def folder(tmp_path_factory, weights):
    path = tmp_path_factory.mktemp("mps")
    state = {f"model.{n}": w for n, w in weights[0].items()} | {f"cross_model.{n}": w for n, w in weights[1].items()}
    state["model.text_model.embeddings.position_ids"] = torch.arange(20)[None]  # older files hold it
    save_file(state, path / f"{FILE}.safetensors")
    clip_tokenizer().save_pretrained(path)
    return str(path)


def softmax(x):
    x = (x - x.max()).exp()
    return x / x.sum()


def turned(x, place):
    """Rotary position of one head (64,)."""
    half = HEAD // 2
    angles = torch.tensor([place / 10000 ** (2 * i / HEAD) for i in range(half)])
    a, b = x[:half], x[half:]
    return torch.cat([a * angles.cos() - b * angles.sin(), b * angles.cos() + a * angles.sin()])


def swiglu(x):
    value, gate = x[: len(x) // 2], x[len(x) // 2 :]
    return value * gate / (1 + (-gate).exp())


def normed(x, gain):
    x = x - x.mean()
    return gain * x / (x.pow(2).mean() + 1e-5).sqrt()


def fused(image, text, counts, weights):
    """Image tokens (I, D) through all layers, token by token and head by head."""
    for layer in range(LAYERS):
        w = {name.split(".fn.")[1]: v for name, v in weights.items() if name.startswith(f"layers.{layer}.0.")}
        new = []
        for token in image:
            x = normed(token, w["norm.weight"])
            query = w["to_q.weight"] @ x
            keys, values = (text @ w["to_kv.weight"].T).split(HEAD, dim=1)
            heads = [
                softmax((keys[counts] @ query[h * HEAD : (h + 1) * HEAD]) / math.sqrt(HEAD)) @ values[counts]
                for h in range(HEADS)
            ]
            inner = w["ff.2.weight"] @ swiglu(w["ff.0.weight"] @ x)
            new.append(token + w["to_out.weight"] @ torch.cat(heads) + inner)
        image = torch.stack(new)
        w = {name.split(".fn.")[1]: v for name, v in weights.items() if name.startswith(f"layers.{layer}.1.")}
        sizes = [HEADS * HEAD, HEAD, HEAD, 8 * OUT]
        parts = [(w["fused_attn_ff_proj.weight"] @ normed(token, w["norm.weight"])).split(sizes) for token in image]
        keys = torch.stack([turned(part[1], place) for place, part in enumerate(parts)])
        values = torch.stack([part[2] for part in parts])
        new = []
        for place, (token, part) in enumerate(zip(image, parts, strict=True)):
            heads = [
                softmax(keys @ turned(part[0][h * HEAD : (h + 1) * HEAD], place) / math.sqrt(HEAD)) @ values
                for h in range(HEADS)
            ]
            new.append(token + w["attn_out.weight"] @ torch.cat(heads) + w["ff_out.1.weight"] @ swiglu(part[3]))
        image = torch.stack(new)
    return image


def expected(weights, threshold=0.3, *, all_count=False, batch_maximum=False, normed_tokens=False, rows=None):
    """(B,) scores, each row alone; the keywords step into one trap each."""
    clip, cross = to_open_clip(weights[0]), weights[1]
    rows = rows or list(zip(pictures(), TEXTS, strict=True))
    condition = (text_tokens(clip, ids_of(CONDITION), "gelu") @ clip["text_projection"])[0]
    texts = [(text_tokens(clip, ids_of(text), "gelu") @ clip["text_projection"])[0] for _, text in rows]
    products = [(text @ condition.T).amax(dim=1) for text in texts]
    found = []
    for (picture, prompt), text, product in zip(rows, texts, products, strict=True):
        largest = max(p.max() for p in products) if batch_maximum else product.max()
        counts = product / largest > threshold
        counts = torch.ones_like(counts) if all_count else counts
        tokens = image_tokens(clip, cropped(picture, rounds=False), "gelu")[0]
        if normed_tokens:
            gain, bias = clip["visual.ln_post.weight"], clip["visual.ln_post.bias"]
            tokens = torch.nn.functional.layer_norm(tokens, tokens.shape[-1:], gain, bias)
        image = fused(tokens @ clip["visual.proj"], text, counts, cross)[0]
        end = text[int(np.argmax(ids_of(prompt)))]
        cosine = (image @ end) / image.norm() / end.norm()
        found.append(float(clip["logit_scale"].exp() * cosine))
    return np.array(found)


def opened(folder, **options):
    return Mps(path=folder, tokenizer_path=folder, **options)


@pytest.mark.parametrize("threshold", [0.3, 0.75])
def test_scores_equal_the_arithmetic_written_out(folder, weights, threshold):
    found = opened(folder, threshold=threshold).score(pictures(), TEXTS)
    np.testing.assert_allclose(found, expected(weights, threshold), rtol=1e-4, atol=1e-4)
    assert np.ptp(found) > 0.1


def test_published_traps_change_the_score(folder, weights):
    """The batch's maximum, another threshold, no mask, the last norm on image tokens; at a threshold that masks."""
    found = opened(folder, threshold=0.75).score(pictures(), TEXTS)
    traps = {
        "neighbours": expected(weights, 0.75, batch_maximum=True),
        "threshold": expected(weights, 0.6),
        "no mask": expected(weights, all_count=True),
        "norm": expected(weights, 0.75, normed_tokens=True),
    }
    for name, values in traps.items():
        assert abs(found - values).max() > 1e-3, name
    assert opened(folder).threshold == 0.3  # the evaluation's, not the .01 of the original module


def test_a_mask_depends_on_its_own_row_alone():
    generator = torch.Generator().manual_seed(0)
    texts, condition = torch.randn(3, 5, 8, generator=generator), torch.randn(4, 8, generator=generator)
    together = concerns(texts, condition, 0.3)
    texts[1] *= 100  # the neighbour's products become the largest of the batch
    assert torch.equal(concerns(texts, condition, 0.3), together)
    assert together.any(dim=1).all()
    assert not together.all()


def test_it_keeps_the_promises_of_a_scorer(folder):
    check_scorer(opened(folder), pictures(), TEXTS, tolerance=2e-4)


def test_bfloat16_keeps_the_order_of_what_is_apart(folder):
    a, b = (opened(folder, dtype=dtype).score(pictures(), TEXTS) for dtype in ("float32", "bfloat16"))
    assert not np.array_equal(a, b)
    apart = abs(a[:, None] - a[None]) > 2 * abs(a - b).max()
    assert apart.any()
    assert (np.sign(a[:, None] - a[None]) == np.sign(b[:, None] - b[None]))[apart].all()


def test_positions_stay_in_float32(folder):
    scorer = opened(folder, dtype="bfloat16")
    buffers = dict(scorer.cross_model.named_buffers())
    assert all(buffers[name].dtype == torch.float32 for name in buffers if name.endswith("inv_freq"))
    assert all(parameter.dtype == torch.bfloat16 for parameter in scorer.cross_model.parameters())


def test_gradients_reach_the_pixels_and_scores_are_near(folder):
    images = torch.rand(2, 3, 28, 28, generator=torch.Generator().manual_seed(0))
    pixels = images.clone().requires_grad_()
    scorer = opened(folder)
    scores = scorer.differentiable_scores(pixels, TEXTS[:2])
    scores.sum().backward()
    assert pixels.grad.abs().flatten(1).sum(dim=1).min() > 0
    pictures_ = [(image.permute(1, 2, 0) * 255).round().byte().numpy() for image in images]
    spread = np.ptp(scorer.score(pictures(), TEXTS))
    assert abs(scores.detach().numpy() - scorer.score(pictures_, TEXTS[:2])).max() < 0.05 * spread


def test_a_missing_or_unfit_checkpoint_says_what_to_do(tmp_path, folder, weights):
    with pytest.raises(ScoringError, match=r"modelscope download --model AI-ModelScope/MPS .*`accord convert"):
        Mps()
    state = {f"model.{n}": w for n, w in weights[0].items()} | {f"cross_model.{n}": w for n, w in weights[1].items()}
    for change, message in (("odd", "'extra'"), ("no cross", "one of its two parts"), ("short", "Missing key")):
        changed = dict(state)
        if change == "odd":
            changed["extra"] = torch.zeros(1)
        elif change == "short":
            del changed["cross_model.layers.1.1.fn.attn_out.weight"]
        else:
            changed = {n: w for n, w in changed.items() if n.startswith("model.")}
        save_file(changed, tmp_path / "model.safetensors")
        with pytest.raises(ScoringError, match=message):
            Mps(path=str(tmp_path), tokenizer_path=folder)
