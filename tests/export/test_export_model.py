"""A run's tuned model as a complete pipeline that plain diffusers opens."""

import shutil

import diffusers
import numpy as np
import pytest
import safetensors.torch
import torch
from typer.testing import CliRunner

from accord.cli.app import app
from accord.errors import ModelError
from accord.export.model import export_model
from accord.files import read_json
from accord.models.quiet import quiet


def plain(folder):
    parts = read_json(folder / "model_index.json")
    without_t5 = {name: None for name in ("text_encoder_3", "tokenizer_3") if parts.get(name) == [None, None]}
    with quiet():
        pipeline = diffusers.DiffusionPipeline.from_pretrained(folder, **without_t5)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def picture(pipeline):
    with quiet():
        image = pipeline(
            "a red circle", num_inference_steps=3, guidance_scale=3.0, height=32, width=32, output_type="np",
            generator=torch.Generator().manual_seed(1),
        ).images[0]  # fmt: skip
    return np.asarray(image)


@pytest.mark.parametrize("family", ["sd15", "sdxl", "sd3", "flux"])
def test_the_pipeline_draws_what_base_and_adapter_draw(family, run_of, folder_of, tmp_path):
    run = run_of(family)
    beside = plain(folder_of(family))
    base = picture(beside)
    beside.load_lora_weights(run / "train" / "adapter")
    done = CliRunner().invoke(app, ["export", "model", str(run), str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    expected, found = picture(beside), picture(plain(tmp_path / "out"))
    assert np.abs(expected - base).mean() > 0.001
    assert np.abs(expected - found).max() < 0.02 * np.abs(expected - base).max()


def test_weights_are_saved_in_the_type_asked_for_and_rounded_once(run_of, tmp_path):
    run = run_of("sd15")
    export_model(run, tmp_path / "full")
    export_model(run, tmp_path / "half", "float16")
    name = "unet/diffusion_pytorch_model.safetensors"
    full, half = (safetensors.torch.load_file(tmp_path / folder / name) for folder in ("full", "half"))
    assert all(tensor.dtype is torch.float16 for tensor in half.values())
    assert all(torch.equal(half[name], tensor.to(torch.float16)) for name, tensor in full.items())


def test_a_weight_beyond_the_type_is_named(run_of, tmp_path, folder_of):
    run = run_of("sd15", lora_alpha=1e8)
    with pytest.raises(ModelError, match=r"the weight .*attn.* of unet is not finite in float16: choose bfloat16"):
        export_model(run, tmp_path / "out", "float16")
    assert not (tmp_path / "out").exists()


def test_another_base_than_training_began_with_is_refused(run_of, folder_of, tmp_path):
    run = run_of("sd15")
    with pytest.raises(ModelError, match="was trained from other weights"):
        export_model(run, tmp_path / "out", base=str(folder_of("sd21")))
    shutil.copytree(folder_of("sd15"), tmp_path / "moved")
    export_model(run, tmp_path / "out", base=str(tmp_path / "moved"))
    assert (tmp_path / "out" / "model_index.json").is_file()


def test_a_bare_adapter_does_not_say_its_base(run_of, tmp_path):
    shutil.copytree(run_of("sd15") / "train" / "adapter", tmp_path / "bare")
    with pytest.raises(ModelError, match=r"nothing in .* says which model it was trained from"):
        export_model(tmp_path / "bare", tmp_path / "out")
