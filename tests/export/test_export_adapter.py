"""Adapters for other programs draw the same pictures there."""

import json
import re

import numpy as np
import peft
import pytest
import safetensors.torch
import torch
from safetensors import safe_open
from test_export_model import picture, plain
from typer.testing import CliRunner

from accord.cli.app import app
from accord.errors import ModelError
from accord.export.adapter import export_adapter
from accord.export.model import export_model
from accord.models import ModelSettings, open_model
from accord.models.adapters import LORA_FILE

FAMILIES = ("sd15", "sd21", "sdxl", "sd3", "flux")
PATTERNS = {"rank_pattern": {"to_q": 2}, "alpha_pattern": {"to_q": 5.0, "to_v": 1.0}}
CONV = ("to_q", "to_k", "to_v", "to_out.0", "conv1", "conv2", "conv_in", "conv_out", "conv_shortcut", "time_emb_proj",
        "ff.net.0.proj", "ff.net.2", "proj_in", "proj_out", "downsamplers.0.conv", "upsamplers.0.conv")  # fmt: skip


def denoiser_of(pipeline):
    return pipeline.unet if hasattr(pipeline, "unet") else pipeline.transformer


def merged(pipeline):
    """Return the denoiser's weights with the loaded adapter merged, in float64."""
    pipeline.fuse_lora(components=["unet" if hasattr(pipeline, "unet") else "transformer"])
    pipeline.unload_lora_weights()
    return {name: tensor.double() for name, tensor in denoiser_of(pipeline).state_dict().items()}


def as_comfyui_reads(path, base):
    """Return the weights that ComfyUI computes: `w + alpha / rank * up @ down`, where a layer without alpha counts
    once; kohya's names for UNets, `transformer.<layer>` for transformers. Every tensor of the file must be used.
    """
    state, weights, used = safetensors.torch.load_file(path), {}, set()
    for name, weight in base.items():
        layer = name.removesuffix(".weight")
        kohya, plain_name = f"lora_unet_{layer.replace('.', '_')}", f"transformer.{layer}"
        found = {
            f"{kohya}.lora_up.weight": (f"{kohya}.lora_down.weight", f"{kohya}.alpha"),
            f"{plain_name}.lora_B.weight": (f"{plain_name}.lora_A.weight", f"{plain_name}.alpha"),
        }
        weights[name] = weight.double()
        for up, (down, alpha) in found.items():
            if name.endswith(".weight") and up in state:
                a, b = state[down].double().flatten(1), state[up].double().flatten(1)
                scale = state[alpha].item() / a.shape[0] if alpha in state else 1.0
                weights[name] = weights[name] + scale * (b @ a).reshape(weight.shape)
                used |= {up, down, alpha} & state.keys()
    assert used == state.keys()
    return weights


@pytest.mark.parametrize("family", FAMILIES)
def test_comfyui_and_diffusers_compute_the_same_from_the_exported_file(family, run_of, folder_of, tmp_path):
    run = run_of(family)
    done = CliRunner().invoke(app, ["export", "adapter", str(run), str(tmp_path / "mine"), "--layout", "comfyui"])
    assert done.exit_code == 0, done.output
    file = tmp_path / "mine" / "mine.safetensors"
    ours, theirs = plain(folder_of(family)), plain(folder_of(family))
    base = {name: tensor.clone() for name, tensor in denoiser_of(ours).state_dict().items()}
    before = picture(ours)
    ours.load_lora_weights(run / "train" / "adapter")
    theirs.load_lora_weights(file)
    expected = picture(ours)
    assert np.abs(expected - before).mean() > 0.001
    assert np.abs(picture(theirs) - expected).max() < 0.01 * np.abs(expected - before).max()
    expected_weights = merged(ours)
    for name, weight in as_comfyui_reads(file, base).items():
        torch.testing.assert_close(weight, expected_weights[name], rtol=1e-5, atol=1e-6)


UNET = r"(down_blocks_\d+|up_blocks_\d+|mid_block)_attentions_\d+_transformer_blocks_\d+_attn[12]_to_(q|k|v|out_0)"
JOINT = r"transformer_blocks\.\d+\.attn\.(to_[qkv]|to_out\.0|add_[qkv]_proj|to_add_out)"
READ = {  # what ComfyUI's tables of layers know (comfy/lora.py, comfy/utils.py of 2025), of what is trained by default
    "sd15": rf"lora_unet_{UNET}\.(lora_(down|up)\.weight|alpha)",
    "sd21": rf"lora_unet_{UNET}\.(lora_(down|up)\.weight|alpha)",
    "sdxl": rf"lora_unet_{UNET}\.(lora_(down|up)\.weight|alpha)",
    "sd3": rf"transformer\.{JOINT}\.lora_[AB]\.weight",
    "flux": rf"transformer\.({JOINT}|single_transformer_blocks\.\d+\.attn\.to_[qkv])\.lora_[AB]\.weight",
}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_name_in_the_file_is_one_that_comfyui_looks_for(family, run_of, tmp_path):
    """It passes over other names with a warning in its log, and draws with what is left."""
    state = safetensors.torch.load_file(export_adapter(run_of(family), tmp_path / "mine", "comfyui"))
    assert [name for name in state if not re.fullmatch(READ[family], name)] == []
    layers = {name.split(".lora_")[0].removesuffix(".alpha") for name in state}
    assert len(state) == len(layers) * (3 if family in ("sd15", "sd21", "sdxl") else 2)


@pytest.mark.parametrize(
    ("family", "options"),
    [
        ("sd15", {"targets": CONV}),
        ("sdxl", {"use_rslora": True, **PATTERNS}),
        ("sd15", PATTERNS),
        ("sd3", PATTERNS),
        ("flux", {"use_rslora": True, "rank_pattern": {"to_v": 3}}),
    ],
)
def test_other_layers_ranks_and_scales_keep_their_strength(family, options, run_of, folder_of, tmp_path):
    run = run_of(family, **options)
    file = export_adapter(run, tmp_path / "out", "comfyui")
    ours, theirs = plain(folder_of(family)), plain(folder_of(family))
    base = {name: tensor.clone() for name, tensor in denoiser_of(ours).state_dict().items()}
    ours.load_lora_weights(run / "train" / "adapter")
    expected = merged(ours)
    for name, weight in as_comfyui_reads(file, base).items():
        torch.testing.assert_close(weight, expected[name], rtol=1e-5, atol=1e-6)
    theirs.load_lora_weights(file)
    for name, weight in merged(theirs).items():
        torch.testing.assert_close(weight, expected[name], rtol=1e-5, atol=1e-6)


def test_equal_adapters_give_equal_files_and_web_uis_are_told_the_base(run_of, tmp_path):
    for family, told in (("sdxl", "sdxl_base_v1-0"), ("sd15", "sd_v1")):
        run = run_of(family)
        files = [export_adapter(run, tmp_path / family / str(n) / "mine", "comfyui") for n in range(2)]
        assert files[0].read_bytes() == files[1].read_bytes()
        with safe_open(files[0], "pt") as file:
            assert file.metadata()["ss_base_model_version"] == told
    with safe_open(export_adapter(run_of("flux"), tmp_path / "flux", "comfyui"), "pt") as file:
        assert file.metadata()["modelspec.architecture"] == "flux-1-dev/lora"
        assert json.loads(file.metadata()["lora_adapter_metadata"])["transformer.lora_alpha"] == 4


@pytest.mark.parametrize("layout", ["diffusers", "comfyui"])
def test_half_of_the_size_in_bfloat16(layout, run_of, folder_of, tmp_path):
    run = run_of("sd15")
    files = [export_adapter(run, tmp_path / dtype, layout, dtype) for dtype in ("float32", "bfloat16")]
    states = [safetensors.torch.load_file(file) for file in files]
    for name, tensor in states[0].items():
        assert name.endswith(".alpha") or torch.equal(states[1][name], tensor.bfloat16())
    pipelines = [plain(folder_of("sd15")) for _ in files]
    for pipeline, file in zip(pipelines, files, strict=True):
        pipeline.load_lora_weights(file)
    exact, half = (merged(pipeline) for pipeline in pipelines)
    assert all(torch.allclose(half[name], tensor, rtol=0.02, atol=0.02) for name, tensor in exact.items())


def test_the_file_for_diffusers_is_the_trained_one(run_of, tmp_path):
    run = run_of("sd3")
    file = export_adapter(run, tmp_path / "out")
    assert file.read_bytes() == (run / "train" / "adapter" / file.name).read_bytes()


def test_dora_goes_to_diffusers_and_into_a_model_but_not_to_comfyui(run_of, folder_of, tmp_path):
    run = run_of("sd15", use_dora=True)
    with pytest.raises(ModelError, match=r"trained DoRA, which ComfyUI .* compute differently"):
        export_adapter(run, tmp_path / "comfyui", "comfyui")
    beside = plain(folder_of("sd15"))
    beside.load_lora_weights(export_adapter(run, tmp_path / "adapter"))
    layers = [m for m in beside.unet.modules() if isinstance(m, peft.tuners.lora.LoraLayer)]
    assert layers
    assert all(layer.use_dora["default_0"] for layer in layers)
    export_model(run, tmp_path / "model")
    np.testing.assert_allclose(picture(plain(tmp_path / "model")), picture(beside), atol=0.01)


@pytest.mark.parametrize("layout", ["diffusers", "comfyui"])
def test_a_file_that_is_cut_short_is_one_clear_line(layout, run_of, tmp_path):
    bare = tmp_path / "bare"
    bare.mkdir()
    whole = run_of("sd15") / "train" / "adapter" / LORA_FILE
    (bare / LORA_FILE).write_bytes(whole.read_bytes()[:300])
    with pytest.raises(
        ModelError, match=r"the weights in .* are damaged .*delete the file and run `accord train` again"
    ):
        export_adapter(bare, tmp_path / "out", layout)


def test_what_cannot_be_exported_is_refused(run_of, folder_of, tmp_path):
    run = run_of("sd15")
    with pytest.raises(ModelError, match="is not empty"):
        export_adapter(run, run)
    large = run_of("sd3", lora_alpha=1e7)
    with pytest.raises(ModelError, match=r"layer transformer\..* is not finite in float16"):
        export_adapter(large, tmp_path / "large", "comfyui", "float16")
    full = tmp_path / "full"
    model = open_model(ModelSettings("sd15", str(folder_of("sd15"))), ("denoiser",))
    model.save_full(model.denoiser, full)
    with pytest.raises(ModelError, match="trained all weights"):
        export_adapter(full, tmp_path / "none")
