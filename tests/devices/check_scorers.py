"""Every reward model on a device that is not the CPU: where everything lies, and the numbers."""

import numpy as np
import pytest
from test_one_run import (  # noqa: F401  # fixtures: tiny weights of every scorer
    blip_folder,
    flant5_folder,
    hpsv3_folder,
    llava_folder,
    mps_folder,
    options,
    reward_state,
    state,
    vqa_state,
    weights,
)
from two_devices import on_both

from accord import registry

SIZES = ((40, 40), (64, 40), (40, 64))
TEXTS = ("a red circle", "two blue squares", 'a "green" triangle on a circle')
NAMES = [name for name in registry.TABLES["scorers"] if not name.startswith("world_")]


@pytest.mark.parametrize("name", NAMES)
def test_scores(name, options):  # noqa: F811
    generator = np.random.default_rng(0)
    images = [generator.integers(0, 256, (height, width, 3), dtype=np.uint8) for width, height in SIZES]

    def work(device):
        return registry.load("scorers", name)(**options[name], device=device).score(images, TEXTS)

    here, there = on_both(work)
    assert here.std() > 0
    np.testing.assert_allclose(there, here, rtol=1e-4, atol=1e-5)
