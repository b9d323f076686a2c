"""Checkpoints in one file open as the folder they were made from, and pickles never."""

import shutil

import diffusers
import pytest
import torch
from original_layout import open_clip_weights, unet_weights, vae_weights, write_denoiser_only, write_original
from safetensors.torch import load_file, save_file
from tiny_models import SAMPLER, TEXTS

from accord.engine.models import model_identity
from accord.errors import ModelError
from accord.export.model import export_model
from accord.manifest import Manifest
from accord.models import ModelSettings, open_model
from accord.models.export import export_pipeline
from accord.models.quiet import quiet
from accord.runfile import parse_config
from accord.testing.pipeline_parts import WIDTH

FAMILIES = ("sd15", "sd21", "sdxl")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("files")


@pytest.fixture(scope="module")
def bare(folder_of, place):
    """Return the folder of a family's configurations and tokenizers, without any weights."""

    def folder(family):
        target = place / f"{family}-configurations"
        if not target.exists():
            shutil.copytree(folder_of(family), target, ignore=shutil.ignore_patterns("*.safetensors"))
        return target

    return folder


@pytest.fixture(scope="module")
def file_of(folder_of, place):
    """Return a family's tiny pipeline as one file in the authors' layout."""

    def file(family):
        target = place / f"{family}.safetensors"
        if not target.exists():
            with quiet():
                write_original(diffusers.DiffusionPipeline.from_pretrained(folder_of(family)), target)
        return target

    return file


def open_single(family, file, config, parts=None, **options):
    settings = ModelSettings(family, str(file), config=None if config is None else str(config), **options)
    return open_model(settings) if parts is None else open_model(settings, parts)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_file_draws_what_its_folder_draws(family, file_of, bare, shared):
    model = open_single(family, file_of(family), bare(family))
    assert model.prediction == shared(family).prediction
    drawn, expected = (m.generate(TEXTS[:2], [1, 2], SAMPLER) for m in (model, shared(family)))
    assert torch.equal(drawn.latents, expected.latents)
    assert all((a == b).all() for a, b in zip(drawn.images, expected.images, strict=True))


def test_only_the_parts_asked_for_are_loaded(file_of, bare):
    model = open_single("sdxl", file_of("sdxl"), bare("sdxl"), ("denoiser", "scheduler"))
    loaded = {name for name, component in model.opened.pipe.components.items() if component is not None}
    assert loaded == {"unet", "scheduler"}
    assert model.latent_shape(32, 32) == (4, 16, 16)
    half = open_single("sdxl", file_of("sdxl"), bare("sdxl"), ("denoiser", "vae"), dtype="float16")
    assert (half.opened.pipe.unet.dtype, half.opened.pipe.vae.dtype) == (torch.float16, torch.float32)


@pytest.mark.parametrize(("name", "family"), [("flux", "flux"), ("sd3", "sd3"), ("sd35", "sd3")])
def test_a_file_with_the_denoiser_alone_has_the_rest_from_the_folder(name, family, folder_of, place, shared, tmp_path):
    folder = shutil.copytree(folder_of(name), tmp_path / "base")
    file = write_denoiser_only(folder, "transformer", place / f"{name}.safetensors")
    (folder / "transformer" / "diffusion_pytorch_model.safetensors").unlink()  # so that it can only be the file's
    model = open_single(family, file, folder)
    assert torch.equal(
        model.generate(TEXTS[:1], [1], SAMPLER).latents, shared(name).generate(TEXTS[:1], [1], SAMPLER).latents
    )


def test_the_base_comes_back_after_a_tuned_denoiser(file_of, bare, tmp_path):
    model = open_single("sd15", file_of("sd15"), bare("sd15"))
    base = model.generate(TEXTS[:1], [1], SAMPLER).latents
    with torch.no_grad():
        next(model.denoiser.parameters()).mul_(1.5)
    model.save_full(model.denoiser, tmp_path / "tuned")
    model = open_single("sd15", file_of("sd15"), bare("sd15"))
    model.load_adapter(tmp_path / "tuned")
    assert not torch.equal(model.generate(TEXTS[:1], [1], SAMPLER).latents, base)
    model.unload_adapter()
    assert torch.equal(model.generate(TEXTS[:1], [1], SAMPLER).latents, base)


def test_a_file_becomes_a_folder(file_of, bare, tmp_path, shared):
    export_pipeline(ModelSettings("sd15", str(file_of("sd15")), config=str(bare("sd15"))), None, tmp_path / "folder")
    found = open_model(ModelSettings("sd15", str(tmp_path / "folder"))).generate(TEXTS[:1], [1], SAMPLER)
    assert torch.equal(found.latents, shared("sd15").generate(TEXTS[:1], [1], SAMPLER).latents)


def test_what_was_trained_on_a_file_is_exported_with_its_configurations(file_of, bare, tmp_path):
    config = parse_config({"model": {"family": "sd15", "path": str(file_of("sd15")), "config": str(bare("sd15"))}})
    Manifest("train", {"model": model_identity(config)}, {}, {}, {}).save(tmp_path / "run" / "train")
    model = open_single("sd15", file_of("sd15"), bare("sd15"))
    with torch.no_grad():
        next(model.denoiser.parameters()).mul_(1.5)
    model.save_full(model.denoiser, tmp_path / "run" / "train" / "adapter")
    export_model(tmp_path / "run", tmp_path / "folder")
    found = open_model(ModelSettings("sd15", str(tmp_path / "folder"))).generate(TEXTS[:1], [1], SAMPLER)
    assert torch.equal(found.latents, model.generate(TEXTS[:1], [1], SAMPLER).latents)


def test_the_files_bytes_and_its_configurations_are_its_identity(file_of, bare, tmp_path):
    file, folder = tmp_path / "model.safetensors", shutil.copytree(bare("sd15"), tmp_path / "config")
    shutil.copy(file_of("sd15"), file)

    def known():
        fingerprint = open_single("sd15", file, folder, ("scheduler",)).fingerprint()
        config = parse_config({"model": {"family": "sd15", "path": str(file), "config": str(folder)}})
        identity = model_identity(config)
        return fingerprint["sha256"], fingerprint["config"], identity["weights"], identity["config_files"]

    first = known()
    assert None not in first
    scheduler = folder / "scheduler" / "scheduler_config.json"
    scheduler.write_text(scheduler.read_text() + "\n")
    second = known()
    assert (first[0], first[2]) == (second[0], second[2])
    assert first[1] != second[1]
    assert first[3] != second[3]
    state = load_file(file)
    state["model.diffusion_model.out.2.bias"] += 1
    save_file(state, file)
    third = known()
    assert (second[1], second[3]) == (third[1], third[3])
    assert second[0] != third[0]
    assert second[2] != third[2]


@pytest.mark.parametrize("suffix", [".ckpt", ".pt", ".bin"])
def test_a_pickle_is_never_opened(suffix, tmp_path, bare):
    class Harmful:
        def __reduce__(self):
            return (tmp_path.joinpath("ran").write_text, ("code of the file ran",))

    torch.save({"state_dict": Harmful()}, tmp_path / f"model{suffix}")
    with pytest.raises(ModelError, match=r"is a pickle, which can run code .*\.safetensors file.*accord convert"):
        open_single("sd15", tmp_path / f"model{suffix}", bare("sd15"))
    assert not (tmp_path / "ran").exists()


def test_without_configurations_one_line_says_where_to_get_them(file_of, tmp_path, monkeypatch):
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError) as caught:
        open_single("sd15", file_of("sd15"), None)
    said = str(caught.value)
    assert "\n" not in said
    assert "set model.config to a diffusers folder" in said
    assert "hf download stable-diffusion-v1-5/stable-diffusion-v1-5 --include '*.json'" in said


def test_what_does_not_fit_is_one_clear_line(file_of, folder_of, bare, tmp_path):
    with pytest.raises(ModelError, match=r"there is no model file '.*absent\.safetensors'"):
        open_single("sd15", tmp_path / "absent.safetensors", bare("sd15"))
    with pytest.raises(ModelError, match="a revision belongs to a hub id"):
        open_single("sd15", file_of("sd15"), bare("sd15"), revision="main")
    with pytest.raises(ModelError, match=r"belongs to a single \.safetensors file"):
        open_model(ModelSettings("sd15", str(folder_of("sd15")), config=str(bare("sd15"))))
    with pytest.raises(ModelError, match=r"needs a StableDiffusionXLPipeline, but .* holds a StableDiffusionPipeline"):
        open_single("sdxl", file_of("sdxl"), bare("sd15"))
    with pytest.raises(ModelError, match=r"model.config must be a diffusers folder or a hub id 'owner/name', not 'x'"):
        open_single("sd15", file_of("sd15"), "x")
    with pytest.raises(ModelError, match="diffusers reads no single file of a SanaPipeline: give its folder"):
        open_single("sana", file_of("sd15"), folder_of("sana"))
    (tmp_path / "damaged.safetensors").write_bytes(b"no header")
    with pytest.raises(ModelError, match="damaged"):
        open_single("sd15", tmp_path / "damaged.safetensors", bare("sd15"))


@pytest.mark.parametrize(
    "missing",
    [
        "model.diffusion_model.out.2.weight",
        "first_stage_model.decoder.conv_in.bias",
        "cond_stage_model.transformer.text_model.final_layer_norm.bias",
    ],
)
def test_a_file_that_lacks_weights_is_refused(missing, file_of, bare, tmp_path):
    state = load_file(file_of("sd15"))
    del state[missing]
    save_file(state, tmp_path / "part.safetensors")
    with pytest.raises(ModelError, match=r"part\.safetensors' cannot be loaded .*: it lacks weights"):
        open_single("sd15", tmp_path / "part.safetensors", bare("sd15"))


def test_a_file_of_another_model_is_refused(file_of, bare):
    with pytest.raises(
        ModelError, match=r"a StableDiffusionPipeline, but '.*sdxl\.safetensors' is an SDXL model: choose"
    ):
        open_single("sd15", file_of("sdxl"), bare("sd15"))


def test_openclip_texts_of_the_second_version_are_read(folder_of, bare, shared, place):
    with quiet():
        pipe = diffusers.DiffusionPipeline.from_pretrained(folder_of("sd21"))
    state = dict([*unet_weights(pipe.unet), *vae_weights(pipe.vae)])
    projection = {"text_projection.weight": torch.randn(WIDTH, WIDTH)}  # in the file, but of no use to the model
    state |= dict(open_clip_weights(pipe.text_encoder, "cond_stage_model.model.", projection))
    state["cond_stage_model.model.logit_scale"] = torch.tensor(4.6)
    save_file(state, place / "openclip.safetensors")
    model = open_single("sd21", place / "openclip.safetensors", bare("sd21"))
    assert model.prediction == shared("sd21").prediction == "v_prediction"
    drawn, expected = (m.generate(TEXTS[:2], [1, 2], SAMPLER).latents for m in (model, shared("sd21")))
    torch.testing.assert_close(drawn, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["lora_unet_down_blocks_0.lora_down.weight"], "is a LoRA: set model.path to the model that it belongs to"),
        (["double_blocks.0.img_attn.qkv.weight", "img_in.weight"], "is a FLUX.1 model: choose the family that fits"),
        (["model.diffusion_model.joint_blocks.0.x_block.attn.qkv.weight"], "is a Stable Diffusion 3 model: choose"),
        (["double_blocks.0.img_attn.qkv.weight", "double_stream_modulation_img.lin.weight"], "is a FLUX.2 model: no"),
        (["encoder.conv_in.weight", "decoder.conv_in.weight"], "is an autoencoder alone"),
        (["model.diffusion_model.input_blocks.1.1.proj_in.weight_scale"], "holds quantised weights"),
    ],
)
def test_what_is_no_such_model_is_told_by_its_names(names, said, bare, tmp_path):
    save_file({name: torch.zeros(1) for name in names}, tmp_path / "other.safetensors")
    with pytest.raises(ModelError, match=rf"other\.safetensors' {said}"):
        open_single("sd15", tmp_path / "other.safetensors", bare("sd15"))


@pytest.mark.parametrize(("mark", "key"), [("v_pred", "prediction_type"), ("ztsnr", "rescale_betas_zero_snr")])
def test_a_file_marked_as_predicting_v_is_not_taken_for_one_of_epsilon(mark, key, file_of, bare, tmp_path):
    save_file(load_file(file_of("sdxl")) | {mark: torch.zeros(0)}, tmp_path / "marked.safetensors")
    with pytest.raises(ModelError, match=rf"marked\.safetensors' is marked '{mark}', but .*{key} = "):
        open_single("sdxl", tmp_path / "marked.safetensors", bare("sdxl"))


def test_nothing_tells_which_stable_diffusion_2_a_file_is(tmp_path):
    key = "model.diffusion_model.input_blocks.2.1.transformer_blocks.0.attn2.to_k.weight"
    save_file({key: torch.zeros(320, 1024)}, tmp_path / "second.safetensors")
    with pytest.raises(ModelError, match=r"whether this Stable Diffusion 2 predicts v .* set model\.config"):
        open_single("sd21", tmp_path / "second.safetensors", None)
