"""The whole job with a device that is not the CPU: from prompts to the report, every stage that a run file can have."""

import json
import tomllib

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from two_devices import on_both

from accord.files import read_json
from accord.images import decode_image, iterate_images
from accord.pipeline import run_stages
from accord.recipes.initial import initial_run_file
from accord.runfile import parse_config

SMALL = {
    "prompts": {"num_train": 4, "num_evaluate": 2},
    "generate": {"images_per_prompt": 3, "num_inference_steps": 2, "batch_size": 4, "images_per_shard": 12},
    "train": {"steps": 3, "batch_size": 4, "checkpoint_every": 2},
    "engine": {"workers": 1},
    "log": {"trackers": []},
}


@pytest.mark.parametrize(
    ("family", "recipe", "cached"), [("world", "smpo", True), ("world_epsilon", "balanced_dpo", False)]
)
def test_the_main_job(family, recipe, cached, tmp_path):
    def work(device):
        values = tomllib.loads(initial_run_file(family, recipe))
        for section, changed in SMALL.items():
            values[section] = values.get(section, {}) | changed
        values["folder"], values["model"]["device"] = str(tmp_path / device), device
        values["train"]["cache_reference"] = cached
        return [name for name, _ in run_stages(parse_config(values))], tmp_path / device

    (stages, here), (others, there) = on_both(work)
    assert stages == others
    assert stages[-1] == "report"
    assert ("reference" in stages, "invert" in stages) == (cached, recipe == "smpo")
    images = [[decode_image(row.content) for row in iterate_images(folder / "generate")] for folder in (here, there)]
    assert np.abs(np.array(images[0]).astype(int) - np.array(images[1])).max() <= 1
    losses = [
        [json.loads(line)["loss"] for line in (folder / "train" / "log.jsonl").read_text().splitlines()]
        for folder in (here, there)
    ]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-2)
    (adapter,) = (there / "train" / "adapter").glob("*.safetensors")
    assert all(torch.isfinite(weight).all() for weight in load_file(adapter).values())
    assert read_json(there / "report" / "manifest.json")["stage"] == "report"
