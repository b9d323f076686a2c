"""Equal weights have equal fingerprints, any change of weights or configuration shows."""

import shutil

import pytest

from accord.models import ModelSettings, open_model
from accord.models.fingerprint import hash_files, model_files


def fingerprint(folder, parts=("scheduler",)):
    return open_model(ModelSettings("sd15", str(folder)), parts).fingerprint()


@pytest.fixture
def copy(folder_of, tmp_path):
    return shutil.copytree(folder_of("sd15"), tmp_path / "copy")


def test_a_copy_has_the_same_hash_whatever_was_loaded(folder_of, copy):
    original = fingerprint(folder_of("sd15"), ("scheduler", "vae"))
    assert fingerprint(copy)["sha256"] == original["sha256"]
    assert len(original["sha256"]) == 64
    assert original["path"] == str(folder_of("sd15"))
    assert original["diffusers"]
    assert "adapter" not in original


@pytest.mark.parametrize(
    "name",
    ["unet/diffusion_pytorch_model.safetensors", "scheduler/scheduler_config.json", "tokenizer/tokenizer.json"],
)
def test_one_changed_byte_shows(name, copy):
    before = hash_files(copy, model_files(copy))
    data = bytearray((copy / name).read_bytes())
    data[-2] ^= 1
    (copy / name).write_bytes(data)
    assert hash_files(copy, model_files(copy)) != before


def test_files_that_loading_never_reads_do_not_count(copy):
    before = fingerprint(copy)["sha256"]
    (copy / "README.md").write_text("words")
    (copy / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"old weights")
    (copy / "safety_checker").mkdir()
    (copy / "safety_checker" / "model.safetensors").write_bytes(b"unused")
    assert fingerprint(copy)["sha256"] == before


def test_a_file_and_its_name_count(tmp_path):
    (tmp_path / "a.json").write_text("1")
    (tmp_path / "b.json").write_text("2")
    straight = hash_files(tmp_path, ["a.json", "b.json"])
    assert straight == hash_files(tmp_path, ["b.json", "a.json"])
    (tmp_path / "b.json").rename(tmp_path / "c.json")
    assert hash_files(tmp_path, ["a.json", "c.json"]) != straight
