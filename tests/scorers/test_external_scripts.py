"""The ready scripts: the template as a user fills it, and the others with stand-ins for their libraries."""

import sys

import numpy as np
import pytest

from accord.errors import ScorerStopped, ScoringError
from accord.outside import ExternalConfig
from accord.scorers.external.library import FOLDER, copy_script, scripts
from accord.scorers.external.scorer import ExternalScorer
from accord.testing.checks import check_scorer
from accord.testing.scorer_check import check_card

TENSORFLOW = "def constant(png):\n    return png\n"
HUB = """
import os
from io import BytesIO
import numpy
from PIL import Image

class Prediction:
    def __init__(self, value): self.value = value
    def numpy(self): return numpy.array([[self.value]], dtype=numpy.float32)

def load(model):
    print("loading", model, "on GPU", os.environ["CUDA_VISIBLE_DEVICES"])
    def predict(png):
        assert png[:4] == b"\\x89PNG"
        return {"predictions": Prediction(numpy.asarray(Image.open(BytesIO(png))).mean() / 255)}
    class Model:
        signatures = {"serving_default": predict}
    return Model
"""
TORCH = "import contextlib\nfloat16, float32 = 'float16', 'float32'\ninference_mode = contextlib.nullcontext\n"
TRANSFORMERS = """
import numpy

class AutoModelForCausalLM:
    @classmethod
    def from_pretrained(cls, model, **settings):
        assert settings["trust_remote_code"] and settings["attn_implementation"] == "eager"
        print("loading", model, settings["torch_dtype"], settings["device_map"][""])
        return cls()
    def score(self, images, task_=None, input_="image"):
        assert len(images) == 1 and input_ == "image"
        return [1 + 4 * numpy.asarray(images[0]).mean() / 255 + {"quality": -1e-3}.get(task_, 0)]
"""


@pytest.fixture
def opened(tmp_path):
    """Copy a script and start it in this interpreter, with stand-ins before what is installed."""
    stand_ins = tmp_path / "stand_ins"
    stand_ins.mkdir()
    modules = {"tensorflow": TENSORFLOW, "tensorflow_hub": HUB, "torch": TORCH, "transformers": TRANSFORMERS}
    for name, code in modules.items():
        (stand_ins / f"{name}.py").write_text(code)
    made = []

    def start(name, *arguments, device="cpu", edit=lambda code: code):
        script = copy_script(name, tmp_path / name)[0]
        script.write_text(edit(script.read_text()))
        command = (sys.executable, str(script), *arguments)
        config = ExternalConfig(command=command, environment={"PYTHONPATH": str(stand_ins)})
        made.append(ExternalScorer("mine", config, tmp_path / "log.txt", device))
        return made[-1]

    yield start
    for scorer in made:
        scorer.close()


def pictures(count=5):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (9, 7 + i, 3), dtype=np.uint8) for i in range(count)]


def grey(images):
    return np.array([image.mean() / 255 for image in images])


def test_there_are_four():
    assert scripts() == ["deqa", "q_align", "template", "vila_r"]
    assert all((FOLDER / f"{name}.requirements.txt").read_text().strip() for name in scripts())


def test_the_template_works_as_it_is(opened):
    scorer = opened("template")
    check_scorer(scorer, pictures(), list("abcde"))
    assert scorer.card.version == "brightness 1"


def test_the_template_filled_in_is_another_scorer(opened):
    def fill(code):
        code = code.replace('"name": "brightness"', '"name": "redness"').replace(
            '"uses_prompt": False', '"uses_prompt": True'
        )
        return code.replace(
            'return [ImageStat.Stat(image.convert("L")).mean[0] / 255 for image in images]',
            "return [ImageStat.Stat(i).mean[0] / 255 / (1 + len(p)) for i, p in zip(images, prompts)]",
        )

    scorer = opened("template", edit=fill)
    images = pictures()
    check_scorer(scorer, images, ["", "a", "bc", "def", "ghij"])
    assert scorer.card.version == "redness 1"
    assert scorer.score(images[:1], ["a"])[0] == pytest.approx(images[0][..., 0].mean() / 255 / 2)


def test_vila_takes_one_png_per_call_and_sees_only_its_device(opened, tmp_path, monkeypatch):
    images = pictures()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    scorer = opened("vila_r", device="cuda:1")
    check_scorer(scorer, images, list("abcde"))
    np.testing.assert_allclose(scorer.score(images, list("abcde")), grey(images), atol=1e-6)
    assert "loading https://tfhub.dev/google/vila/image/1 on GPU 1" in (tmp_path / "log.txt").read_text()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    opened("vila_r", "a/folder", device="cuda:1").score(images, list("abcde"))
    opened("vila_r").score(images, list("abcde"))
    log = (tmp_path / "log.txt").read_text()
    assert "loading a/folder on GPU 7" in log
    assert "on GPU -1" in log


def test_q_align_asks_for_its_task_and_deqa_for_quality(opened, tmp_path):
    images = pictures()
    aesthetics, quality, deqa = (
        opened("q_align"),
        opened("q_align", "quality", "a/folder"),
        opened("deqa", device="cuda:0"),
    )
    for scorer in (aesthetics, quality, deqa):
        check_scorer(scorer, images, list("abcde"))
    np.testing.assert_allclose(aesthetics.score(images, list("abcde")), 1 + 4 * grey(images))
    np.testing.assert_allclose(quality.score(images, list("abcde")), 1 + 4 * grey(images) - 1e-3)
    assert (aesthetics.card.version, quality.card.version) == (
        "q_align_aesthetics q-future/one-align",
        "q_align_quality a/folder",
    )
    assert not aesthetics.card.is_commercial_use_allowed
    assert "loading zhiyuanyou/DeQA-Score-Mix3 float16 cuda:0" in (tmp_path / "log.txt").read_text()


@pytest.mark.parametrize("name", scripts())
def test_cards_are_complete(opened, name):
    check_card(opened(name).card)


def test_without_its_library_a_script_says_which(opened, tmp_path):
    scorer = opened("vila_r")
    (tmp_path / "stand_ins" / "tensorflow_hub.py").unlink()
    with pytest.raises(ScorerStopped, match="ModuleNotFoundError: No module named 'tensorflow_hub'"):
        scorer.score(pictures(1), ["a"])


def test_a_task_that_is_none_is_told_at_the_start(opened):
    with pytest.raises(ScoringError, match="the first argument is aesthetics or quality, not 'beauty'"):
        opened("q_align", "beauty")


def test_copying_never_overwrites_what_was_changed(tmp_path):
    copied = copy_script("template", tmp_path)
    assert [path.name for path in copied] == ["template.py", "template.requirements.txt", "accord_serve.py"]
    copy_script("vila_r", tmp_path)
    copied[0].write_text("mine")
    with pytest.raises(ScoringError, match=r"template\.py is there already and differs"):
        copy_script("template", tmp_path)
    assert copied[0].read_text() == "mine"
    with pytest.raises(ScoringError, match="no ready script is called 'vila'; did you mean 'vila_r'"):
        copy_script("vila", tmp_path)
