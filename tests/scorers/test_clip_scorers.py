"""CLIP score, PickScore and the aesthetic head on tiny random CLIPs, against their arithmetic written out."""

import shutil

import numpy as np
import pytest
import torch
from huggingface_hub.utils import are_progress_bars_disabled
from safetensors.torch import save_file
from tiny_clip import (
    LENGTH,
    OUT,
    SIZE,
    TEXTS,
    cropped,
    ids_of,
    image_tokens,
    pictures,
    reference_cosine,
    save_tiny,
    to_open_clip,
)
from torch.nn.functional import layer_norm
from transformers import CLIPImageProcessorPil
from transformers.utils import logging

from accord.errors import ScoringError
from accord.scorers.clip_score import ClipScore
from accord.scorers.clip_score_h14 import ClipScoreH14
from accord.scorers.laion_aesthetic import FILE, LaionAesthetic
from accord.scorers.pickscore import PickScore
from accord.testing.checks import check_scorer

SHAPES = ((1024, OUT), (128, 1024), (64, 128), (16, 64), (1, 16))


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Activation -> (folder, weights under open_clip's names)."""
    found = {}
    for seed, act in enumerate(("quick_gelu", "gelu")):
        folder = str(tmp_path_factory.mktemp(act))
        model = save_tiny(folder, act, seed)
        found[act] = folder, to_open_clip({name: weight.detach() for name, weight in model.state_dict().items()})
    return found


@pytest.fixture(scope="module")
def head(tmp_path_factory):
    generator = torch.Generator().manual_seed(1)
    weights = {}
    for place, shape in zip((0, 2, 4, 6, 7), SHAPES, strict=True):
        weights[f"layers.{place}.weight"] = 0.2 * torch.randn(shape, generator=generator)
        weights[f"layers.{place}.bias"] = 0.2 * torch.randn(shape[0], generator=generator)
    folder = tmp_path_factory.mktemp("head")
    save_file(weights, folder / f"{FILE}.safetensors")
    return str(folder), weights


def cosines(weights, act, rounds, prefix=""):
    rows = zip(pictures(), TEXTS, strict=True)
    return np.array([reference_cosine(weights, cropped(p, rounds), ids_of(prefix + t), act) for p, t in rows])


def rating(weights, head):
    """The head on each unit embedding, one layer after the other, in numpy."""
    found = []
    for picture in pictures():
        seen = image_tokens(weights, cropped(picture, rounds=True), "quick_gelu")[0, 0]
        seen = layer_norm(seen, seen.shape, weights["visual.ln_post.weight"], weights["visual.ln_post.bias"])
        x = (seen @ weights["visual.proj"]).double().numpy()
        x = x / np.linalg.norm(x)
        for place in (0, 2, 4, 6, 7):
            x = head[f"layers.{place}.weight"].numpy() @ x + head[f"layers.{place}.bias"].numpy()
        found.append(x[0])
    return np.array(found)


@pytest.mark.parametrize(("make", "act"), [(ClipScore, "quick_gelu"), (ClipScoreH14, "gelu")])
def test_clip_score_equals_the_arithmetic_written_out_in_every_convention(clips, make, act):
    folder, weights = clips[act]
    plain = cosines(weights, act, rounds=True)
    assert np.ptp(plain) > 0.05
    expected = {
        "cosine": plain,
        "x100": 100 * np.maximum(plain, 0),
        "logits": float(weights["logit_scale"].exp()) * plain,
        "hessel": 2.5 * np.maximum(cosines(weights, act, True, "A photo depicts "), 0),
    }
    for convention, values in expected.items():
        found = make(path=folder, convention=convention).score(pictures(), TEXTS)
        np.testing.assert_allclose(found, values, atol=1e-6 * max(1, abs(values).max()))


def test_pickscore_equals_the_arithmetic_written_out(clips):
    folder, weights = clips["gelu"]
    expected = float(weights["logit_scale"].exp()) * cosines(weights, "gelu", rounds=False)
    found = PickScore(path=folder, tokenizer_path=folder).score(pictures(), TEXTS)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_aesthetic_head_equals_the_arithmetic_written_out(clips, head):
    folder, weights = clips["quick_gelu"]
    scorer = LaionAesthetic(path=folder, head_path=head[0])
    found = scorer.score(pictures(), TEXTS)
    np.testing.assert_allclose(found, rating(weights, head[1]), rtol=1e-5)
    np.testing.assert_array_equal(found, scorer.score(pictures(), TEXTS[::-1]))


def test_traps_of_clip_change_the_score(clips):
    """Plain instead of quick GELU, the other rule for odd margins: each moves scores by more than the tolerance."""
    folder, weights = clips["quick_gelu"]
    found = ClipScore(path=folder).score(pictures(), TEXTS)
    assert abs(found - cosines(weights, "gelu", rounds=True)).max() > 1e-3
    assert abs(found - cosines(weights, "quick_gelu", rounds=False)).max() > 1e-3


def test_traps_of_the_aesthetic_head_change_the_score(clips, head):
    """An activation between the layers, or embeddings that are not of length 1."""
    folder, _ = clips["quick_gelu"]
    scorer = LaionAesthetic(path=folder, head_path=head[0])
    found = scorer.score(pictures(), TEXTS)
    embeddings = scorer.clip.images(scorer_batch(), scorer.preprocessing)
    x = embeddings
    for weight, bias in scorer.head[:-1]:
        x = torch.relu(x @ weight.T + bias)
    weight, bias = scorer.head[-1]
    assert abs(found - (x @ weight.T + bias)[:, 0].numpy()).max() > 1e-3
    assert torch.allclose(embeddings.norm(dim=-1), torch.ones(4))


def scorer_batch():
    from accord.scorers.batch import Batch

    return Batch(pictures(), TEXTS)


def opened(clips, head):
    quick, plain = clips["quick_gelu"][0], clips["gelu"][0]
    return [
        ClipScore(path=quick),
        ClipScoreH14(path=plain),
        PickScore(path=plain, tokenizer_path=plain),
        LaionAesthetic(path=quick, head_path=head[0]),
    ]


def test_they_keep_the_promises_of_a_scorer(clips, head):
    for scorer in opened(clips, head):
        check_scorer(scorer, pictures(), TEXTS, tolerance=1e-5)


def test_bfloat16_keeps_the_order_of_what_is_apart(clips, head):
    quick, plain = clips["quick_gelu"][0], clips["gelu"][0]
    low = [
        ClipScore(path=quick, dtype="bfloat16"),
        ClipScoreH14(path=plain, dtype="bfloat16"),
        PickScore(path=plain, tokenizer_path=plain, dtype="bfloat16"),
        LaionAesthetic(path=quick, head_path=head[0], dtype="bfloat16"),
    ]
    for full, half in zip(opened(clips, head), low, strict=True):
        assert half.checkpoint == full.checkpoint
        a, b = full.score(pictures(), TEXTS), half.score(pictures(), TEXTS)
        assert not np.array_equal(a, b)
        apart = abs(a[:, None] - a[None]) > 4 * abs(a - b).max()
        assert apart.any()
        assert (np.sign(a[:, None] - a[None]) == np.sign(b[:, None] - b[None]))[apart].all()


def test_two_scorers_of_one_network_share_it_and_the_images(clips, head, monkeypatch):
    folder, _ = clips["quick_gelu"]
    clip, aesthetic = ClipScore(path=folder), LaionAesthetic(path=folder, head_path=head[0])
    assert clip.clip is aesthetic.clip
    calls = []
    embed = aesthetic.clip.embed_pixels
    monkeypatch.setattr(aesthetic.clip, "embed_pixels", lambda pixels: calls.append(len(pixels)) or embed(pixels))
    batch = scorer_batch()
    assert np.array_equal(clip.score_batch(batch), clip.score(pictures(), TEXTS))
    aesthetic.score_batch(batch)
    assert calls == [4, 4]


def test_a_text_that_recurs_is_encoded_once(clips, monkeypatch):
    folder, _ = clips["quick_gelu"]
    scorer = ClipScore(path=folder)
    seen = []
    embed = scorer.clip.embed_texts
    monkeypatch.setattr(scorer.clip, "embed_texts", lambda texts: seen.extend(texts) or embed(texts))
    scorer.score(pictures(), TEXTS)
    assert seen == ["a red circle", "two blue squares, 'quoted'", ""]


def test_the_preprocessing_of_pickscore_is_that_of_transformers(clips):
    processor = CLIPImageProcessorPil(size={"shortest_edge": SIZE}, crop_size={"height": SIZE, "width": SIZE})
    scorer = PickScore(path=clips["gelu"][0], tokenizer_path=clips["gelu"][0])
    for picture in pictures():
        expected = processor(images=picture, return_tensors="np", input_data_format="channels_last")["pixel_values"][0]
        np.testing.assert_allclose(scorer.preprocessing(picture), expected, atol=1e-6)


def test_token_ids_are_those_put_together_by_hand(clips):
    network = ClipScore(path=clips["quick_gelu"][0]).clip
    texts = ["", "  Two   RED\ncircles ", "'quoted' \"twice\"", "a 🐈 in naïve café", "word " * 50, "<|endoftext|> red"]
    found = network.tokens(texts)["input_ids"].tolist()
    assert found == [ids_of(text) for text in texts]
    assert all(len(ids) == LENGTH for ids in found)
    assert all(ids[-1] == network.tokenizer.eos_token_id for ids in found)


def test_gradients_reach_the_pixels_and_scores_are_near(clips, head):
    images = torch.rand(2, 3, 56, 56, generator=torch.Generator().manual_seed(0))
    images = torch.nn.functional.interpolate(images[..., ::8, ::8], (56, 56), mode="bicubic").clamp(0, 1)
    bytes_ = [(image.permute(1, 2, 0) * 255).round().byte().numpy() for image in images]
    for scorer in opened(clips, head):
        pixels = images.clone().requires_grad_()
        scores = scorer.differentiable_scores(pixels, TEXTS[:2])
        scores.sum().backward()
        assert pixels.grad.abs().flatten(1).sum(dim=1).min() > 0
        exact = scorer.score(bytes_, TEXTS[:2])
        spread = abs(scorer.score(pictures(), TEXTS) - exact.mean()).max()
        assert abs(scores.detach().numpy() - exact).max() < 0.05 * spread
        with pytest.raises(ScoringError, match="need float images"):
            scorer.differentiable_scores((images * 255).byte(), TEXTS[:2])


def test_the_differentiable_way_keeps_the_convention(clips):
    scorer, plain = (ClipScore(path=clips["quick_gelu"][0], convention=name) for name in ("hessel", "cosine"))
    picture = pictures()[0]
    found = scorer.differentiable_scores(torch.from_numpy(picture).permute(2, 0, 1)[None] / 255, TEXTS[:1]).numpy()
    np.testing.assert_allclose(found, scorer.score([picture], TEXTS[:1]), atol=1e-5)
    assert found[0] > 0.01, "a cosine that is not cut"
    assert abs(found[0] - 2.5 * plain.score([picture], TEXTS[:1])[0]) > 1e-3, "the prefix counts"


def test_a_missing_checkpoint_says_how_to_get_it(tmp_path, clips):
    with pytest.raises(ScoringError, match=r"hf download openai/clip-vit-large-patch14 config.json model.safetensors"):
        ClipScore()
    with pytest.raises(ScoringError, match="there is no folder"):
        ClipScore(path=str(tmp_path / "none"))
    with pytest.raises(ScoringError, match="has no model"):
        ClipScore(path=str(tmp_path))
    with pytest.raises(ScoringError, match=r"curl -L .*linearMSE.pth.* and `accord convert ./weights/laion_aesthetic"):
        LaionAesthetic(path=clips["quick_gelu"][0])


def test_weights_that_do_not_fit_are_refused(tmp_path, clips, head):
    import shutil

    from safetensors.torch import load_file

    shutil.copytree(clips["gelu"][0], tmp_path / "clip")
    weights = load_file(tmp_path / "clip" / "model.safetensors")
    for change, message in (("missing", "1 missing"), ("odd", "1 without a place")):
        changed = dict(weights)
        if change == "missing":
            del changed["visual_projection.weight"]
        else:
            changed["extra.weight"] = torch.zeros(1)
        save_file(changed, tmp_path / "clip" / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(ScoringError, match=message):
            PickScore(path=str(tmp_path / "clip"), tokenizer_path=clips["gelu"][0])
    short = {name: weight for name, weight in head[1].items() if "7" not in name}
    save_file(short, tmp_path / f"{FILE}.safetensors")
    with pytest.raises(ScoringError, match=r"'layers.7.bias' is missing or too many"):
        LaionAesthetic(path=clips["quick_gelu"][0], head_path=str(tmp_path))


def test_a_network_is_opened_without_a_bar_and_bars_stay_as_they_were(clips, capfd):
    logging.enable_progress_bar()
    ClipScore(path=clips["quick_gelu"][0], dtype="bfloat16")  # a type that no other test has open
    assert capfd.readouterr().err == ""
    assert logging.is_progress_bar_enabled()
    assert not are_progress_bars_disabled()


@pytest.mark.parametrize("file", ["model.safetensors", f"{FILE}.safetensors"])
def test_weights_that_are_cut_short_are_one_clear_line(clips, tmp_path, file):
    folder = shutil.copytree(clips["quick_gelu"][0], tmp_path / "clip")
    sizes = zip(SHAPES, (0, 2, 4, 6, 7), strict=True)
    head = {f"layers.{i}.{k}": torch.zeros(n if k == "weight" else n[:1]) for n, i in sizes for k in ("weight", "bias")}
    save_file(head, folder / f"{FILE}.safetensors")
    (folder / file).write_bytes(b"\xff" * 100)
    with pytest.raises(ScoringError, match=r"(the weights in .* are damaged|the model .* cannot be opened) \(.*header"):
        LaionAesthetic(path=str(folder), head_path=str(folder))
