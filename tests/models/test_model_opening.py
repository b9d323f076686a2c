"""Opening a model: only the parts asked for, and one clear line when it cannot be opened."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import huggingface_hub
import pytest
import torch
from tiny_models import SAMPLER, TEXTS

from accord.errors import ModelError, RegistryError
from accord.models import ALL_PARTS, ModelSettings, open_model

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def loaded_components(model) -> set[str]:
    """Return the names of the components that are in memory."""
    return {name for name, component in model.opened.pipe.components.items() if component is not None}


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (("scheduler",), {"scheduler"}),
        (("denoiser", "scheduler"), {"scheduler", "unet"}),
        (("text",), {"scheduler", "tokenizer", "tokenizer_2", "text_encoder", "text_encoder_2"}),
        (("vae",), {"scheduler", "vae"}),
    ],
)
def test_only_the_parts_asked_for_are_loaded(parts, expected, folder_of):
    assert loaded_components(open_model(ModelSettings("sdxl", str(folder_of("sdxl"))), parts)) == expected


def test_all_parts_of_a_family_are_loaded(family, shared):
    components = shared(family).opened.pipe.components
    unused = {"safety_checker", "feature_extractor", "image_encoder"}
    assert loaded_components(shared(family)) == set(components) - unused


def test_parts_not_asked_for_need_not_be_there(family, folder_of, tmp_path):
    """A model whose other files are missing still opens, and knows shapes and schedule from its configurations."""
    folder = tmp_path / "model"
    shutil.copytree(folder_of(family), folder)
    for weights in [*folder.glob("vae/*.safetensors"), *folder.glob("text_encoder*/*.safetensors")]:
        weights.unlink()
    model = open_model(ModelSettings(family, str(folder)), ("denoiser", "scheduler"))
    assert model.latent_shape(32, 32)[1:] in [(4, 4), (8, 8), (16, 16)]
    assert model.prediction in ("epsilon", "v_prediction", "flow")
    with pytest.raises(ModelError, match=r"needs the parts .* opened without text, vae"):
        model.generate(TEXTS, [1, 2, 3], SAMPLER)
    with pytest.raises(ModelError, match="opened without text"):
        model.encode_prompts(TEXTS)
    with pytest.raises(ModelError, match="opened without vae"):
        model.encode_images([])
    with pytest.raises(ModelError, match="cannot be loaded"):
        open_model(ModelSettings(family, str(folder)))


def test_the_denoiser_of_a_model_opened_without_it(folder_of):
    model = open_model(ModelSettings("world", str(folder_of("world"))), ("text",))
    with pytest.raises(ModelError, match="opened without denoiser"):
        model.denoiser  # noqa: B018


def test_an_unknown_part_is_refused(folder_of):
    with pytest.raises(ModelError, match=r"no part of a model is called \['unet'\]; known: denoiser, text"):
        open_model(ModelSettings("sd15", str(folder_of("sd15"))), ("unet",))


def test_an_unknown_family_is_refused():
    with pytest.raises(RegistryError, match="did you mean 'sdxl'"):
        open_model(ModelSettings("sdxll", "folder"))


def test_a_missing_folder(tmp_path):
    with pytest.raises(ModelError, match="there is no model folder"):
        open_model(ModelSettings("sd15", str(tmp_path / "nothing")))


def test_a_folder_that_is_no_pipeline(tmp_path):
    (tmp_path / "weights.ckpt").write_bytes(b"")
    with pytest.raises(ModelError, match=r"is no diffusers pipeline: it has no model_index\.json"):
        open_model(ModelSettings("sd15", str(tmp_path)))


def test_a_damaged_index(tmp_path):
    (tmp_path / "model_index.json").write_text("{")
    with pytest.raises(ModelError, match=r"model_index\.json is damaged"):
        open_model(ModelSettings("sd15", str(tmp_path)))


def test_a_pipeline_of_another_family(folder_of):
    with pytest.raises(ModelError, match=r"needs a StableDiffusionXLPipeline, but .* a StableDiffusionPipeline"):
        open_model(ModelSettings("sdxl", str(folder_of("sd15"))))


def test_weights_that_are_not_safetensors_are_never_read(folder_of, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(folder_of("sd15"), folder)
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    torch.save({}, weights.with_suffix(".bin"))
    weights.unlink()
    with pytest.raises(ModelError, match="cannot be loaded"):
        open_model(ModelSettings("sd15", str(folder)))


def test_a_revision_needs_a_hub_id(folder_of):
    with pytest.raises(ModelError, match="a revision belongs to a hub id"):
        open_model(ModelSettings("sd15", str(folder_of("sd15")), revision="main"))


def test_a_dtype_that_no_model_has(folder_of):
    with pytest.raises(ModelError, match="float32, bfloat16, float16, not 'int8'"):
        open_model(ModelSettings("sd15", str(folder_of("sd15")), dtype="int8"))  # type: ignore[arg-type]


def test_a_safety_checker_in_the_index_is_not_loaded(folder_of, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(folder_of("sd15"), folder)
    index = json.loads((folder / "model_index.json").read_text())
    index["safety_checker"] = ["stable_diffusion", "StableDiffusionSafetyChecker"]
    index["feature_extractor"] = ["transformers", "CLIPImageProcessor"]
    index["requires_safety_checker"] = True
    (folder / "model_index.json").write_text(json.dumps(index))
    assert loaded_components(open_model(ModelSettings("sd15", str(folder)))).isdisjoint(
        {"safety_checker", "feature_extractor"}
    )


def test_float16_keeps_an_autoencoder_that_overflows_in_float32(folder_of):
    model = open_model(ModelSettings("sdxl", str(folder_of("sdxl")), dtype="float16"), ("vae", "denoiser"))
    assert model.opened.pipe.vae.dtype is torch.float32
    assert model.opened.pipe.unet.dtype is torch.float16


# --- hub ids ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def hub_cache(tmp_path, monkeypatch) -> Path:
    """Return an empty cache of the model hub, with no way to the hub itself."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return tmp_path


def put_into_cache(cache: Path, hub_id: str, folder: Path) -> None:
    """Lay a model out as the hub's client does after a download."""
    model = cache / f"models--{hub_id.replace('/', '--')}"
    shutil.copytree(folder, model / "snapshots" / COMMIT)
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text(COMMIT)


def test_a_hub_model_opens_from_the_cache_and_is_known_by_its_commit(hub_cache, folder_of, shared):
    put_into_cache(hub_cache, "someone/tiny", folder_of("sd15"))
    model = open_model(ModelSettings("sd15", "someone/tiny"))
    fingerprint = model.fingerprint()
    assert fingerprint["commit"] == COMMIT
    assert fingerprint["path"] == "someone/tiny"
    assert "sha256" not in fingerprint
    expected = shared("sd15").generate(TEXTS, [1, 2, 3], SAMPLER).latents
    assert torch.equal(model.generate(TEXTS, [1, 2, 3], SAMPLER).latents, expected)


@pytest.mark.parametrize(
    ("revision", "command"),
    [(None, "hf download someone/absent"), ("v2", "hf download someone/absent --revision v2")],
)
def test_a_hub_model_that_cannot_be_had_names_the_command(revision, command, hub_cache):
    with pytest.raises(ModelError) as caught:
        open_model(ModelSettings("sd15", "someone/absent", revision=revision))
    assert str(caught.value).endswith(command)
    assert "\n" not in str(caught.value)


def test_a_file_missing_from_the_cache_names_the_command(hub_cache, folder_of, tmp_path):
    folder = tmp_path / "incomplete"
    shutil.copytree(folder_of("sd15"), folder)
    shutil.rmtree(folder / "vae")
    put_into_cache(hub_cache, "someone/incomplete", folder)
    model = open_model(ModelSettings("sd15", "someone/incomplete"), ("denoiser",))
    with pytest.raises(ModelError, match=f"hf download someone/incomplete --revision {COMMIT}"):
        model.latent_shape(32, 32)


# --- silence ---------------------------------------------------------------------------------------------------------

SCRIPT = """
import sys
from accord.models import ModelSettings, SamplerSettings, open_model
assert not {"torch", "diffusers", "transformers", "peft"} & set(sys.modules), "heavy imports"
model = open_model(ModelSettings("sd15", sys.argv[1]))
model.generate(["a red circle " * 40], [1], SamplerSettings(2, 3.0, 32, 32))
"""


def test_a_process_that_generates_says_nothing_and_imports_nothing_early(folder_of):
    """The text is too long for CLIP, on which diffusers would comment."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder_of("sd15"))], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_parts_are_the_documented_four():
    assert ALL_PARTS == ("denoiser", "text", "vae", "scheduler")
