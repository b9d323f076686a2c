"""Large scorers where they are put: quantised, in pieces on several places, and refused where that cannot be."""

import numpy as np
import pytest
import torch
from test_hpsv3 import PIXELS, SHORT, SMALL, TEXTS
from test_hpsv3 import folder as hpsv3_folder  # noqa: F401
from test_vqascore import folder as llava_folder  # noqa: F401
from test_vqascore_flant5 import folder as flant5_folder  # noqa: F401
from test_vqascore_flant5 import state  # noqa: F401

from accord.errors import MissingDependency
from accord.scorers.hpsv3 import HpsV3, SmartResize
from accord.scorers.placement import Placement
from accord.scorers.vqascore import VqaScore
from accord.scorers.vqascore_flant5 import VqaScoreFlanT5

LARGE = ("hpsv3", "vqascore", "vqascore_flant5")
IN_PIECES = {  # layers on the disk, the rest in memory
    "hpsv3": {
        "visual": "cpu", "language_model.embed_tokens": "cpu", "language_model.layers.0": "cpu",
        "language_model.layers.1": "disk", "language_model.norm": "cpu", "language_model.rotary_emb": "cpu",
    },
    "vqascore": {
        "model.vision_tower": "cpu", "model.multi_modal_projector": "cpu", "lm_head": "cpu",
        "model.language_model.embed_tokens": "cpu", "model.language_model.layers.0": "cpu",
        "model.language_model.layers.1": "disk", "model.language_model.norm": "cpu",
        "model.language_model.rotary_emb": "cpu",
    },
    "vqascore_flant5": {"shared": "cpu", "encoder": "disk", "decoder": "cpu", "lm_head": "cpu"},
}  # fmt: skip


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (*shape, 3), dtype=np.uint8) for shape in SMALL]


@pytest.fixture(scope="module")
def large(hpsv3_folder, llava_folder, flant5_folder):  # noqa: F811
    """Open one of the large scorers, tiny, in float32."""

    def make(name, **options):
        options = {"dtype": "float32", **options}
        if name == "vqascore":
            return VqaScore(path=llava_folder, **options)
        if name == "vqascore_flant5":
            return VqaScoreFlanT5(path=flant5_folder, tokenizer_path=flant5_folder, **options)
        scorer = HpsV3(path=hpsv3_folder, base_path=hpsv3_folder, **options)
        scorer.preprocessing, scorer.rubric = SmartResize(PIXELS), SHORT  # 300 tokens a row instead of 3,000
        return scorer

    return make


def num_quantised(scorer):
    bnb = pytest.importorskip("bitsandbytes")
    model = scorer.network.language if hasattr(scorer, "network") else scorer.model
    return sum(isinstance(each, bnb.nn.Linear8bitLt | bnb.nn.Linear4bit) for each in model.modules())


@pytest.mark.parametrize("name", LARGE)
@pytest.mark.parametrize(("quantise", "tolerance"), [("8bit", 0.6), ("4bit", 4.0)])
def test_quantised_weights_score_on_a_cpu_each_row_for_itself(large, images, name, quantise, tolerance):
    """`tolerance`: of the mean distance to float32, in deviations of the scores of these random weights."""
    exact = large(name).score(images, TEXTS)
    scorer = large(name, quantise=quantise)
    assert num_quantised(scorer) > 8
    found = scorer.score(images, TEXTS)
    distance = np.abs(found - exact).mean() / exact.std()
    assert 1e-3 < distance < tolerance
    alone = [scorer.score(images[i : i + 1], TEXTS[i : i + 1])[0] for i in range(len(TEXTS))]
    np.testing.assert_allclose(found, alone, rtol=1e-5)


def test_8_bits_together_would_let_rows_feel_their_neighbours(large, images):
    pytest.importorskip("bitsandbytes")
    scorer = large("hpsv3", quantise="8bit")
    found = scorer.score(images, TEXTS)
    scorer.is_row_by_row = False
    assert np.abs(scorer.score(images, TEXTS) - found).max() > 1e-2


@pytest.mark.parametrize("name", LARGE)
def test_a_model_that_the_library_places_scores_the_same(large, images, name, monkeypatch, tmp_path):
    exact = large(name).score(images, TEXTS)
    np.testing.assert_array_equal(large(name, spread=True).score(images, TEXTS), exact)
    options = Placement(dtype="float32").options() | {"device_map": IN_PIECES[name], "offload_folder": tmp_path}
    monkeypatch.setattr(Placement, "options", lambda self: options)
    scorer = large(name)
    model = scorer.network.language if hasattr(scorer, "network") else scorer.model
    assert {each.device.type for each in model.parameters()} == {"cpu", "meta"}  # the second: on the disk
    np.testing.assert_array_equal(scorer.score(images, TEXTS), exact)


def test_a_missing_library_is_named(large, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingDependency, match=r"pip install 'bitsandbytes>=0\.50', or set quantise to no"):
        large("vqascore_flant5", quantise="8bit")


def test_placement_reaches_the_library(monkeypatch):
    assert Placement("cuda:1", "float16").options() == {"dtype": torch.float16, "device_map": {"": "cuda:1"}}
    assert Placement(spread=True).options()["device_map"] == "auto"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    assert Placement("cuda", quantise="8bit").options()["quantization_config"].load_in_8bit
    four = Placement("cuda", quantise="4bit").options()["quantization_config"]
    assert (four.load_in_4bit, four.bnb_4bit_quant_type) == (True, "nf4")
    assert four.bnb_4bit_compute_dtype == torch.bfloat16
