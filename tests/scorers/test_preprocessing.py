"""What the networks read of a picture, at full size, against numbers that the original code gave once.

goldens/make_pixels.py says how they were made; nothing of Accord took part.
"""

import json
from pathlib import Path

import numpy as np
import PIL
import pytest
import torch
from goldens.make_pixels import SHAPES, picture, places

from accord.scorers.blip_vqa import BlipVqa
from accord.scorers.hpsv3 import HpsV3, patches
from accord.scorers.image_reward import ImageReward
from accord.scorers.preprocessing import CropToSquare, PadToSquare, Squash
from accord.scorers.tensor_images import crop_to_square, pad_to_square
from accord.scorers.vqascore_flant5 import VqaScoreFlanT5

GOLDENS = json.loads((Path(__file__).parent / "goldens" / "pixels.json").read_text(encoding="utf-8"))
OURS = {
    "clip": CropToSquare(224, rounds_crop=True),
    "pickscore": CropToSquare(224),
    "hpsv2": PadToSquare(224),
    "hpsv2_antialias": PadToSquare(224, antialias=True),
    "blip_vqa": BlipVqa.preprocessing,
    "flant5": VqaScoreFlanT5.preprocessing,
    "hpsv3": lambda image: patches(HpsV3.preprocessing(image))[None],
}


def difference(found: np.ndarray, golden: dict) -> float:
    """How far an array (C, H, W) is from a golden, at most, over its kept places, its mean and its deviation."""
    assert list(found.shape) == golden["shape"]
    assert found.dtype == np.float32
    at_places = abs(found.ravel()[places(found.shape)] - golden["values"]).max()
    return max(at_places, abs(found.mean() - golden["mean"]), abs(found.std() - golden["deviation"]))


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("name", OURS)
def test_pixels_are_those_of_the_original_code(name, kind):
    if (name, kind) == ("blip_vqa", "tall") and int(PIL.__version__.split(".")[0]) < 13:
        pytest.skip("the golden is of Pillow 13, which widens what gets wider and lower in another order")
    assert difference(OURS[name](picture(*SHAPES[kind])), GOLDENS[f"{name} {kind}"]) < 1e-4


def test_image_reward_crops_as_clip():
    assert ImageReward.preprocessing == OURS["clip"]


@pytest.mark.parametrize(
    ("golden", "other"),
    [
        ("clip tall", CropToSquare(224)),  # the other rule for odd margins
        ("clip small", CropToSquare(224)),
        ("pickscore tall", CropToSquare(224, rounds_crop=True)),
        ("hpsv2 square", PadToSquare(224, antialias=True)),
        ("hpsv2 wide", CropToSquare(224)),
        ("blip_vqa tall", CropToSquare(480)),
        ("flant5 wide", CropToSquare(336)),
        ("flant5 wide", Squash(336)),
    ],
)
def test_the_goldens_tell_the_preprocessings_apart(golden, other):
    assert difference(other(picture(*SHAPES[golden.split()[1]])), GOLDENS[golden]) > 0.05


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("name", ["clip", "pickscore", "hpsv2_antialias"])
def test_the_differentiable_way_is_near_on_every_shape(name, kind):
    """One pixel beside the crop of the exact way would differ by more than half a deviation on this picture."""
    image = picture(*SHAPES[kind])
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None] / 255
    how = OURS[name]
    found = crop_to_square(pixels, how) if isinstance(how, CropToSquare) else pad_to_square(pixels, how)
    assert abs(found[0].numpy() - how(image)).mean() < 0.006
