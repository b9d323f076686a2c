"""CLIP score and PickScore on a tiny random CLIP, against their arithmetic written out with Pillow and numpy."""

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel

from accord.errors import ScoringError
from accord.scorers.clip_score import ClipScore
from accord.scorers.pickscore import PickScore
from accord.testing.checks import check_scorer
from accord.testing.tokenizers import clip_tokenizer

MEAN, STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
TEXTS = ["a red circle", "two blue squares, 'quoted'", "a red circle", ""]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.manual_seed(0)
    tokenizer = clip_tokenizer()
    config = CLIPConfig(
        text_config={
            "vocab_size": len(tokenizer), "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2,
            "num_attention_heads": 2, "max_position_embeddings": 20, "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id,
        },
        vision_config={
            "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
            "image_size": 28, "patch_size": 14,
        },
        projection_dim=8,
    )  # fmt: skip
    path = tmp_path_factory.mktemp("clip")
    CLIPModel(config).save_pretrained(path)
    tokenizer.save_pretrained(path)
    size = {"size": {"shortest_edge": 28}, "crop_size": {"height": 28, "width": 28}}
    CLIPImageProcessorPil(**size).save_pretrained(path)
    return str(path)


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    return [
        rng.integers(0, 256, shape, dtype=np.uint8) for shape in ((28, 28, 3), (40, 56, 3), (60, 31, 3), (28, 30, 3))
    ]


def by_hand(folder: str, images: list[np.ndarray]) -> tuple[np.ndarray, float]:
    """The cosines from pixels resized and cropped with Pillow, normalised with numpy, and each text alone."""
    model = CLIPModel.from_pretrained(folder).eval()
    tokenizer = clip_tokenizer()
    cosines = []
    for pixels, text in zip(images, TEXTS, strict=True):
        height, width = pixels.shape[:2]
        short = min(height, width)
        size = (28 if width == short else int(28 * width / height), 28 if height == short else int(28 * height / width))
        resized = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))
        top, left = (resized.shape[0] - 28) // 2, (resized.shape[1] - 28) // 2
        cropped = resized[top : top + 28, left : left + 28].astype(np.float32) / 255
        values = ((cropped - np.array(MEAN, np.float32)) / np.array(STD, np.float32)).transpose(2, 0, 1)
        tokens = tokenizer(text, return_tensors="pt", truncation=True, max_length=20, padding="max_length")
        with torch.no_grad():
            found = model(pixel_values=torch.from_numpy(values)[None], **tokens)
        cosines.append(float((found.image_embeds * found.text_embeds).sum()))
    return np.array(cosines), float(model.logit_scale.detach().exp())


def test_scores_equal_the_arithmetic_written_out(folder, images):
    cosines, logit_scale = by_hand(folder, images)
    pick = PickScore(path=folder, processor_path=folder).score(images, TEXTS)
    np.testing.assert_allclose(pick, logit_scale * cosines, atol=2e-5)
    np.testing.assert_allclose(ClipScore(path=folder).score(images, TEXTS), 100 * cosines, atol=2e-4)


def test_they_keep_the_promises_of_a_scorer(folder, images):
    check_scorer(PickScore(path=folder, processor_path=folder), images, TEXTS, tolerance=1e-4)
    check_scorer(ClipScore(path=folder), images, TEXTS, tolerance=1e-3)


def test_a_text_that_recurs_is_encoded_once(folder, images, monkeypatch):
    scorer = ClipScore(path=folder)
    seen = []
    encode = scorer.clip._texts
    monkeypatch.setattr(scorer.clip, "_texts", lambda texts: seen.extend(texts) or encode(texts))
    scorer.score(images, TEXTS)
    assert seen == ["a red circle", "two blue squares, 'quoted'", ""]


def test_a_missing_checkpoint_says_how_to_get_it(tmp_path):
    with pytest.raises(ScoringError, match="hf download"):
        ClipScore(path=str(tmp_path / "none"))
