"""The steps that are compared: ours, and one that does what the common training scripts do."""

from __future__ import annotations

import copy
import io
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import peft
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from PIL import Image
from trainer_models import SIZE

from accord.config import MethodConfig
from accord.diffusion.noising import add_noise
from accord.diffusion.predictions import training_target
from accord.images import decode_image, encode_image
from accord.models.interface import ModelSettings, open_model
from accord.recipes.choices import recipe_method
from accord.train.cache import LATENTS, CacheWriter, LatentCache, TensorCache
from accord.train.cached_reference import ERRORS, CachedReference, ErrorCache, visit_ids
from accord.train.data import PairData, PairTable, Visits, make_batch
from accord.train.denoising import make_task, twice
from accord.train.loop import train
from accord.train.method import Method, load_method
from accord.train.noise_cache import NOISE, NoiseCache, row_id
from accord.train.settings import AdapterSettings, TrainSettings
from accord.train.state import begin
from accord.train.visit_noise import noise_request, predictor, visit_noise
from accord.types import PairBatch

PAIRS = 2  # per forward pass
PROMPTS = 24
RANK = 4  # as to the width, what 16 to 20 are to the real denoisers
BETA = 1000.0


@dataclass
class Clock:
    """CPU seconds of this process, which has one thread, and how many of them were spent in the denoiser."""

    denoiser: float = 0.0
    calls: int = 0
    samples: int = 0

    def watch(self, model: Any) -> None:
        """Count and time every forward pass of a denoiser. Not by its hooks, which the compiler would compile."""
        predict = model.predict

        def watched(*arguments: Any, **named: Any) -> torch.Tensor:
            started = time.process_time()
            output = predict(*arguments, **named)
            self.denoiser += time.process_time() - started
            self.calls += 1
            self.samples += len(output)
            return output

        model.predict = watched

    def timed(self, work: Callable[..., Any]) -> Callable[..., Any]:
        """Return `work` with its time counted as the denoiser's: for the backward pass."""

        def run(*arguments: Any) -> None:
            started = time.process_time()
            work(*arguments)
            self.denoiser += time.process_time() - started

        return run


@dataclass(frozen=True)
class Task:
    """What is trained, and for how long."""

    family: str
    folder: Path  # of the model, the images and the caches
    mode: Any  # lora, full
    parts: int  # forward and backward passes per step of the optimiser
    steps: int


def texts() -> list[str]:
    """Return the prompts."""
    return [f"a red circle above {n} blue squares and {n * n} green triangles" for n in range(PROMPTS)]


def image_ids() -> list[str]:
    """Return the ids of two images per prompt: `p<prompt>-<image>`."""
    return [f"p{n}-{k}" for n in range(PROMPTS) for k in range(2)]


def table() -> PairTable:
    """Return one pair per prompt."""
    prompts = tuple(f"p{n}" for n in range(PROMPTS))
    return PairTable(prompts, tuple(f"{p}-0" for p in prompts), tuple(f"{p}-1" for p in prompts), np.ones(PROMPTS))


def prepare(family: str, folder: Path) -> None:
    """Draw images of random pixels, and fill the caches that training reads."""
    model = open_model(ModelSettings(family, str(folder / "model")))
    random = np.random.default_rng(0)
    (folder / "images").mkdir()
    for name in image_ids():
        small = random.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        pixels = np.kron(small, np.ones((SIZE // 8, SIZE // 8, 1), dtype=np.uint8))
        (folder / "images" / name).write_bytes(encode_image(pixels, "jpeg"))
    with CacheWriter(folder / "latents") as writer:
        for name in image_ids():
            pixels = decode_image((folder / "images" / name).read_bytes())
            writer.add([name], {LATENTS: model.encode_images([pixels]).to(torch.float16)})
    with CacheWriter(folder / "prompts") as writer:
        for prompt, text in zip(table().prompt_ids, texts(), strict=True):
            writer.add([prompt], model.encode_prompts([text]))


def method_of(recipe: str, family: str) -> Method:
    """Return the method of a recipe."""
    return load_method(MethodConfig.model_validate(recipe_method(recipe, family)))


def our_steps(task: Task, variant: str, clock: Clock) -> Iterator[Any]:
    """Yield after each step of the training loop."""
    family, folder = task.family, task.folder
    model = open_model(ModelSettings(family, str(folder / "model")), ("denoiser",))
    clock.watch(model)
    method = method_of("smpo" if variant.startswith("smpo") else "diffusion_dpo", family)
    data = PairData(table(), LatentCache(TensorCache(folder / "latents")), TensorCache(folder / "prompts"))
    if variant == "smpo":
        data = replace(data, noise=NoiseCache(TensorCache(folder / "noise")))
    if variant.startswith("cached_reference"):
        errors = ErrorCache(TensorCache(folder / "errors"))
        method = replace(method, reference=partial(CachedReference, errors=errors))
    accelerator = Accelerator(cpu=True)
    accelerator.backward = clock.timed(accelerator.backward)
    settings = TrainSettings(
        steps=task.steps, batch_size=PAIRS * task.parts, gradient_accumulation=task.parts, beta=BETA,
        learning_rate=1e-4, compile=variant.endswith("_compiled"),
    )  # fmt: skip
    state = begin(model, method, settings, AdapterSettings(task.mode, RANK, float(RANK)), accelerator)
    yield from train(model, method, data, state, settings, accelerator)


def fill_noise(task: Task) -> None:
    """Invert the noise of every visit, as `accord invert` does."""
    model, data = untrained(task)
    method = method_of("smpo", task.family)
    with CacheWriter(task.folder / "noise") as writer:
        for batch, timesteps in blocks(model, data, method, task):
            initial = predictor(model, lambda: nullcontext(model.denoiser), twice(batch.conditioning))
            noise = method.noise(noise_request(model, data, 0, batch, timesteps, initial, None))
            ids = zip(batch.prompt_ids * 2, batch.visits * 2, batch.chosen_ids + batch.rejected_ids, strict=True)
            writer.add([row_id(*row) for row in ids], {NOISE: torch.cat(noise)})


def fill_errors(task: Task) -> None:
    """Compute the reference's errors of every visit, as `accord run` does with `train.cache_reference`."""
    model, data = untrained(task)
    method = method_of("diffusion_dpo", task.family)
    with CacheWriter(task.folder / "errors") as writer, torch.no_grad():
        for batch, timesteps in blocks(model, data, method, task):
            noise = visit_noise(model, method, data, 0, batch, timesteps, None)
            asked = make_task(model, batch, timesteps, noise, "epsilon")
            errors = asked.measure(model, nullcontext, model.denoiser).errors
            writer.add(visit_ids(batch), {ERRORS: torch.stack(errors.chunk(2), dim=1)})


def untrained(task: Task) -> tuple[Any, PairData]:
    """Return the model as it is before training, and what the loop reads."""
    folder = task.folder
    model = open_model(ModelSettings(task.family, str(folder / "model")), ("denoiser",))
    model.denoiser.requires_grad_(False)
    return model, PairData(table(), LatentCache(TensorCache(folder / "latents")), TensorCache(folder / "prompts"))


def blocks(model: Any, data: PairData, method: Method, task: Task) -> Iterator[tuple[PairBatch, torch.Tensor]]:
    """Yield the batch of every forward pass, and the timesteps (B,) of its visits."""
    visits = Visits(data.table, 0)
    for start in range(0, task.steps * task.parts * PAIRS, PAIRS):
        visited = visits.between(start, start + PAIRS)
        draws = torch.tensor([visit.draw for visit in visited], dtype=torch.float64)
        yield make_batch(data, visited, torch.device("cpu")), model.schedule.timestep(method.timesteps(draws))


def naive_steps(task: Task, variant: str, clock: Clock) -> Iterator[Any]:
    """Yield after each step of a plain script: images decoded and encoded, texts encoded and the reference called at
    every step. Denoiser and autoencoder have the memory format that pipelines load them in, which the scripts leave as
    it is, but for "naive_channels_last", which gives both that of our denoiser.
    """
    model: Any = open_model(ModelSettings(task.family, str(task.folder / "model")))
    denoiser = model.denoiser
    clock.watch(model)
    is_ours = variant == "naive_channels_last"
    for module in (denoiser, model.opened.pipe.vae):
        module.to(memory_format=torch.channels_last if is_ours else torch.contiguous_format)
    two_copies = variant == "naive_two_copies" or task.mode == "full"
    copied = copy.deepcopy(denoiser).requires_grad_(False) if two_copies else None
    if task.mode == "lora":
        config = peft.LoraConfig(r=RANK, lora_alpha=RANK, target_modules=list(model.lora_targets))
        denoiser = peft.get_peft_model(denoiser.requires_grad_(False), config)
    trained = [parameter for parameter in denoiser.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4)
    for step in range(task.steps):
        done = 0.0
        for part in range(task.parts):
            loss = naive_loss(model, denoiser, copied, task.folder, step * task.parts + part) / task.parts
            clock.timed(loss.backward)()
            done += loss.item()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        yield done


def naive_loss(model: Any, denoiser: Any, copied: Any, folder: Path, number: int) -> torch.Tensor:
    """Return the loss of a plain script's batch. copied: the reference, None where it is the adapter switched off."""
    prompts, written = table().prompt_ids, texts()
    rows = [(number * PAIRS + n) % PROMPTS for n in range(PAIRS)]
    clean = naive_latents(model, [folder / "images" / f"{prompts[row]}-{k}" for k in range(2) for row in rows])
    conditioning = twice(model.encode_prompts([written[row] for row in rows]))
    timesteps = model.schedule.timestep(torch.rand(PAIRS, dtype=torch.float64)).repeat(2)
    alpha, sigma = model.schedule.alpha(timesteps), model.schedule.sigma(timesteps)
    noise = torch.randn_like(clean[:PAIRS]).repeat(2, 1, 1, 1)
    noisy = add_noise(clean, noise, alpha, sigma)
    target = training_target(model.prediction, clean, noise, alpha, sigma)
    ask = partial(model.predict, latents=noisy, timesteps=timesteps, conditioning=conditioning)
    policy = F.mse_loss(ask(denoiser), target, reduction="none").mean((1, 2, 3))
    with torch.no_grad(), nullcontext() if copied else denoiser.disable_adapter():
        reference = F.mse_loss(ask(copied or denoiser), target, reduction="none").mean((1, 2, 3))
    gain = (reference - policy).chunk(2)
    return -F.logsigmoid(BETA / 2 * (gain[0] - gain[1])).mean()


@torch.no_grad()
def naive_latents(model: Any, files: list[Path]) -> torch.Tensor:
    """Return latents (2B, C, H, W) drawn from what the autoencoder makes of the images, as scripts do at every step."""
    vae = model.opened.pipe.vae
    drawn = vae.encode(torch.stack([naive_values(file) for file in files])).latent_dist.sample()
    return (drawn - (vae.config.shift_factor or 0.0)) * vae.config.scaling_factor


def naive_values(file: Path) -> torch.Tensor:
    """Return an image's values (3, SIZE, SIZE): decoded, resized, cropped, mirrored by chance and normalised."""
    image = Image.open(io.BytesIO(file.read_bytes())).convert("RGB")
    if min(image.size) != SIZE:
        scale = SIZE / min(image.size)
        image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BILINEAR)
    left, top = (image.width - SIZE) // 2, (image.height - SIZE) // 2
    image = image.crop((left, top, left + SIZE, top + SIZE))
    if torch.rand(()) < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    values = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().float().div(255)
    return (values - 0.5) / 0.5
