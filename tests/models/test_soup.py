"""Soups: the average of what several runs trained, as plain diffusers computes it from the file."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import peft
import pytest
import safetensors.torch
import torch
from test_model_generate import plain_pipeline
from tiny_models import SAMPLER, TEXTS
from typer.testing import CliRunner

from accord.cli.app import app
from accord.errors import AccordError, ModelError
from accord.files import sha256
from accord.manifest import Manifest
from accord.models import ModelSettings, open_model
from accord.models.adapters import LORA_FILE
from accord.models.quiet import quiet
from accord.models.soup import RECORD, soup
from accord.models.soup_lora import Factors, side_by_side

CONV = ("conv1", "conv_in", "conv_shortcut")  # kernels of 3 x 3 and of 1 x 1
BASE = {"family": "sd15", "path": "p", "revision": None, "dtype": "float32", "weights": "abc"}


@dataclass(frozen=True)
class Kind:
    """How one run of a test is trained."""

    seed: int
    rank: int = 2
    alpha: float = 3.0
    extra: tuple[str, ...] = ()  # targets beside the family's own
    only: tuple[str, ...] = ()  # targets instead of the family's own
    options: tuple[tuple[str, object], ...] = ()


def denoiser_of(pipeline):
    return pipeline.unet if hasattr(pipeline, "unet") else pipeline.transformer


def adapter(folder_of, family, kind, folder):
    """Save an adapter that changes the model visibly; return the denoiser's weights with it merged, in float64."""
    model = open_model(ModelSettings(family, str(folder_of(family))), ("denoiser",))
    targets = [*(kind.only or model.lora_targets), *kind.extra]
    config = peft.LoraConfig(r=kind.rank, lora_alpha=kind.alpha, target_modules=targets, **dict(kind.options))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(kind.seed)
        policy = peft.get_peft_model(model.denoiser, config)
        for name, parameter in policy.named_parameters():
            if ".lora_B." in name:
                torch.nn.init.normal_(parameter, std=0.1)
    model.save_adapter(peft.get_peft_model_state_dict(policy), folder, policy.peft_config["default"])
    return doubles(policy.merge_and_unload())


def doubles(module):
    return {name: tensor.double() for name, tensor in module.state_dict().items()}


def merged_by_diffusers(folder_of, family, folder):
    """Return the denoiser's weights after plain diffusers merged the adapter into them."""
    pipeline = plain_pipeline(folder_of(family))
    with quiet():
        pipeline.load_lora_weights(folder)
        pipeline.fuse_lora(components=["unet" if hasattr(pipeline, "unet") else "transformer"])
        pipeline.unload_lora_weights()
    return doubles(denoiser_of(pipeline))


def assert_equal_weights(found, expected):
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-6, atol=3e-7, msg=lambda m, n=name: f"{n}: {m}")


def tuned(folder_of, folder, seed, dtype=torch.float32, **options):
    """Save a fully tuned denoiser of sd15; return its weights in float64."""
    model = open_model(ModelSettings("sd15", str(folder_of("sd15"))), ("denoiser",))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.denoiser.parameters():
            parameter.mul_(1 + 0.1 * torch.randn(parameter.shape, generator=generator))
    denoiser = model.denoiser.to(dtype)
    denoiser.save_pretrained(folder, **options)
    return doubles(denoiser)


def run_folder(folder, base, is_finished=True):
    """Make the folder a run's whose adapter, at `train/adapter`, began with this model."""
    if is_finished:
        Manifest("train", {"model": base}, {}, {}, {}).save(folder / "train")
    return folder


# --- LoRA -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "extra"), [("sd15", CONV), ("world", CONV), ("sdxl", ()), ("sd3", ()), ("flux", ())]
)
def test_a_soup_is_the_mean_of_the_merged_weights(family, extra, folder_of, tmp_path):
    kinds = [
        Kind(1, rank=2, alpha=3.0, extra=extra),
        Kind(2, rank=4, alpha=1.0, options=(("use_rslora", True), ("alpha_pattern", {"to_v": 5.0}))),
        Kind(3, rank=3, alpha=7.0, only=("to_q", "to_out.0"), options=(("rank_pattern", {"to_q": 1}),)),
    ]
    folders = [tmp_path / name for name in "abc"]
    merged = [adapter(folder_of, family, *each) for each in zip(kinds, folders, strict=True)]
    weights = [0.5, 0.3, 0.2]
    record = soup(folders, tmp_path / "soup", weights)
    expected = {name: sum(w * m[name] for w, m in zip(weights, merged, strict=True)) for name in merged[0]}
    found = merged_by_diffusers(folder_of, family, tmp_path / "soup")
    assert_equal_weights(found, expected)
    base = doubles(denoiser_of(plain_pipeline(folder_of(family))))
    assert max((expected[name] - base[name]).abs().max() for name in base) > 0.02  # the adapters did something
    tensors = safetensors.torch.load_file(tmp_path / "soup" / LORA_FILE)
    ranks = {key.split(".")[-3]: len(tensor) for key, tensor in tensors.items() if ".lora_A." in key}
    assert ranks["to_q"] == 2 + 4 + 1
    assert ranks["to_v"] == 2 + 4
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float32}
    assert record["rank"] == 9  # to_out.0: 2 + 4 + 3


@pytest.mark.parametrize("family", ["sd15", "sd3"])
def test_plain_diffusers_and_accord_draw_the_same_with_a_soup(family, folder_of, tmp_path):
    for seed in (1, 2):
        adapter(folder_of, family, Kind(seed, rank=seed, alpha=30.0), tmp_path / str(seed))
    soup([tmp_path / "1", tmp_path / "2"], tmp_path / "soup")
    model = open_model(ModelSettings(family, str(folder_of(family))))
    base = model.generate(TEXTS[:1], [1], SAMPLER)
    model.load_adapter(tmp_path / "soup")
    drawn = model.generate(TEXTS[:1], [1], SAMPLER)
    pixels = drawn.images[0].astype(int)
    assert np.abs(pixels - base.images[0]).max() > 4  # of which 1 is rounding
    pipeline = plain_pipeline(folder_of(family))
    pipeline.load_lora_weights(tmp_path / "soup")
    with quiet():
        plain = pipeline(
            TEXTS[0], num_inference_steps=3, guidance_scale=3.0, height=32, width=32,
            generator=torch.Generator().manual_seed(1),
        ).images[0]  # fmt: skip
    assert np.abs(pixels - np.asarray(plain).astype(int)).max() <= 1


def test_a_soup_of_one_is_that_one(folder_of, tmp_path):
    expected = adapter(folder_of, "sd15", Kind(1, rank=4, alpha=11.0, extra=CONV), tmp_path / "one")
    soup([tmp_path / "one"], tmp_path / "soup", [1.0])
    assert_equal_weights(merged_by_diffusers(folder_of, "sd15", tmp_path / "soup"), expected)


def test_a_soup_can_be_an_ingredient(folder_of, tmp_path):
    merged = [adapter(folder_of, "sd15", Kind(seed, extra=CONV), tmp_path / str(seed)) for seed in (1, 2, 3)]
    soup([tmp_path / "1", tmp_path / "2"], tmp_path / "inner")
    soup([tmp_path / "inner", tmp_path / "3"], tmp_path / "outer", [0.5, 0.5])
    expected = {name: 0.25 * merged[0][name] + 0.25 * merged[1][name] + 0.5 * merged[2][name] for name in merged[0]}
    assert_equal_weights(merged_by_diffusers(folder_of, "sd15", tmp_path / "outer"), expected)


def test_the_scale_needs_no_notes_in_the_file(folder_of, tmp_path):
    """Programs that read no alpha take the scale to be 1; without notes in an ingredient, so does a soup."""
    expected = adapter(folder_of, "sd15", Kind(1, alpha=9.0), tmp_path / "one")
    soup([tmp_path / "one"], tmp_path / "soup")
    file = tmp_path / "bare" / LORA_FILE
    file.parent.mkdir()
    safetensors.torch.save_file(safetensors.torch.load_file(tmp_path / "soup" / LORA_FILE), file)
    assert_equal_weights(merged_by_diffusers(folder_of, "sd15", file.parent), expected)
    soup([file.parent], tmp_path / "again")
    assert_equal_weights(merged_by_diffusers(folder_of, "sd15", tmp_path / "again"), expected)


@pytest.mark.parametrize("groups", [1, 2])
def test_factors_stand_side_by_side_within_each_group_of_a_convolution(groups):
    generator = torch.Generator().manual_seed(0)
    parts = [
        Factors(
            torch.randn(rank, 6, 3, 3, generator=generator),
            torch.randn(8, rank // groups, 1, 1, generator=generator),
            scale,
        )
        for rank, scale in ((2, 1.5), (4, 0.3))
    ]
    weights, inputs = (0.4, 0.6), torch.randn(2, 6, 5, 5, generator=generator)

    def change(part):
        inner = torch.nn.functional.conv2d(inputs, part.a)
        return part.scale * torch.nn.functional.conv2d(inner, part.b, groups=groups)

    mixed = side_by_side(parts, weights)
    assert (mixed.scale, mixed.groups, len(mixed.a)) == (1.0, groups, 6)
    torch.testing.assert_close(change(mixed), sum(w * change(part) for w, part in zip(weights, parts, strict=True)))


def test_equal_soups_are_equal_files_and_the_record_says_of_what(folder_of, tmp_path):
    for seed in (1, 2):
        adapter(folder_of, "sd15", Kind(seed), run_folder(tmp_path / str(seed), BASE) / "train" / "adapter")
    given = [tmp_path / "1", tmp_path / "2" / "train" / "adapter"]  # a run, and the adapter of one
    records = [soup(given, tmp_path / name, [0.25, 0.75]) for name in ("x", "y")]
    assert records[0] == records[1] == json.loads((tmp_path / "x" / RECORD).read_text())
    for name in (LORA_FILE, RECORD):
        assert (tmp_path / "x" / name).read_bytes() == (tmp_path / "y" / name).read_bytes()
    record = records[0]
    assert record["base"] == {"family": "sd15", "path": "p", "revision": None, "weights": "abc"}
    assert [(each["path"], each["weight"]) for each in record["ingredients"]] == [
        (str(given[0]), 0.25),
        (str(given[1]), 0.75),
    ]
    assert record["ingredients"][1]["sha256"] == {LORA_FILE: sha256(given[1] / LORA_FILE)}
    assert record["files"] == {LORA_FILE: sha256(tmp_path / "x" / LORA_FILE)}


# --- whole denoisers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-7), (torch.bfloat16, 2**-8)])
@pytest.mark.parametrize("options", [{}, {"max_shard_size": "200KB"}], ids=["one_file", "shards"])
def test_whole_denoisers_are_averaged_and_keep_their_type(dtype, tolerance, options, folder_of, tmp_path):
    folders = [tmp_path / name for name in "ab"]
    weights = [tuned(folder_of, folder, seed, dtype, **options) for seed, folder in enumerate(folders)]
    record = soup(folders, tmp_path / "soup", [0.75, 0.25])
    files = sorted(tmp_path.glob("soup/*.safetensors"))
    assert [path.name for path in files] == sorted(record["ingredients"][0]["sha256"])
    assert (len(files) > 1) is bool(options)
    assert {t.dtype for path in files for t in safetensors.torch.load_file(path).values()} == {dtype}
    model = open_model(ModelSettings("sd15", str(folder_of("sd15"))))
    found = type(model.denoiser).from_pretrained(tmp_path / "soup", dtype=dtype)
    for name, tensor in doubles(found).items():
        expected = 0.75 * weights[0][name] + 0.25 * weights[1][name]
        torch.testing.assert_close(tensor, expected, rtol=tolerance, atol=1e-8)
    model.load_adapter(tmp_path / "soup")
    assert_equal_weights(doubles(model.denoiser), doubles(found))
    soup([tmp_path / "soup"], tmp_path / "again")
    for file in files:
        assert file.read_bytes() == (tmp_path / "again" / file.name).read_bytes()


def test_whole_denoisers_of_other_models_are_refused(folder_of, tmp_path):
    tuned(folder_of, tmp_path / "sd15", 0)
    sdxl = open_model(ModelSettings("sdxl", str(folder_of("sdxl"))), ("denoiser",))
    sdxl.save_full(sdxl.denoiser, tmp_path / "sdxl")
    with pytest.raises(ModelError, match=r"'.*sd15' and '.*sdxl' were trained from different models: addition_embed"):
        soup([tmp_path / "sd15", tmp_path / "sdxl"], tmp_path / "soup")
    tuned(folder_of, tmp_path / "half", 0, torch.bfloat16)
    with pytest.raises(ModelError, match=r"float32 and \(.*bfloat16"):
        soup([tmp_path / "sd15", tmp_path / "half"], tmp_path / "soup2")
    assert not list(tmp_path.glob("soup*/config.json"))


# --- mistakes -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(folder_of, tmp_path_factory) -> Path:
    """Return a folder of ingredients, good and bad ones, that tests only read."""
    place = tmp_path_factory.mktemp("ingredients")
    adapter(folder_of, "sd15", Kind(1), place / "lora")
    adapter(folder_of, "sd3", Kind(1), place / "sd3")
    adapter(folder_of, "sd15", Kind(1, options=(("use_dora", True),)), place / "dora")
    tuned(folder_of, place / "full", 0)
    (place / "empty").mkdir()
    for name, base in (("run", BASE), ("other", BASE | {"weights": "def"}), ("unfinished", None)):
        target = run_folder(place / name, base, is_finished=base is not None) / "train" / "adapter"
        target.mkdir(parents=True)
        (target / LORA_FILE).write_bytes((place / "lora" / LORA_FILE).read_bytes())
    tensors = safetensors.torch.load_file(place / "lora" / LORA_FILE)
    first = sorted(tensors)[0]
    wide = {key: torch.cat([tensor, tensor], dim=-1) for key, tensor in tensors.items() if "lora_A" in key}
    changed = {
        "foreign": {"lora_unet_down.lora_down.weight": tensors[first]},
        "half": {key: tensor for key, tensor in tensors.items() if key != first},
        "nan": tensors | {first: tensors[first] * float("nan")},
        "wide": tensors | wide,
    }
    for name, content in changed.items():
        (place / name).mkdir()
        safetensors.torch.save_file(content, place / name / LORA_FILE)
    (place / "damaged").mkdir()
    (place / "damaged" / LORA_FILE).write_bytes(b"no tensors")
    return place


MISTAKES = [
    (["absent"], "", "there is no folder '.*absent': give a run folder"),
    (["empty"], "", r"empty' holds no adapter: neither pytorch_lora_weights\.safetensors nor"),
    (["unfinished"], "", "unfinished' has not finished training; run `accord train`"),
    (["lora", "lora"], "1", r"a soup of 2 run\(s\) needs 2 weight\(s\), found 1"),
    (["lora", "lora"], "0.5,0.6", r"at least 0 and sum to 1, found 0\.5, 0\.6"),
    (["lora", "lora"], "1.5,-0.5", "at least 0 and sum to 1"),
    (["lora", "lora"], "nan,1", "at least 0 and sum to 1"),
    (["lora", "lora"], "half,half", "needs numbers with commas between, such as 0.5,0.5, not 'half,half'"),
    (["lora", "full"], "", "LoRA and fully tuned weights cannot be averaged: '.*lora' holds an adapter and '.*full'"),
    (["full", "lora"], "", "LoRA and fully tuned weights cannot be averaged: '.*lora' holds an adapter and '.*full'"),
    (
        ["run", "other"],
        "",
        r"one base model, but '.*run' began with sd15 'p' \(abc\) and '.*other' with sd15 'p' \(def\)",
    ),
    (["lora", "wide"], "", "'.*lora' and '.*wide' were trained from different models: the layer unet"),
    (["dora"], "", r"cannot be averaged exactly: it is no plain LoRA \(unet\.use_dora is set\)"),
    (["foreign"], "", "lora_unet_down.lora_down.weight is no LoRA factor in diffusers' layout"),
    (["half"], "", "is damaged: .* has one factor of two"),
    (["nan"], "", "holds numbers that are not finite"),
    (["damaged"], "", "cannot be read: "),
]


@pytest.mark.parametrize(
    ("names", "weights", "message"), MISTAKES, ids=lambda v: "+".join(v) if isinstance(v, list) else ""
)
def test_a_mistake_is_one_clear_line_and_writes_nothing(names, weights, message, made, tmp_path):
    words = ["soup", str(tmp_path / "out"), *(str(made / name) for name in names)]
    done = CliRunner().invoke(app, words + (["--weights", weights] if weights else []))
    assert isinstance(done.exception, AccordError)
    text = str(done.exception)
    assert "\n" not in text
    with pytest.raises(AccordError, match=message):
        raise done.exception
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_not_empty_is_left_alone(made, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    for taken in (tmp_path, tmp_path / "mine.txt"):
        with pytest.raises(ModelError, match="not empty: choose a new folder"):
            soup([made / "lora"], taken)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_no_runs_make_no_soup(tmp_path):
    with pytest.raises(ModelError, match="at least one run"):
        soup([], tmp_path / "out")


def test_a_soup_remembers_its_base_model(made, tmp_path):
    soup([made / "run", made / "lora"], tmp_path / "inner")  # nothing is known of the second
    with pytest.raises(ModelError, match="one base model"):
        soup([tmp_path / "inner", made / "other"], tmp_path / "outer")
    assert soup([tmp_path / "inner", made / "run"], tmp_path / "outer")["base"]["weights"] == "abc"
    moved = run_folder(tmp_path / "moved", BASE | {"path": "elsewhere", "dtype": "bfloat16"})
    (moved / "train" / "adapter").mkdir()
    (moved / "train" / "adapter" / LORA_FILE).write_bytes((made / "lora" / LORA_FILE).read_bytes())
    assert soup([made / "run", moved], tmp_path / "same")["base"]["path"] == "p"  # the same files, in another place
    hub = run_folder(tmp_path / "hub", BASE | {"path": "owner/name", "weights": None})
    (hub / "train" / "adapter").mkdir()
    (hub / "train" / "adapter" / LORA_FILE).write_bytes((made / "lora" / LORA_FILE).read_bytes())
    with pytest.raises(ModelError, match=r"and '.*hub' with sd15 'owner/name'$"):
        soup([made / "run", hub], tmp_path / "mixed")


def test_the_command_writes_what_the_function_does(made, tmp_path):
    done = CliRunner().invoke(
        app, ["soup", str(tmp_path / "a"), str(made / "run"), str(made / "lora"), "--weights", "0.5,0.5"]
    )
    assert done.exit_code == 0, done.output
    assert "soup of 2 run(s), rank 4" in " ".join(done.output.split())
    soup([made / "run", made / "lora"], tmp_path / "b")
    assert (tmp_path / "a" / RECORD).read_bytes() == (tmp_path / "b" / RECORD).read_bytes()
