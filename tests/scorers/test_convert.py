"""Official pickles become safetensors once; what holds more than tensors is refused and never run."""

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from accord.cli.app import app
from accord.errors import ScoringError
from accord.scorers.convert import convert

WEIGHTS = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(3.5, dtype=torch.float16)}


class Greeting:
    """Not a tensor."""


@pytest.mark.parametrize("nest", ["", "state_dict", "model"])
def test_tensors_are_kept_bit_by_bit_and_the_rest_is_left(tmp_path, nest):
    content = {nest: WEIGHTS, "epoch": 3} if nest else {**WEIGHTS, "epoch": 3}
    torch.save(content, tmp_path / "official.pt")
    found = load_file(convert(tmp_path / "official.pt"))
    assert found.keys() == WEIGHTS.keys()
    assert all(torch.equal(found[name], WEIGHTS[name]) and found[name].dtype == WEIGHTS[name].dtype for name in found)


def test_tied_and_transposed_tensors_are_written_out(tmp_path):
    tied = torch.randn(3, 4)
    torch.save({"a": tied, "b": tied, "c": tied.T}, tmp_path / "tied.pth")
    found = load_file(convert(tmp_path / "tied.pth", tmp_path / "out.safetensors"))
    assert torch.equal(found["a"], found["b"])
    assert torch.equal(found["c"], tied.T)


@pytest.mark.parametrize("content", [{"state_dict": WEIGHTS, "model": Greeting()}, torch.nn.Linear(2, 2)])
def test_a_file_with_code_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "whole.pt")
    with pytest.raises(ScoringError, match=r"holds more than tensors: it asks for \S+\.(Greeting|Linear);"):
        convert(tmp_path / "whole.pt")
    assert not (tmp_path / "whole.safetensors").exists()


def test_a_damaged_file_is_refused(tmp_path):
    torch.save(WEIGHTS, tmp_path / "half.pt")
    content = (tmp_path / "half.pt").read_bytes()
    for part in (content[: len(content) // 2], b"<html>not found</html>", b""):
        (tmp_path / "half.pt").write_bytes(part)
        with pytest.raises(ScoringError, match=r"half.pt is damaged, or no file of PyTorch; get it again"):
            convert(tmp_path / "half.pt")


@pytest.mark.parametrize(("content", "message"), [([1, 2], "holds a list"), ({"epoch": 3}, "holds no tensors")])
def test_a_file_of_another_kind_is_refused(tmp_path, content, message):
    torch.save(content, tmp_path / "odd.pt")
    with pytest.raises(ScoringError, match=message):
        convert(tmp_path / "odd.pt")


def test_the_command(tmp_path):
    torch.save(WEIGHTS, tmp_path / "official.pt")
    done = CliRunner().invoke(app, ["convert", str(tmp_path / "official.pt")])
    assert done.exit_code == 0
    assert "SHA-256" in done.output
    assert (tmp_path / "official.safetensors").is_file()
    torch.save(WEIGHTS, tmp_path / "second.bin")
    done = CliRunner().invoke(app, ["convert", *map(str, (tmp_path / "official.pt", tmp_path / "second.bin"))])
    assert done.output.count("SHA-256") == 2
    two = [str(tmp_path / "official.pt"), str(tmp_path / "second.bin"), "--output", str(tmp_path / "one.safetensors")]
    refused = CliRunner().invoke(app, ["convert", *two])
    assert "--output names one file" in str(refused.exception)
    with pytest.raises(ScoringError, match="there is no file"):
        convert(tmp_path / "none.pt")
