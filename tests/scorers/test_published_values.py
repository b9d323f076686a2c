"""Values that authors published for their own pictures. They need the official weights, and are skipped by default.

    ACCORD_IMAGE_REWARD=FOLDER python -m pytest --with-weights tests/scorers/test_published_values.py

FOLDER holds ImageReward.safetensors, and 1.webp to 4.webp of `assets/images` in the repository of ImageReward.
"""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from accord.scorers.image_reward import ImageReward


@pytest.mark.weights
def test_image_reward_of_the_four_pictures_of_its_readme():
    if "ACCORD_IMAGE_REWARD" not in os.environ:
        pytest.skip("set ACCORD_IMAGE_REWARD to the folder with the weights and the four pictures")
    folder = Path(os.environ["ACCORD_IMAGE_REWARD"])
    images = [np.asarray(Image.open(folder / f"{number}.webp").convert("RGB")) for number in (1, 2, 3, 4)]
    prompt = "a painting of an ocean with clouds and birds, day time, low depth field effect"
    published = [0.5811622738838196, 0.2745276093482971, -1.4131819009780884, -2.029569625854492]
    np.testing.assert_allclose(ImageReward(path=str(folder)).score(images, [prompt] * 4), published, atol=0.01)
