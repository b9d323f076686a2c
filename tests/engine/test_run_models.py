"""Which model a run file means, and what tells that it was replaced."""

import pytest

from accord.engine.models import model_identity, model_path
from accord.errors import AccordError
from accord.runfile import parse_config


def identity(path):
    return model_identity(parse_config({"model": {"path": str(path)}}))


def test_replaced_weights_change_the_identity(tmp_path):
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "weights.safetensors").write_bytes(b"old")
    before = identity(tmp_path)
    assert identity(tmp_path) == before
    (tmp_path / "unet" / "weights.safetensors").write_bytes(b"new")
    assert identity(tmp_path)["weights"] != before["weights"]


def test_the_path_of_a_hub_model_is_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert identity("owner/name")["weights"] is None
    assert model_path("owner/name") == "owner/name"


def test_the_embedded_world_is_found_by_its_name():
    assert model_path("world:flow").endswith("flow")
    with pytest.raises(AccordError, match="accord world train"):
        model_path("world:none")
