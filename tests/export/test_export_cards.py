"""The code on a card loads what lies beside it, wherever its folder is."""

import os
import re
import shutil
import warnings

import numpy as np
import pytest
import torch
from test_export_model import picture, plain

from accord.card.use import Use, trained_use
from accord.card.write import write_card
from accord.export.adapter import export_adapter
from accord.export.model import export_model
from accord.manifest import Manifest, load_manifest
from accord.models import ModelSettings, open_model


def run_code(folder, base, monkeypatch):
    """Run the code of a folder's card there, with the base model beside it; return its pipeline."""
    (block,) = re.findall(r"^```python\n(.*?)^```$", (folder / "README.md").read_text(), re.M | re.S)
    if not (folder / base.name).exists():
        os.symlink(base, folder / base.name)
    monkeypatch.chdir(folder)
    names: dict = {}
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".* is deprecated")  # a reader should not be warned of our code
        exec(block, names)
    assert (folder / "image.png").is_file()
    names["pipe"].set_progress_bar_config(disable=True)
    return names["pipe"]


@pytest.mark.parametrize("family", ["sd15", "sd3", "sd3_without_t5"])
@pytest.mark.parametrize("kind", ["diffusers", "comfyui", "model"])
def test_the_code_of_a_card_draws_what_was_trained(family, kind, run_of, folder_of, tmp_path, monkeypatch):
    run = run_of(family)
    drawing = {"num_inference_steps": 2, "guidance_scale": 3.0, "height": 32, "width": 32}
    Manifest("generate", drawing, {}, {}, {}).save(run / "generate")
    expected = plain(folder_of(family))
    expected.load_lora_weights(run / "train" / "adapter")
    out = tmp_path / "mine"
    if kind == "model":
        export_model(run, out)
    else:
        export_adapter(run, out, kind)
    found = picture(run_code(out, folder_of(family), monkeypatch))
    base = picture(plain(folder_of(family)))
    wanted = picture(expected)
    assert np.abs(found - wanted).max() < 0.02 * np.abs(wanted - base).max()


def test_the_code_for_a_tuned_denoiser(folder_of, run_of, tmp_path, monkeypatch):
    run = run_of("sd15")
    told = load_manifest(run / "train").settings | {"mode": "full"}
    Manifest("train", told, {}, {}, {}).save(run / "train")
    drawing = {"num_inference_steps": 2, "height": 32, "width": 32}
    Manifest("generate", drawing, {}, {}, {}).save(run / "generate")
    model = open_model(ModelSettings("sd15", str(folder_of("sd15"))), ("denoiser",))
    with torch.no_grad():
        next(model.denoiser.parameters()).mul_(1.5)
    adapter = run / "train" / "adapter"
    shutil.rmtree(adapter)
    model.save_full(model.denoiser, adapter)
    use = trained_use(adapter, "sd15")
    assert use == Use("denoiser", denoiser=("unet", "UNet2DConditionModel"))
    write_card(run, adapter, use)
    pipe = run_code(adapter, folder_of("sd15"), monkeypatch)
    assert torch.equal(next(pipe.unet.parameters()), next(model.denoiser.parameters()))


def test_a_bare_adapter_gets_no_card(run_of, tmp_path):
    export_adapter(run_of("sd15") / "train" / "adapter", tmp_path / "out")
    assert not (tmp_path / "out" / "README.md").exists()
