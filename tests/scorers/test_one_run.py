"""`accord score` over one run's images with every in-process scorer, tiny weights: one process, tables that join."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from test_blip_scorers import folder as blip_folder  # noqa: F401
from test_blip_scorers import reward_state, vqa_state  # noqa: F401
from test_hpsv3 import folder as hpsv3_folder  # noqa: F401
from test_mps import folder as mps_folder  # noqa: F401
from test_mps import weights  # noqa: F401
from test_vqascore import folder as llava_folder  # noqa: F401
from test_vqascore_flant5 import folder as flant5_folder  # noqa: F401
from test_vqascore_flant5 import state  # noqa: F401
from tiny_clip import open_clip_weights, save_tiny
from torch.overrides import TorchFunctionMode
from typer.testing import CliRunner

from accord import registry
from accord.artifacts import open_stage
from accord.cli.app import app
from accord.config import Config
from accord.engine.scorers import open_scorer
from accord.images import ImageRow, encode_image, image_id, write_images
from accord.manifest import load_manifest
from accord.runfile import dump_config
from accord.scorers.hpsv2 import FILE as HPS_2
from accord.scorers.hpsv2_1 import FILE as HPS_21
from accord.stages import generate
from accord.stages.score import score
from accord.tables import group_scores, read_scores, write_prompts
from accord.testing.tokenizers import clip_tokenizer
from accord.types import Prompt

PROMPTS = [Prompt.make(text, "test") for text in ("a red circle", "two blue squares", 'a "green" triangle on a circle')]


@pytest.fixture(scope="module")
def options(tmp_path_factory, blip_folder, mps_folder, llava_folder, flant5_folder, hpsv3_folder):  # noqa: F811
    """Scorer -> options that name its tiny weights."""
    path = tmp_path_factory.mktemp("one")
    quick, plain, hps = str(path / "quick"), str(path / "plain"), str(path / "hps")
    save_tiny(quick, "quick_gelu", 0)
    save_tiny(plain, "gelu", 1)
    clip_tokenizer().save_pretrained(hps)
    for seed, name in enumerate((HPS_2, HPS_21)):
        save_file(open_clip_weights(seed), f"{hps}/{name}.safetensors")
    sizes = (64, 1024, 128, 64, 16, 1)
    head, generator = {}, torch.Generator().manual_seed(0)
    for place, a, b in zip((0, 2, 4, 6, 7), sizes, sizes[1:], strict=False):
        head |= {
            f"layers.{place}.weight": torch.randn((b, a), generator=generator) / a**0.5,
            f"layers.{place}.bias": torch.zeros(b),
        }
    save_file(head, f"{quick}/sac+logos+ava1-l14-linearMSE.safetensors")
    return {
        "clip_score": {"path": quick},
        "clip_score_h14": {"path": plain, "convention": "logits"},
        "laion_aesthetic": {"path": quick, "head_path": quick},
        "pickscore": {"path": plain, "tokenizer_path": plain},
        "hpsv2": {"path": hps, "tokenizer_path": hps},
        "hpsv2.1": {"path": hps, "tokenizer_path": hps},
        "mps": {"path": mps_folder, "tokenizer_path": mps_folder},
        "image_reward": {"path": blip_folder, "tokenizer_path": blip_folder},
        "blip_vqa": {"path": blip_folder, "tokenizer_path": blip_folder, "questions": "prompt"},
        "hpsv3": {"path": hpsv3_folder, "base_path": hpsv3_folder, "dtype": "float32"},
        "vqascore": {"path": llava_folder, "dtype": "float32"},
        "vqascore_flant5": {"path": flant5_folder, "tokenizer_path": flant5_folder, "dtype": "float32"},
    }


def make_run(folder, options, **settings) -> Config:
    """A run whose images are drawn: three prompts with three pictures each, of several sizes, in two shards."""
    config = Config.model_validate(
        {
            "folder": str(folder),
            "score": {"scorers": list(options), "options": options, "batch_size": 4, **settings},
            "evaluate": {"held_out": [], "checker": ""},
            "engine": {"workers": 1},
            "model": {"device": "cpu"},
        }
    )
    stage = open_stage(folder, "generate", generate.settings(config))
    if not stage.is_finished:
        rng = np.random.default_rng(0)
        write_prompts(stage.folder / "prompts.parquet", PROMPTS)
        for part, prompts in enumerate((PROMPTS[:2], PROMPTS[2:])):
            rows = [
                ImageRow(image_id(p.id, i), p.id, i, 0, encode_image(pixels, "png"), pixels.shape[1], pixels.shape[0])
                for p in prompts
                for i in range(3)
                for pixels in [rng.integers(0, 256, (40 + 9 * i, 56 - 5 * i, 3), dtype=np.uint8)]
            ]
            write_images(stage.folder / f"part-{part:05d}.parquet", rows, 3)
        stage.finish({})
    return config


def tables(folder, options):
    return {name: read_scores(folder / "score" / name) for name in options}


def test_no_scorer_in_process_is_missing(options):
    official = {name for name in registry.TABLES["scorers"] if not name.startswith("world_")}
    assert official == set(options)


class OnlyTheCpuHasFloat64(TorchFunctionMode):
    """Pretends that tensors are on a device without float64, as Apple's GPUs are, until `.cpu()` brings them back."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is torch.Tensor.double and not hasattr(args[0], "came_back"):
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64")
        found = func(*args, **(kwargs or {}))
        if func is torch.Tensor.cpu:
            found.came_back = True
        return found


def test_no_scorer_needs_float64_on_its_device(options):
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (40, 56, 3), dtype=np.uint8) for _ in PROMPTS]
    for name, told in options.items():
        scorer = open_scorer(name, "cpu", told)
        with OnlyTheCpuHasFloat64():
            assert scorer.score(images, [prompt.text for prompt in PROMPTS]).dtype == np.float64


def test_all_scorers_score_one_run_and_their_tables_join(tmp_path, options):
    seen = []
    outcomes = score(make_run(tmp_path, options), progress=lambda done, total, what: seen.append((done, total)))
    assert seen == [(0, 2), (1, 2), (2, 2)]
    found = group_scores(tables(tmp_path, options))
    assert found.values.shape == (3, 3, len(options))
    assert np.isfinite(found.values).all()
    assert (found.values.std(axis=(0, 1)) > 0).all()
    for name in options:
        manifest = load_manifest(tmp_path / "score" / name)
        assert all(len(value) == 64 for value in manifest.facts["checkpoint"].values())
        assert manifest.facts["checkpoint"]
        assert manifest.facts["card"]["name"] == name
    assert load_manifest(tmp_path / "score" / "clip_score_h14").facts["card"]["bradley_terry_scale"] == 1
    assert not any(outcome.was_reused for outcome in outcomes.values())


def test_the_command_runs_them_in_one_go_and_finds_them_finished_the_next_time(tmp_path, options):
    (tmp_path / "run").mkdir()
    run_file = tmp_path / "run.toml"
    run_file.write_text(dump_config(make_run(tmp_path / "run", options)))
    first, second = (CliRunner().invoke(app, ["score", str(run_file)]) for _ in range(2))
    assert (first.exit_code, second.exit_code) == (0, 0), first.output + second.output
    assert np.isfinite(group_scores(tables(tmp_path / "run", options)).values).all()
    for name in options:
        assert f"score {name}" in first.output
    assert second.output.count("reused") == len(options)
    assert "reused" not in first.output


def test_a_killed_run_goes_on_to_the_same_bytes_and_turns_change_nothing(tmp_path, options):
    some = {name: options[name] for name in ("clip_score", "laion_aesthetic", "mps", "hpsv2.1")}
    for folder in ("whole", "killed", "turns"):
        (tmp_path / folder).mkdir()
    score(make_run(tmp_path / "whole", some))

    def kill(done, total, what):
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score(make_run(tmp_path / "killed", some), progress=kill)
    score(make_run(tmp_path / "killed", some))
    score(make_run(tmp_path / "turns", some, memory_gb=4.5))
    for name in some:
        for part in ("part-00000.parquet", "part-00001.parquet", "manifest.json"):
            whole = (tmp_path / "whole" / "score" / name / part).read_bytes()
            assert (tmp_path / "killed" / "score" / name / part).read_bytes() == whole
            assert (tmp_path / "turns" / "score" / name / part).read_bytes() == whole
    json.loads((tmp_path / "whole" / "score" / "mps" / "manifest.json").read_text())


def test_other_options_or_weights_make_a_table_stale(tmp_path, options):
    from accord.errors import StaleArtifact

    one = {"clip_score": options["clip_score"]}
    score(make_run(tmp_path, one))
    score(make_run(tmp_path, {"clip_score": {**one["clip_score"], "device": "cpu"}}))
    with pytest.raises(StaleArtifact, match=r"options.convention was None and is now 'hessel'"):
        score(make_run(tmp_path, {"clip_score": {**one["clip_score"], "convention": "hessel"}}))
