"""Training starts, goes on after an interruption to the same bits, and gives a folder that diffusers opens."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file

from accord.errors import ConfigError, StaleArtifact, TrainingError
from accord.world.architecture import make_scheduler
from accord.world.checkpoint import load_checkpoint
from accord.world.muon import muon_direction, orthogonalised, owners
from accord.world.objectives import epsilon_batch, flow_batch, objective_named
from accord.world.rates import late_linear, warm_cosine
from accord.world.train import Sizes, train_world
from accord.world.train_denoiser import make_model, muon_names

SIZES = Sizes(
    pictures=24,
    vae_samples=24,
    vae_batch=4,
    vae_widths=(8, 8, 8),
    denoiser_samples=(48, 32),
    denoiser_batch=4,
    unet_widths=(16, 16),
    log_every=2,
    save_every=2,
    measured=0,
)
WEIGHTS = ("vae/diffusion_pytorch_model", "unet/diffusion_pytorch_model", "text_encoder/model")


class Interrupted(Exception):
    pass


def stop_at(*lines: str):
    """A progress function that interrupts once at each line that starts so."""
    left = list(lines)

    def progress(line: str) -> None:
        if left and line.startswith(left[0]):
            left.pop(0)
            raise Interrupted

    return progress


def silent(line: str) -> None:
    """Take a line of progress and say nothing."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_world(tmp_path_factory.mktemp("whole"), SIZES, seed=1, progress=silent)


def test_resumed_equals_uninterrupted(trained: Path, tmp_path: Path) -> None:
    progress = stop_at("vae step 4", "encoding", "denoiser_1 step 8", "denoiser_2 step 4")
    for _ in range(4):
        with pytest.raises(Interrupted):
            train_world(tmp_path, SIZES, seed=1, progress=progress)
    resumed = train_world(tmp_path, SIZES, seed=1, progress=progress)
    for name in WEIGHTS:
        whole, parts = load_file(trained / f"{name}.safetensors"), load_file(resumed / f"{name}.safetensors")
        assert whole.keys() == parts.keys()
        assert all(torch.equal(whole[key], parts[key]) for key in whole), name
    for line, other in zip(curve(trained), curve(resumed), strict=True):
        assert {**line, "seconds": 0} == {**other, "seconds": 0}


def test_another_seed_gives_other_weights(trained: Path) -> None:
    ours = load_file(trained / "unet" / "diffusion_pytorch_model.safetensors")
    fresh = make_model(2, SIZES.unet_widths).unet.state_dict()
    assert not torch.equal(ours["conv_in.weight"], fresh["conv_in.weight"].half())


def curve(pipeline: Path) -> list[dict]:
    return [json.loads(line) for line in (pipeline / "curves.jsonl").read_text().splitlines()]


def test_losses_fall_and_curves_count_samples(trained: Path) -> None:
    for part, batch, steps in (("vae", 4, 6), ("denoiser_1", 4, 12), ("denoiser_2", 4, 8)):
        lines = [line for line in curve(trained) if line["part"] == part]
        assert [line["step"] for line in lines] == list(range(2, steps + 1, 2))
        assert [line["samples"] for line in lines] == [batch * line["step"] for line in lines]
        assert lines[-1]["loss"] < lines[0]["loss"] or part == "denoiser_2"  # a short second stage may not improve


def test_folder_opens_in_diffusers_and_draws(trained: Path) -> None:
    pipeline = StableDiffusionPipeline.from_pretrained(trained, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    images = pipeline(["a circle", ""], num_inference_steps=2, height=32, width=32, output_type="np").images
    assert images.shape == (2, 32, 32, 3)
    assert np.isfinite(images).all()
    assert "not measured" in (trained / "README.md").read_text()
    latents = np.load(trained.parent / "latents.npy").astype(np.float32)
    assert float(np.std(latents * pipeline.vae.config.scaling_factor)) == pytest.approx(1.0, abs=0.02)


def test_other_settings_need_another_folder(trained: Path) -> None:
    with pytest.raises(StaleArtifact, match="other settings"):
        train_world(trained.parent, replace(SIZES, pictures=25), seed=1, progress=silent)


def test_another_number_of_workers_is_refused(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accord.world.checkpoint.workers", lambda: 2)
    with pytest.raises(TrainingError, match="trained with 1 workers"):
        load_checkpoint(trained.parent / "vae_training")


def test_too_few_samples_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="fewer than one step"):
        train_world(tmp_path, replace(SIZES, vae_samples=3), progress=silent)


def test_unknown_objective_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown objective 'score'"):
        train_world(tmp_path / "new", SIZES, objective="score", progress=silent)
    assert not (tmp_path / "new").exists()


def test_flow_batch_lies_on_the_straight_path() -> None:
    x0 = torch.randn((64, 2, 3, 3), generator=torch.Generator().manual_seed(0))
    batch = flow_batch(x0, torch.Generator().manual_seed(1))
    t = (batch.timesteps / 1000.0).view(-1, 1, 1, 1)
    assert torch.allclose(batch.noisy - t * batch.target, x0, atol=1e-5)
    assert torch.allclose(batch.noisy + (1.0 - t) * batch.target, batch.target + x0, atol=1e-5)
    assert batch.timesteps.min() > 0
    assert batch.timesteps.max() < 1000


def test_epsilon_batch_follows_the_scheduler_of_diffusers() -> None:
    from diffusers import DDPMScheduler

    x0 = torch.randn((64, 2, 3, 3), generator=torch.Generator().manual_seed(0))
    batch = epsilon_batch(x0, torch.Generator().manual_seed(1))
    scheduler = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    assert torch.equal(make_scheduler("epsilon").alphas_cumprod, scheduler.alphas_cumprod)
    expected = scheduler.add_noise(x0, batch.target, batch.timesteps.long())
    assert torch.allclose(batch.noisy, expected, atol=1e-4)
    assert objective_named("epsilon") is epsilon_batch


def test_both_objectives_have_the_same_loss() -> None:
    x0 = torch.randn((64, 2, 3, 3), generator=torch.Generator().manual_seed(0))
    batch = epsilon_batch(x0, torch.Generator().manual_seed(1))
    alpha_bar = make_scheduler("epsilon").alphas_cumprod[batch.timesteps.long()].view(-1, 1, 1, 1)
    size = alpha_bar.sqrt() + (1.0 - alpha_bar).sqrt()
    t, x_t = (1.0 - alpha_bar).sqrt() / size, batch.noisy / size
    assert torch.allclose(x_t, (1.0 - t) * x0 + t * batch.target, atol=1e-5)
    velocity = torch.randn(x0.shape, generator=torch.Generator().manual_seed(2))  # of any model
    of_noise = batch.weight * ((x_t + (1.0 - t) * velocity - batch.target) ** 2).mean(dim=(1, 2, 3))
    of_velocity = ((velocity - (batch.target - x0)) ** 2).mean(dim=(1, 2, 3))
    assert torch.allclose(of_noise, of_velocity, rtol=1e-3)


def test_both_objectives_have_the_same_noise_levels() -> None:
    x0 = torch.zeros((512, 1, 1, 1))
    t = flow_batch(x0, torch.Generator().manual_seed(1)).timesteps / 1000.0
    # Both draw the noise first, then the level.
    alpha_bar = make_scheduler("epsilon").alphas_cumprod
    levels = (1.0 - alpha_bar).sqrt() / (alpha_bar.sqrt() + (1.0 - alpha_bar).sqrt())
    found = levels[epsilon_batch(x0, torch.Generator().manual_seed(1)).timesteps.long()]
    inside = t < levels.max()  # the schedule of Stable Diffusion ends before pure noise
    assert inside.float().mean() > 0.9
    assert torch.allclose(found[inside], t[inside], atol=0.03)
    assert (found[~inside] == levels.max()).all()


@pytest.mark.parametrize("shape", [(5, 8), (8, 5), (6, 6)])
def test_muon_moves_singular_values_to_about_one(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(3))
    values = torch.linalg.svdvals(orthogonalised(matrix))
    assert torch.linalg.svdvals(matrix).max() > 2.0
    assert values.min() > 0.3
    assert values.max() < 1.3
    tall = muon_direction(matrix, torch.zeros(shape))
    scale = max(1.0, shape[0] / shape[1]) ** 0.5
    assert torch.allclose(tall, scale * orthogonalised(matrix), atol=1e-4)


def test_muon_gets_hidden_weights_only() -> None:
    model = make_model(0, (16, 16))
    names = muon_names(model)
    weights = dict(model.named_parameters())
    assert all(name.startswith("unet.") and weights[name].ndim >= 2 for name in names)
    assert not any("conv_in" in name or "time_emb" in name for name in names)
    assert len(names) > 50


def test_owners_share_the_work() -> None:
    weights = [torch.zeros(n) for n in (10, 9, 8, 1, 1, 1)]
    owner = owners(weights, 3)
    assert [sum(w.numel() for w, o in zip(weights, owner, strict=True) if o == k) for k in range(3)] == [10, 10, 10]


@pytest.mark.parametrize("rate", [warm_cosine, late_linear])
def test_rates_rise_then_fall(rate) -> None:
    values = [rate(step, 1000) for step in range(1000)]
    assert 0 < values[0] < 0.1
    assert max(values) > 0.95
    assert values[-1] < 0.01
    assert all(0.0 <= value <= 1.0 for value in values)


@pytest.mark.slow
def test_two_workers_repeat_themselves(trained: Path, tmp_path: Path) -> None:
    first, second = (train_world(tmp_path / name, SIZES, workers=2, seed=1, progress=silent) for name in ("a", "b"))
    for name in WEIGHTS:
        one, two = load_file(first / f"{name}.safetensors"), load_file(second / f"{name}.safetensors")
        assert all(torch.equal(one[key], two[key]) for key in one), name
    lines = [line for line in curve(first) if line["part"] == "vae"]
    assert [line["samples"] for line in lines] == [8 * line["step"] for line in lines]
    assert len(lines) < len([line for line in curve(trained) if line["part"] == "vae"])
