"""The model card: true, complete, harmless, and its code runs."""

import re

import numpy as np
import pytest
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt

from accord import registry
from accord.card.card import model_card
from accord.card.data import read_card
from accord.card.markdown import code, text
from accord.card.papers import PAPERS, cited
from accord.card.use import Use
from accord.config import METHOD_KINDS
from accord.manifest import Manifest
from accord.report.read_evaluation import parse_evaluation

MODEL = {"family": "sdxl", "path": "owner/base", "revision": "abc", "dtype": "bfloat16", "weights": None}
CHOICES = {"calibration": "win_rate", "pairs": "frontier", "target": "win_rate_gap"}
TRAINED = {
    "loss": "logistic",
    "noise": "prior",
    "reference": {"name": "ema", "decay": 0.99},
    "weighting": "uniform",
    "timesteps": "logit_normal",
    "error_space": "native",
    "mode": "lora",
    "rank": 8,
    "ema_decay": 0.0,
    "beta": 50.0,
}
SCORER = {
    "name": "pleasing",
    "summary": "What | pleases",
    "licence": "CC-BY-NC",
    "licence_of_weights": "research only",
    "is_commercial_use_allowed": False,
    "citation": "Somebody, 2024",
}


def write_run(folder, model=MODEL, card=SCORER, drawing=None, **trained):
    """Write as much of a run folder as a card reads."""
    name = card["name"]
    settings = {"train": "lists/prompts.txt", "images_per_prompt": 4, "width": 1024, "height": 512}
    settings |= {"num_inference_steps": 30, "guidance_scale": 7.5, **(drawing or {})}
    Manifest("generate", settings, {}, {"prompts": 5, "images": 20}, {}).save(folder / "generate")
    Manifest("score", {"scorer": name}, {}, {}, {}, {"card": card}).save(folder / "score" / name)
    counts = {"pairs": 7, "prompts_with_pairs": 4}
    Manifest("select", {**CHOICES, "scorers": [name]}, {}, counts, {}).save(folder / "select")
    told = {"model": model, **TRAINED, **trained}
    facts = {"pairs": 7, "prompts": 4, "parameters_trained": 1234567}
    counts = {"steps": 3, "pairs_seen": 12}
    Manifest("train", told, {}, counts, {}, facts, {"torch": "2"}).save(folder / "train")
    return folder


def card_of(folder, use=None, recipe=""):
    return model_card(read_card(folder, recipe=recipe), use or Use("adapter", "pytorch_lora_weights.safetensors"))


def code_of(card):
    (block,) = re.findall(r"^```python\n(.*?)^```$", card, re.M | re.S)
    return block


def test_the_hub_reads_the_front_matter(tmp_path):
    data = ModelCard(card_of(write_run(tmp_path))).data
    assert data.library_name == "diffusers"
    assert data.pipeline_tag == "text-to-image"
    assert data.base_model == "owner/base"
    assert data.base_model_relation == "adapter"
    assert "lora" in data.tags
    full = ModelCard(card_of(tmp_path, Use("denoiser", denoiser=("unet", "UNet2DConditionModel")))).data
    assert full.base_model_relation == "finetune"
    assert "lora" not in full.tags


def test_the_card_says_what_was_done(tmp_path):
    card = card_of(write_run(tmp_path), recipe="capo")
    for said in (
        *("| loss | `logistic` |", "| reference | `ema` | decay 0.99 |", "| pairs | `frontier` |", "| rank | `8` |"),
        *("prompts: 5 of `prompts.txt`", "images: 20, 4 per prompt, 1024 x 512 pixels", "pairs: 7, of 4 prompts"),
        *(
            "CC-BY-NC; weights: research only | no |",
            "12 visits of 7 pairs",
            "1,234,567",
            "Written from the recipe of CaPO",
        ),
        *(
            "whose licence forbids commercial use",
            "The weights are those of the last step.",
            "arxiv.org/abs/2311.12908",
        ),
        *("arxiv.org/abs/2106.09685", 'revision="abc"', "dtype=torch.bfloat16", "guidance_scale=7.5"),
    ):
        assert said in card, said
    assert "Not measured" in card


def test_dora_is_cited_where_it_was_trained(tmp_path):
    assert "2402.09353" not in card_of(write_run(tmp_path / "lora"))
    assert "arxiv.org/abs/2402.09353" in card_of(write_run(tmp_path / "dora", uses_dora=True))


def test_averaged_weights_are_called_so(tmp_path):
    card = card_of(write_run(tmp_path, ema_decay=0.999))
    assert "The weights are the moving average of those of all steps (decay 0.999)." in card


def test_where_a_folder_lies_is_not_told(tmp_path):
    model = {**MODEL, "path": "/home/someone/secret/mine", "weights": "f" * 64, "revision": None}
    card = card_of(write_run(tmp_path, model))
    assert "secret" not in card
    assert str(tmp_path) not in card
    assert 'base = "mine"' in card
    assert "base_model:" not in card


def test_a_base_in_one_file_is_opened_as_one(tmp_path):
    model = {
        **MODEL,
        "path": "checkpoints/mine.safetensors",
        "weights": "f" * 64,
        "config": "models/like",
        "revision": "",
    }
    code_of_it = code_of(card_of(write_run(tmp_path, model)))
    call = 'StableDiffusionXLPipeline.from_single_file(base, config="like", dtype=torch.bfloat16)'
    assert call in code_of_it
    assert "from diffusers import StableDiffusionXLPipeline\n" in code_of_it
    assert 'base = "mine.safetensors"' in code_of_it


def test_imported_images_are_not_called_drawn(tmp_path):
    run = write_run(tmp_path)
    Manifest("generate", {"imported": "abc", "num_train": None}, {}, {"prompts": 5, "images": 9}, {}).save(
        run / "generate"
    )
    card = card_of(run)
    assert "imported: 9 images of 5 prompts" in card
    assert "drew itself" not in card


def test_texts_from_outside_stay_texts(tmp_path):
    bad = 'a | b\n\n# <script>alert("`x`")</script> [y](javascript:z)'
    card = {**SCORER, "summary": bad, "citation": bad, "licence": bad}
    negative = 'x"\n```\n<b>\n---'
    run = write_run(tmp_path, card=card, drawing={"negative_prompt": negative, "train": "p/`|\n# q.txt"}, seed=bad)
    found = card_of(run)
    page = MarkdownIt("commonmark", {"html": True}).enable("table").render(found.split("---\n", 2)[2])
    assert "&lt;script&gt;" in page
    assert "<script" not in page
    assert 'href="javascript' not in page
    assert page.count("<h1>") == 1
    assert page.count("<pre>") == 1
    assert [row.count("<td>") for row in page.split("<tr>") if "<td><code>pleasing</code>" in row] == [5]
    names: dict = {}
    call = next(line for line in code_of(found).splitlines() if "negative_prompt" in line)
    pipe = lambda *_, **told: names.update(told) or type("X", (), {"images": [None]})  # noqa: E731
    exec(call, {"pipe": pipe})
    assert names["negative_prompt"] == negative


@pytest.mark.parametrize("value", ["*a*", "_a_", "<b>", "[a](b)", "# a", "- a", "1. a", "a|b", "$a$", "&amp;", "~~a~~"])
def test_markup_is_shown_and_not_obeyed(value):
    assert re.sub(r"\\(.)", r"\1", text(value)) == value
    assert text(value) != value
    assert "\n" not in code("a\nb")


def test_results_stand_there_with_intervals(tmp_path):
    estimate = {"value": 0.61, "low": 0.53, "high": 0.68}
    scorer = {"name": "pleasing", "role": "trained", "win_rate": estimate, "base": estimate, "tuned": estimate}
    scorer |= {"difference": {"value": -0.02, "low": -0.05, "high": 0.01}, "ties": 0, "num_prompts": 50}
    metrics = {"confidence": 0.95, "num_prompts": 50, "images_per_prompt": 2, "scorers": [scorer | {"num_unscored": 0}]}
    found = read_card(write_run(tmp_path))
    object.__setattr__(found, "evaluation", parse_evaluation(metrics))
    card = model_card(found, Use("adapter", "a.safetensors"))
    assert re.search(
        r"\| `pleasing` \| trained \| 0.61 \| 0.61 \| −0.020 \(−0.050 to \+0.010\) \| 61.0.% \(53.0 to 68", card
    )
    assert "Better on the trained reward." in card
    assert "50 prompts that training never saw" in card


def test_every_paper_in_the_documentation_of_plug_ins_has_its_title():
    numbers = set()
    for kind in METHOD_KINDS.values():
        for name in registry.TABLES[kind]:
            numbers.update(cited({kind: name}))
    assert len(numbers) > 8
    assert numbers <= PAPERS.keys()


def test_equal_runs_have_equal_cards(tmp_path):
    first, second = (card_of(write_run(tmp_path / name)) for name in ("one", "two"))
    assert first == second
    assert np.all([ord(c) >= 32 or c == "\n" for c in first])
