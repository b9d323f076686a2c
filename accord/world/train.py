"""From nothing to a Stable Diffusion folder of the world: pictures, VAE, latents, denoiser, pipeline."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from accord.errors import StaleArtifact, TrainingError
from accord.seeding import address
from accord.world.card import model_card
from accord.world.dataset import draw_dataset, save_dataset
from accord.world.loop import Recipe
from accord.world.measure import skill_table
from accord.world.objectives import objective_named
from accord.world.parallel import launch
from accord.world.prompts import load_prompts
from accord.world.rates import late_linear, warm_cosine
from accord.world.save import open_base, save_base
from accord.world.train_denoiser import train_denoiser
from accord.world.train_vae import encode_pictures, finish_latents, prepare_latents, reconstruction_psnr, train_vae


@dataclass(frozen=True)
class Sizes:
    """How much is drawn and trained. The default takes about one core-hour; the shipped base was made with it."""

    pictures: int = 90_000
    vae_samples: int = 97_200
    vae_batch: int = 12  # per worker
    vae_widths: tuple[int, ...] = (16, 32, 64)
    denoiser_samples: tuple[int, ...] = (194_400, 129_600)  # per stage: see train_denoiser
    denoiser_batch: int = 36  # per worker
    unet_widths: tuple[int, ...] = (64, 112)
    log_every: int = 20  # steps
    save_every: int = 100  # steps
    measured: int = 160  # pictures per skill for the table of the model card; 0 for no table


def train_world(
    folder: Path,
    sizes: Sizes = Sizes(),
    workers: int = 1,
    seed: int = 0,
    objective: str = "flow",
    progress: Callable[[str], None] = print,
) -> Path:
    """Train the base model of the world and return its pipeline folder, `folder`/pipeline.

    `objective` is `flow` or `epsilon`. `workers` processes of one thread each share the work; their number changes the
    result, an interruption does not: called again with the same settings, it goes on. `progress` takes lines of text
    and must be a module-level function if there are several workers.
    Raises StaleArtifact if `folder` was begun with other settings.
    """
    objective_named(objective)
    folder.mkdir(parents=True, exist_ok=True)
    _claim(folder, {"sizes": asdict(sizes), "workers": workers, "seed": seed, "objective": objective})
    if not (folder / "texts.txt").exists():
        progress(f"drawing {sizes.pictures} pictures")
        save_dataset(folder, *draw_dataset(sizes.pictures, seed, workers))
    if not (folder / "latents.npy").exists():
        _train_vae(folder, sizes, workers, seed, progress)
    stages = [_denoiser_recipe(samples, sizes, workers) for samples in sizes.denoiser_samples]
    launch(train_denoiser, workers, folder, stages, seed, objective, sizes.unet_widths, progress)
    save_base(folder, folder / "pipeline", objective)
    progress("measuring")
    describe_base(folder, sizes.measured)
    return folder / "pipeline"


def describe_base(folder: Path, images_per_skill: int) -> None:
    """Measure `folder`/pipeline and write its model card."""
    settings = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
    target = folder / "pipeline"
    pipeline = open_base(target)
    fresh, _ = draw_dataset(500, address(settings["seed"], "fresh pictures"))
    psnr = reconstruction_psnr(pipeline.vae, fresh)
    table = skill_table(pipeline, load_prompts("evaluate"), images_per_skill) if images_per_skill else []
    (target / "README.md").write_text(model_card(settings, target / "curves.jsonl", psnr, table), encoding="utf-8")


def _train_vae(folder: Path, sizes: Sizes, workers: int, seed: int, progress: Callable[[str], None]) -> None:
    recipe = Recipe(
        steps=_steps(sizes.vae_samples, sizes.vae_batch * workers),
        batch=sizes.vae_batch,
        adamw_lr=2e-3,
        rate=warm_cosine,
        ema=0.99,
        log_every=sizes.log_every,
        save_every=sizes.save_every,
    )
    launch(train_vae, workers, folder, recipe, seed, sizes.vae_widths, progress)
    progress("encoding the pictures")
    prepare_latents(folder)
    launch(encode_pictures, workers, folder)
    finish_latents(folder)


def _denoiser_recipe(samples: int, sizes: Sizes, workers: int) -> Recipe:
    return Recipe(
        steps=_steps(samples, sizes.denoiser_batch * workers),
        batch=sizes.denoiser_batch,
        adamw_lr=1e-3,
        muon_lr=0.015,
        rate=late_linear,
        ema=0.998,
        log_every=sizes.log_every,
        save_every=sizes.save_every,
    )


def _steps(samples: int, per_step: int) -> int:
    if samples < per_step:
        raise TrainingError(
            f"{samples} samples are fewer than one step of {per_step}; ask for more or use fewer workers"
        )
    return samples // per_step


def _claim(folder: Path, settings: dict[str, object]) -> None:
    """Remember the settings of a new folder, or insist on those of an old one."""
    file, asked = folder / "settings.json", json.dumps(settings, indent=2)
    if not file.exists():
        file.write_text(asked + "\n", encoding="utf-8")
    elif file.read_text(encoding="utf-8").strip() != asked:
        raise StaleArtifact(f"{file} holds other settings; use them, or an empty folder")
