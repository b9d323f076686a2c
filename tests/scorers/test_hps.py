"""HPSv2 and HPSv2.1 on a tiny random checkpoint in open_clip's names, against their arithmetic written out."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tiny_clip import (
    LENGTH,
    MEAN,
    SIZE,
    STD,
    TEXTS,
    ids_of,
    open_clip_weights,
    pictures,
    reference_cosine,
    to_open_clip,
)
from torch.nn.functional import interpolate
from transformers import CLIPTokenizer

from accord.errors import ScoringError
from accord.scorers.clip_names import from_open_clip
from accord.scorers.convert import convert
from accord.scorers.hps import clean_text
from accord.scorers.hpsv2 import HpsV2
from accord.scorers.hpsv2_1 import FILE, HpsV21
from accord.scorers.preprocessing import PadToSquare
from accord.testing.checks import check_scorer
from accord.testing.tokenizers import clip_tokenizer

GOLDENS = json.loads((Path(__file__).parent / "goldens" / "clip_tokens.json").read_text())


@pytest.fixture(scope="module")
def weights():
    return open_clip_weights(seed=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, weights):
    """The official .pt of both versions, with its nest, converted as the message says."""
    path = tmp_path_factory.mktemp("hps")
    for number, name in enumerate(("HPS_v2_compressed", FILE)):
        state = weights if number else open_clip_weights(seed=4)
        torch.save({"state_dict": state}, path / f"{name}.pt")
        convert(path / f"{name}.pt")
    clip_tokenizer().save_pretrained(path)
    return str(path)


def kernel(x: float) -> float:
    """Torch's bicubic kernel without antialiasing: a = -0.75."""
    x, a = abs(x), -0.75
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else 0.0


def sampling(old: int, new: int) -> np.ndarray:
    """The matrix (new, old) that takes a line of pixels to another size: four neighbours, edges repeated."""
    matrix = np.zeros((new, old))
    for row in range(new):
        centre = (row + 0.5) * old / new - 0.5
        for place in range(math.floor(centre) - 1, math.floor(centre) + 3):
            matrix[row, min(max(place, 0), old - 1)] += kernel(centre - place)
    return matrix


def padded(picture: np.ndarray, size: int = SIZE) -> np.ndarray:
    """Longest edge to `size`, black borders, then normalised: by hand in float64."""
    height, width = picture.shape[:2]
    scale = size / max(height, width)
    new = round(height * scale), round(width * scale)
    values = np.einsum("ah,bw,hwc->cab", sampling(height, new[0]), sampling(width, new[1]), picture / 255)
    border = ((size - new[0]) // 2, (size - new[1]) // 2)
    canvas = np.zeros((3, size, size))
    canvas[:, border[0] : border[0] + new[0], border[1] : border[1] + new[1]] = values
    return ((canvas - MEAN[:, None, None]) / STD[:, None, None]).astype(np.float32)


def expected(weights, prepare=padded, act="gelu"):
    rows = zip(pictures(), TEXTS, strict=True)
    return np.array([reference_cosine(weights, prepare(picture), ids_of(text), act) for picture, text in rows])


def opened(folder, **options):
    return HpsV21(path=folder, tokenizer_path=folder, **options)


def test_scores_equal_the_arithmetic_written_out(folder, weights):
    found = opened(folder).score(pictures(), TEXTS)
    np.testing.assert_allclose(found, expected(weights), atol=2e-6)
    assert np.ptp(found) > 0.05
    older = HpsV2(path=folder, tokenizer_path=folder).score(pictures(), TEXTS)
    np.testing.assert_allclose(older, expected(open_clip_weights(seed=4)), atol=2e-6)


def test_published_traps_change_the_score(folder, weights):
    """Padding after normalisation, antialiasing, cropping as CLIP does, quick GELU, the logit scale."""
    found = opened(folder).score(pictures(), TEXTS)

    def late(picture):
        prepared = padded(picture)
        black = ((0 - MEAN) / STD)[:, None, None].astype(np.float32)
        return np.where(np.isclose(prepared, black, atol=1e-6), 0, prepared).astype(np.float32)

    def smooth(picture):
        return PadToSquare(SIZE, antialias=True)(picture)

    traps = {
        "late padding": expected(weights, late),
        "antialias": expected(weights, smooth),
        "quick gelu": expected(weights, act="quick_gelu"),
        "logit scale": float(weights["logit_scale"].exp()) * expected(weights),
    }
    for name, values in traps.items():
        assert abs(found - values).max() > 2e-4, name
    np.testing.assert_allclose(opened(folder, antialias=True).score(pictures(), TEXTS), traps["antialias"], atol=2e-6)


@pytest.mark.parametrize("shape", [(28, 28), (100, 40), (33, 90), (14, 28), (90, 89)])
def test_the_whole_picture_is_kept_and_the_border_is_black(shape):
    picture = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    found = PadToSquare(SIZE)(picture)
    np.testing.assert_allclose(found, padded(picture), atol=1e-4)
    assert found.shape == (3, SIZE, SIZE)
    if shape[0] != shape[1] and min(shape) * SIZE / max(shape) < SIZE - 1.5:
        corner = found[:, 0, -1] if shape[0] < shape[1] else found[:, -1, 0]
        np.testing.assert_allclose(corner, -MEAN / STD, rtol=1e-6)


def test_antialiased_pixels_are_torchs(folder):
    picture = pictures()[2]
    pixels = torch.from_numpy(picture).permute(2, 0, 1)[None] / 255
    smooth = interpolate(pixels, (SIZE, 14), mode="bicubic", antialias=True)[0].numpy()
    inner = (smooth - MEAN[:, None, None]) / STD[:, None, None]
    np.testing.assert_allclose(PadToSquare(SIZE, antialias=True)(picture)[:, :, 7:21], inner, atol=1e-5)


def test_a_picture_without_width_is_refused():
    with pytest.raises(ScoringError, match="2 x 900 pixels is too narrow"):
        PadToSquare(224)(np.zeros((900, 2, 3), dtype=np.uint8))


def test_it_keeps_the_promises_of_a_scorer(folder):
    check_scorer(opened(folder), pictures(), TEXTS, tolerance=1e-5)
    check_scorer(HpsV2(path=folder, tokenizer_path=folder), pictures(), TEXTS, tolerance=1e-5)


def test_bfloat16_keeps_the_order_of_what_is_apart(folder):
    a, b = (opened(folder, dtype=dtype).score(pictures(), TEXTS) for dtype in ("float32", "bfloat16"))
    assert not np.array_equal(a, b)
    apart = abs(a[:, None] - a[None]) > 4 * abs(a - b).max()
    assert apart.any()
    assert (np.sign(a[:, None] - a[None]) == np.sign(b[:, None] - b[None]))[apart].all()


def test_gradients_reach_the_pixels_and_scores_are_near_the_antialiased(folder):
    images = torch.rand(2, 3, 40, 56, generator=torch.Generator().manual_seed(0))
    pixels = images.clone().requires_grad_()
    scorer = opened(folder, antialias=True)
    texts = ["a red circle", "a “red” circle &amp; more"]  # the second needs the cleaning
    scores = scorer.differentiable_scores(pixels, texts)
    scores.sum().backward()
    assert pixels.grad.abs().flatten(1).sum(dim=1).min() > 0
    pictures_ = [(image.permute(1, 2, 0) * 255).round().byte().numpy() for image in images]
    np.testing.assert_allclose(scores.detach().numpy(), scorer.score(pictures_, texts), atol=2e-3)


@pytest.mark.parametrize("row", GOLDENS["rows"], ids=lambda row: repr(row["text"][:12]))
def test_tokens_are_those_of_open_clip_and_of_transformers(row):
    """Ids of the real vocabulary; goldens/make_clip_tokens.py says how they were made."""
    merges = [tuple(merge) for merge in GOLDENS["merges"]]
    tokenizer = CLIPTokenizer(vocab=GOLDENS["vocabulary"], merges=merges, model_max_length=77)

    def ids(text):
        return tokenizer(text, truncation=True, max_length=77)["input_ids"]

    assert ids(row["text"]) == row["transformers"]
    assert ids(clean_text(row["text"])) == row["open_clip"]


def test_some_goldens_need_the_cleaning():
    odd = [row["text"] for row in GOLDENS["rows"] if row["open_clip"] != row["transformers"]]
    assert len(odd) == 5
    assert any("&amp;" in text for text in odd)


def test_texts_are_cleaned_before_the_tokenizer(folder, weights):
    scorer = opened(folder)
    picture, text = pictures()[0], "a “red” circle &amp; more"
    found = scorer.score([picture], [text])[0]
    cleaned = reference_cosine(weights, padded(picture), ids_of('a "red" circle & more', LENGTH), "gelu")
    as_it_is = reference_cosine(weights, padded(picture), ids_of(text, LENGTH), "gelu")
    assert found == pytest.approx(cleaned, abs=2e-6)
    assert abs(found - as_it_is) > 1e-4


def test_names_go_there_and_back(weights):
    back = to_open_clip(from_open_clip(weights))
    assert back.keys() == weights.keys()
    assert all(torch.equal(back[name], weights[name]) for name in weights)
    with pytest.raises(ScoringError, match=r"'visual.odd' is no weight of a CLIP"):
        from_open_clip({"visual.odd": torch.zeros(1)})


def test_a_missing_or_unfit_checkpoint_says_what_to_do(tmp_path, folder, weights):
    with pytest.raises(ScoringError, match=r"hf download xswu/HPSv2 HPS_v2.1_compressed.pt --local-dir ./weights"):
        HpsV21()
    with pytest.raises(ScoringError, match=r"accord convert .*HPS_v2_compressed.pt"):
        HpsV2(path=str(tmp_path))
    save_file({n: w for n, w in weights.items() if n != "ln_final.bias"}, tmp_path / f"{FILE}.safetensors")
    with pytest.raises(ScoringError, match="1 missing"):
        HpsV21(path=str(tmp_path), tokenizer_path=folder)
