"""Prompts that a text encoder does not read to their end are counted, as each family's pipeline cuts them."""

import pytest
import torch

from accord.artifacts import open_stage
from accord.engine.long_prompts import COUNT, long_prompts, long_prompts_note
from accord.models.interface import ModelSettings, open_model
from accord.testing.pipelines import FAMILY_OF, save_tiny_pipeline
from accord.types import Prompt

NAMES = ["world", "sd15", "sdxl", "sd3", "sd3_without_t5", "flux", "sana"]


@pytest.fixture(scope="module", params=NAMES)
def model(request, tmp_path_factory):
    folder = save_tiny_pipeline(request.param, tmp_path_factory.mktemp(request.param))
    return open_model(ModelSettings(FAMILY_OF[request.param], str(folder)), ("text",))


def words(number: int, last: str = "") -> str:
    return " ".join(["red"] * number) + last


def length(model, name: str, text: str) -> int:
    return model.text_lengths([text])[name].tokens[0]


def test_a_text_at_the_limit_is_read_to_its_end_and_one_beyond_is_not(model):
    """Per tokenizer: its encoder's view changes with the last word just as long as the count says it is read."""
    for name, each in model.text_lengths(["red"]).items():
        fits = next(n for n in range(1, 700) if length(model, name, words(n + 1)) > each.limit)
        tokenizer = getattr(model.opened.pipe, name)
        prepared = model._family.text_limits(model.opened)[name].prepared
        for number, is_read in ((fits, True), (fits + 1, False)):
            cut, whole = (
                tokenizer(prepared(words(number)), truncation=truncation, max_length=each.limit).input_ids
                for truncation in (True, False)
            )
            assert (len(cut) == len(whole)) == is_read
            assert length(model, name, words(number)) == len(whole)


def test_the_embedding_of_a_text_beyond_every_limit_does_not_know_its_end(model):
    lengths = model.text_lengths([words(600)])
    assert all(each.tokens[0] > each.limit for each in lengths.values())
    one, other = (model.encode_prompts([words(600, end)]) for end in (" blue", " circle"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    one, other = (model.encode_prompts([words(3, end)]) for end in (" blue", " circle"))
    assert any(not torch.equal(one[name], other[name]) for name in one)


LIMITS = {
    "sd15": {"tokenizer": 77},
    "sdxl": {"tokenizer": 77, "tokenizer_2": 77},
    "sd3": {"tokenizer": 77, "tokenizer_2": 77, "tokenizer_3": 256},
    "sd3_without_t5": {"tokenizer": 77, "tokenizer_2": 77},
    "flux": {"tokenizer": 77, "tokenizer_2": 512},
}


@pytest.mark.parametrize("name", LIMITS)
def test_limits_are_those_of_the_official_pipelines(name, tmp_path):
    settings = ModelSettings(FAMILY_OF[name], str(save_tiny_pipeline(name, tmp_path)))
    found = open_model(settings, ("tokenizer",)).text_lengths(["red"])
    assert {tokenizer: each.limit for tokenizer, each in found.items()} == LIMITS[name]


def test_the_record_names_numbers_and_an_example(tmp_path):
    folder = save_tiny_pipeline("sd3", tmp_path / "model")
    model = open_model(ModelSettings("sd3", str(folder)), ("tokenizer",))
    prompts = [Prompt.make(words(number), "test") for number in (3, 100, 300, 4)]
    found = long_prompts(model, prompts)
    assert (found["prompts"], found["example"]) == (2, words(300))
    assert {name: each["cut"] for name, each in found["tokenizers"].items()} == {
        "tokenizer": 2,
        "tokenizer_2": 2,
        "tokenizer_3": 1,
    }
    manifest = open_stage(tmp_path, "generate", {}).finish({"prompts": 4}, {COUNT: found})
    assert long_prompts_note(manifest) == (
        "2 of 4 prompts are longer than the model reads, and their ends decide nothing: tokenizer reads 77 tokens and "
        "cuts 2, tokenizer_2 reads 77 tokens and cuts 2, tokenizer_3 reads 256 tokens and cuts 1; the longest has 302 "
        f"tokens: '{words(15)}...'"
    )
    short = open_stage(tmp_path, "other", {}).finish({"prompts": 1}, {COUNT: long_prompts(model, prompts[:1])})
    assert long_prompts_note(short) == ""
