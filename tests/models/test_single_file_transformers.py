"""SD3 and FLUX in their authors' layout open as the folders they were made from; at real size all weights have a place.

diffusers' conversion of FLUX knows one width only, 3072, so no tiny file can be converted: the layout of the real one
is, with each weight's rows numbered and one column.
"""

import shutil
from pathlib import Path

import diffusers
import pytest
import torch
from diffusers.loaders import single_file_utils
from original_transformers import original_flux, original_sd3, text_weights, write_sd3
from safetensors.torch import load_file, save_file
from tiny_models import SAMPLER, TEXTS

from accord.errors import ModelError
from accord.models import ModelSettings, open_model
from accord.models.quiet import quiet
from accord.testing.official_names import official_shapes

NAMES = Path(__file__).parent / "names"
SD3 = {
    "sample_size": 128, "num_attention_heads": 24, "attention_head_dim": 64, "num_layers": 24,
    "pos_embed_max_size": 192, "caption_projection_dim": 1536,
    "joint_attention_dim": 4096, "pooled_projection_dim": 2048, "in_channels": 16,
}  # fmt: skip
SD35 = SD3 | {"pos_embed_max_size": 384, "qk_norm": "rms_norm", "dual_attention_layers": tuple(range(13))}
SD35_LARGE = SD3 | {"num_layers": 38, "num_attention_heads": 38, "caption_projection_dim": 2432, "qk_norm": "rms_norm"}
FLUX = {"guidance_embeds": True}  # diffusers' defaults are FLUX.1's


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("transformers")


@pytest.fixture(scope="module")
def single(folder_of, place):
    """Return a family's tiny pipeline as one file, and a folder with what it lacks."""

    def made(name, with_text):
        target, rest = place / f"{name}-{with_text}.safetensors", place / f"{name}-{with_text}"
        if not target.exists():
            without = {"text_encoder_3": None, "tokenizer_3": None} if name == "sd3_without_t5" else {}
            with quiet():
                pipe = diffusers.StableDiffusion3Pipeline.from_pretrained(folder_of(name), **without)
            write_sd3(pipe, target, with_text)
            left_out = ("*.safetensors",) if with_text else ("diffusion_pytorch_model.safetensors",)
            shutil.copytree(folder_of(name), rest, ignore=shutil.ignore_patterns(*left_out))
        return target, rest

    return made


@pytest.mark.parametrize("with_text", [True, False])
@pytest.mark.parametrize("name", ["sd3", "sd35", "sd3_without_t5"])
def test_a_file_of_the_authors_is_the_folder(name, with_text, single, shared):
    file, rest = single(name, with_text)
    model, expected = open_model(ModelSettings("sd3", str(file), config=str(rest))), shared(name)
    for part, module in expected.opened.pipe.components.items():
        if isinstance(module, torch.nn.Module):
            found = getattr(model.opened.pipe, part)
            assert not any(each.training for each in found.modules()), part  # else dropout makes texts random
            weights = found.state_dict()
            assert weights.keys() == module.state_dict().keys()
            assert all(torch.equal(weights[key], value) for key, value in module.state_dict().items()), part
    drawn, wanted = (m.generate(TEXTS[:2], [1, 2], SAMPLER).latents for m in (model, expected))
    torch.testing.assert_close(drawn, wanted, atol=1e-5, rtol=1e-5)  # weights lie elsewhere in memory: other kernels


def test_a_missing_text_encoder_is_named(single, tmp_path):
    file, rest = single("sd3", True)
    state = {name: weight for name, weight in load_file(file).items() if not name.startswith("text_encoders.t5xxl.")}
    save_file(state, tmp_path / "no_t5.safetensors")
    with pytest.raises(ModelError, match=r"no_t5\.safetensors' lacks the text_encoder_3, .*\[null, null\]"):
        open_model(ModelSettings("sd3", str(tmp_path / "no_t5.safetensors"), config=str(rest)))


@pytest.mark.parametrize("missing", ["pos_embed", "joint_blocks.1.x_block.mlp.fc1.bias", "final_layer.linear.weight"])
def test_a_file_that_lacks_weights_is_refused(missing, single, tmp_path):
    file, rest = single("sd3", False)
    state = load_file(file)
    del state[f"model.diffusion_model.{missing}"]
    save_file(state, tmp_path / "part.safetensors")
    with pytest.raises(ModelError, match=rf"part\.safetensors' cannot be loaded .* it lacks .*'{missing}'"):
        open_model(ModelSettings("sd3", str(tmp_path / "part.safetensors"), config=str(rest)))


def test_texts_of_an_all_in_one_file_of_flux_are_read_from_it(folder_of, shared, place):
    with quiet():
        pipe = diffusers.FluxPipeline.from_pretrained(folder_of("flux"))
    state = dict(text_weights(pipe.text_encoder, "clip_l")) | dict(text_weights(pipe.text_encoder_2, "t5xxl"))
    save_file(state | pipe.transformer.state_dict(), place / "flux.safetensors")
    rest = shutil.copytree(folder_of("flux"), place / "flux", ignore=shutil.ignore_patterns("*.safetensors"))
    model = open_model(ModelSettings("flux", str(place / "flux.safetensors"), config=str(rest)), ("text",))
    found, wanted = model.encode_prompts(TEXTS), shared("flux").encode_prompts(TEXTS)
    assert all(torch.allclose(found[name], wanted[name], atol=1e-5) for name in wanted)


def numbered(model):
    """Return name -> the rows of each weight, numbered through all, with one column."""
    found, start = {}, 0
    for name, weight in model.state_dict().items():
        rows = weight.shape[0]
        found[name] = torch.arange(start, start + rows).reshape(rows, *(1 for _ in weight.shape[1:]))
        start += rows
    return found


@pytest.mark.parametrize(
    ("names", "model_class", "config", "original", "convert"),
    [
        ("sd3_medium", "SD3Transformer2DModel", SD3, original_sd3, "sd3"),
        ("sd35_medium", "SD3Transformer2DModel", SD35, original_sd3, "sd3"),
        ("sd35_large", "SD3Transformer2DModel", SD35_LARGE, original_sd3, "sd3"),
        ("flux1_dev", "FluxTransformer2DModel", FLUX, original_flux, "flux"),
    ],
)
def test_every_row_of_a_real_size_file_has_its_place(names, model_class, config, original, convert):
    with torch.device("meta"):
        model = getattr(diffusers, model_class)(**config)
    written = {name: tuple(weight.shape) for name, weight in original(model.state_dict()).items()}
    assert written == official_shapes((NAMES / f"{names}.txt").read_text())
    converter = getattr(single_file_utils, f"convert_{convert}_transformer_checkpoint_to_diffusers")
    rows = numbered(model)
    found = converter(original(rows))
    assert found.keys() == rows.keys()
    assert all(torch.equal(found[name], rows[name]) for name in rows)
