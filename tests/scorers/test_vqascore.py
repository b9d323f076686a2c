"""VQAScore with a tiny random LLaVA: against the library's own generation, one row at a time."""

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    GenerationConfig,
    LlamaConfig,
    LlamaTokenizer,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
)

from accord.errors import MissingDependency, ScoringError
from accord.scorers.vqascore import VqaScore, alike
from accord.testing.checks import check_scorer

TEXTS = ["a red circle", 'two "blue" {squares}', "", "a fox 🦊", "a red circle " * 20]
CHAT = (
    "{% for turn in messages %}{% for part in turn['content'] %}{% if part['type'] == 'image' %}<image>\n"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endfor %} ASSISTANT:"
)


def tokenizer():
    merges = [("▁", "Y"), ("▁Y", "e"), ("▁Ye", "s"), ("▁", "N"), ("▁N", "o")]
    tokens = ["<unk>", "<s>", "</s>", "▁", *map(chr, range(33, 127)), "\n", *(a + b for a, b in merges)]
    found = LlamaTokenizer(vocab={token: i for i, token in enumerate(tokens)}, merges=merges, add_bos_token=True)
    found.add_tokens(["<image>", "<pad>"], special_tokens=True)
    found.pad_token = "<pad>"
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.manual_seed(0)
    path, words = tmp_path_factory.mktemp("llava"), tokenizer()
    sizes = {"num_hidden_layers": 2, "num_attention_heads": 2, "initializer_range": 0.2}
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(hidden_size=16, intermediate_size=32, image_size=28, patch_size=14, **sizes),
        text_config=LlamaConfig(vocab_size=len(words), hidden_size=32, intermediate_size=64, **sizes),
        image_token_id=words.convert_tokens_to_ids("<image>"),
    )
    LlavaForConditionalGeneration(config).save_pretrained(path)
    # A model whose settings keep one token and cool the rest: its processed scores would be 0 or 1.
    GenerationConfig(do_sample=True, top_k=1, temperature=0.01, bos_token_id=1, eos_token_id=2).save_pretrained(path)
    images = CLIPImageProcessorPil(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28})
    LlavaProcessor(
        images, words, patch_size=14, vision_feature_select_strategy="default", chat_template=CHAT,
        num_additional_image_tokens=1,
    ).save_pretrained(path)  # fmt: skip
    return str(path)


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    shapes = ((28, 28, 3), (40, 75, 3), (97, 50, 3), (30, 64, 3), (28, 28, 3))
    return [rng.integers(0, 256, shape, dtype=np.uint8) for shape in shapes]


@pytest.fixture(scope="module")
def scorer(folder):
    return VqaScore(path=folder, dtype="float32")


def generated(folder, images, texts):
    """P(Yes) of one generated token per row, by the library's own loop and from its raw logits."""
    model = LlavaForConditionalGeneration.from_pretrained(folder).eval()
    processor = LlavaProcessor.from_pretrained(folder, backend="pil")
    found = []
    for image, text in zip(images, texts, strict=True):
        prompt = f'<image>\nDoes this figure show "{text}"? Please answer Yes or No. ASSISTANT:'
        inputs = processor(text=prompt, images=Image.fromarray(image), return_tensors="pt")
        out = model.generate(**inputs, max_new_tokens=1, output_logits=True, return_dict_in_generate=True)
        found.append(float(out.logits[0].softmax(-1)[0, processor.tokenizer.convert_tokens_to_ids("▁Yes")]))
    return np.array(found)


def test_scores_equal_the_first_token_of_generation(folder, scorer, images):
    scores = scorer.score(images, TEXTS)
    np.testing.assert_allclose(scores, generated(folder, images, TEXTS), atol=1e-6)
    assert scores.std() > 1e-4


def test_it_keeps_the_promises_of_a_scorer(scorer, images):
    check_scorer(scorer, images, TEXTS, tolerance=1e-7)


def test_the_answer_is_the_word_and_not_the_mark_before_it(scorer):
    assert scorer.processor.tokenizer.encode("Yes")[0] == 1  # <s>, what taking the first id would score
    assert scorer.processor.tokenizer.convert_ids_to_tokens(scorer.answer) == "▁Yes"


def test_pictures_are_prepared_by_pillow(scorer):
    assert type(scorer.processor.image_processor) is CLIPImageProcessorPil


def test_only_rows_of_equal_shape_are_joined():
    rows = [{"ids": torch.zeros(1, n), "patches": torch.zeros(m, 4)} for n, m in ((3, 2), (5, 2), (3, 7), (5, 2))]
    assert alike(rows) == [[0, 2], [1, 3]]


def test_half_precision_keeps_the_order(folder, scorer, images):
    exact = scorer.score(images, TEXTS)
    rough = VqaScore(path=folder).score(images, TEXTS)
    apart = np.subtract.outer(exact, exact) > 0.3 * np.ptp(exact)
    assert apart.any()
    assert (np.subtract.outer(rough, rough)[apart] > 0).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [({"answer": "Yes No"}, "one token"), ({"path": "none/such"}, "hf download none/such"), ({}, "prompt goes")],
)
def test_what_cannot_be_asked_is_refused(folder, images, options, message):
    told = {"path": folder, "question": "Is this it?"} | options
    with pytest.raises(ScoringError, match=message):
        VqaScore(**told).score(images[:1], ["a cat"])


def test_a_prompt_with_a_mark_of_the_model_is_refused(scorer, images):
    with pytest.raises(ScoringError, match="<image>"):
        scorer.score(images[:1], ["an <image> of a cat"])


def test_a_missing_package_of_a_processor_is_named(folder, monkeypatch):
    def fail(*args, **kwargs):
        raise ImportError("\nQwen2VLVideoProcessor requires the Torchvision library")

    monkeypatch.setattr("transformers.AutoProcessor.from_pretrained", fail)
    with pytest.raises(MissingDependency, match="pip install torchvision"):
        VqaScore(path=folder)


def test_another_model_has_another_version(folder, scorer):
    assert scorer.card.version == folder
    assert VqaScore.card_for().version == "Qwen/Qwen3-VL-8B-Instruct"
    assert VqaScore.card_for(path="x/y", dtype="float32").version == "x/y"
