"""Every official parameter of the CLIP scorers, in full size, has its place, and every place its parameter."""

from pathlib import Path

import pytest
import torch
from transformers import CLIPConfig, CLIPModel

from accord.errors import ScoringError
from accord.scorers.clip_names import from_open_clip, h14_config
from accord.scorers.laion_aesthetic import read_head
from accord.scorers.mps import split_weights
from accord.scorers.mps_network import CrossModel
from accord.testing.official_names import official_meta

NAMES = Path(__file__).parent / "names"
PARAMETERS = {"clip_score": 427_616_513, "pickscore": 986_109_441, "hpsv2": 986_109_441}


def official(name: str) -> dict[str, torch.Tensor]:
    return official_meta((NAMES / f"{name}.txt").read_text())


def shapes(weights) -> dict[str, tuple[int, ...]]:
    return {name: tuple(weight.shape) for name, weight in weights.items()}


def on_meta(config) -> dict[str, torch.Tensor]:
    with torch.device("meta"):
        return CLIPModel(config).state_dict()


def large_14() -> CLIPConfig:
    """The sizes of openai/clip-vit-large-patch14."""
    return CLIPConfig(
        text_config={"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12},
        vision_config={
            "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16,
            "patch_size": 14,
        },
        projection_dim=768,
    )  # fmt: skip


@pytest.mark.parametrize(("name", "number"), PARAMETERS.items())
def test_the_lists_are_as_large_as_the_networks(name, number):
    assert sum(weight.numel() for weight in official(name).values()) == number


def test_hps_fills_a_vit_h14_exactly():
    weights = from_open_clip(official("hpsv2"))
    config = h14_config(weights)
    assert shapes(weights) == shapes(on_meta(config)) == shapes(official("pickscore"))
    vision, text = config.vision_config, config.text_config
    assert (vision.hidden_size, vision.num_hidden_layers, vision.num_attention_heads) == (1280, 32, 16)
    assert (text.hidden_size, text.num_hidden_layers, text.num_attention_heads) == (1024, 24, 16)
    assert (vision.image_size, vision.patch_size, text.max_position_embeddings) == (224, 14, 77)
    assert vision.hidden_act == text.hidden_act == "gelu"
    assert config.projection_dim == 1024


def test_clip_l14_is_filled_exactly():
    assert shapes(official("clip_score")) == shapes(on_meta(large_14()))


def test_mps_fills_its_two_parts_exactly():
    clip, cross = split_weights(official("mps"))
    assert shapes(clip) == shapes(on_meta(h14_config(clip)))
    with torch.device("meta"):
        assert shapes(cross) == shapes(CrossModel(1024, 16, 4).state_dict())


def test_the_aesthetic_head_takes_its_five_layers():
    head = read_head(official("laion_aesthetic"))
    assert [tuple(weight.shape) for weight, _ in head] == [(1024, 768), (128, 1024), (64, 128), (16, 64), (1, 16)]
    with pytest.raises(ScoringError, match="missing or too many"):
        read_head(official("laion_aesthetic") | {"layers.1.weight": torch.zeros(1)})
