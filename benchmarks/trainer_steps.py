"""The steps that are compared: ours, and one that does what the common training scripts do."""

from __future__ import annotations

import copy
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

PAIRS = 4  # per step
PROMPTS = 24
RANK = 4  # as to the width, what 16 to 20 are to the real denoisers
BETA = 1000.0


@dataclass
class Clock:
    """CPU seconds of this process, which has one thread, and how many of them were spent in the denoiser."""

    denoiser: float = 0.0
    calls: int = 0
    samples: int = 0

    def watch(self, denoiser: torch.nn.Module) -> None:
        """Count and time every forward pass of this module."""
        started = 0.0

        def before(module: Any, arguments: Any) -> None:
            nonlocal started
            started = time.process_time()

        def after(module: Any, arguments: Any, output: Any) -> None:
            self.denoiser += time.process_time() - started
            self.calls += 1
            self.samples += len(output[0])

        denoiser.register_forward_pre_hook(before)
        denoiser.register_forward_hook(after)

    def timed(self, work: Callable[..., Any]) -> Callable[..., Any]:
        """Return `work` with its time counted as the denoiser's: for the backward pass."""

        def run(*arguments: Any) -> None:
            started = time.process_time()
            work(*arguments)
            self.denoiser += time.process_time() - started

        return run


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


def our_steps(family: str, folder: Path, variant: str, mode: Any, steps: int, clock: Clock) -> Iterator[Any]:
    """Yield after each step of the training loop."""
    model = open_model(ModelSettings(family, str(folder / "model")), ("denoiser",))
    clock.watch(model.denoiser)
    method = method_of("smpo" if variant.startswith("smpo") else "diffusion_dpo", family)
    data = PairData(table(), LatentCache(TensorCache(folder / "latents")), TensorCache(folder / "prompts"))
    if variant == "smpo":
        data = replace(data, noise=NoiseCache(TensorCache(folder / "noise")))
    if variant == "cached_reference":
        errors = ErrorCache(TensorCache(folder / "errors"))
        method = replace(method, reference=partial(CachedReference, errors=errors))
    accelerator = Accelerator(cpu=True)
    accelerator.backward = clock.timed(accelerator.backward)
    settings = TrainSettings(steps=steps, batch_size=PAIRS, beta=BETA, learning_rate=1e-4)
    state = begin(model, method, settings, AdapterSettings(mode, RANK, float(RANK)), accelerator)
    yield from train(model, method, data, state, settings, accelerator)


def fill_noise(family: str, folder: Path, steps: int) -> None:
    """Invert the noise of every visit, as `accord invert` does."""
    model, data = untrained(family, folder)
    method = method_of("smpo", family)
    with CacheWriter(folder / "noise") as writer:
        for batch, timesteps in blocks(model, data, method, steps):
            initial = predictor(model, lambda: nullcontext(model.denoiser), twice(batch.conditioning))
            noise = method.noise(noise_request(model, data, 0, batch, timesteps, initial, None))
            ids = zip(batch.prompt_ids * 2, batch.visits * 2, batch.chosen_ids + batch.rejected_ids, strict=True)
            writer.add([row_id(*row) for row in ids], {NOISE: torch.cat(noise)})


def fill_errors(family: str, folder: Path, steps: int) -> None:
    """Compute the reference's errors of every visit, as `accord run` does with `train.cache_reference`."""
    model, data = untrained(family, folder)
    method = method_of("diffusion_dpo", family)
    with CacheWriter(folder / "errors") as writer, torch.no_grad():
        for batch, timesteps in blocks(model, data, method, steps):
            noise = visit_noise(model, method, data, 0, batch, timesteps, None)
            task = make_task(model, batch, timesteps, noise, "epsilon")
            errors = task.measure(model, nullcontext, model.denoiser).errors
            writer.add(visit_ids(batch), {ERRORS: torch.stack(errors.chunk(2), dim=1)})


def untrained(family: str, folder: Path) -> tuple[Any, PairData]:
    """Return the model as it is before training, and what the loop reads."""
    model = open_model(ModelSettings(family, str(folder / "model")), ("denoiser",))
    model.denoiser.requires_grad_(False)
    return model, PairData(table(), LatentCache(TensorCache(folder / "latents")), TensorCache(folder / "prompts"))


def blocks(model: Any, data: PairData, method: Method, steps: int) -> Iterator[tuple[PairBatch, torch.Tensor]]:
    """Yield the batch of every step, and the timesteps (B,) of its visits."""
    visits = Visits(data.table, 0)
    for start in range(0, steps * PAIRS, PAIRS):
        visited = visits.between(start, start + PAIRS)
        draws = torch.tensor([visit.draw for visit in visited], dtype=torch.float64)
        yield make_batch(data, visited, torch.device("cpu")), model.schedule.timestep(method.timesteps(draws))


def naive_steps(family: str, folder: Path, variant: str, mode: Any, steps: int, clock: Clock) -> Iterator[Any]:
    """Yield after each step of a plain script: images decoded and encoded, texts encoded and the reference called at
    every step. Its denoiser has the memory format of ours, but for "naive_as_loaded", which has the one that pipelines
    load it in, as the scripts do.
    """
    model: Any = open_model(ModelSettings(family, str(folder / "model")))
    denoiser, names = model.denoiser, table().prompt_ids
    clock.watch(denoiser)
    if variant == "naive_as_loaded":
        denoiser.to(memory_format=torch.contiguous_format)
    two_copies = variant == "naive_two_copies" or mode == "full"
    copied = copy.deepcopy(denoiser).requires_grad_(False) if two_copies else None
    if mode == "lora":
        config = peft.LoraConfig(r=RANK, lora_alpha=RANK, target_modules=list(model.lora_targets))
        denoiser = peft.get_peft_model(denoiser.requires_grad_(False), config)
    trained = [parameter for parameter in denoiser.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4)
    written = dict(zip(names, texts(), strict=True))
    for step in range(steps):
        chosen = [names[(step * PAIRS + n) % PROMPTS] for n in range(PAIRS)]
        files = [folder / "images" / f"{prompt}-{k}" for k in range(2) for prompt in chosen]
        clean = model.encode_images([decode_image(file.read_bytes()) for file in files])
        conditioning = twice(model.encode_prompts([written[prompt] for prompt in chosen]))
        timesteps = model.schedule.timestep(torch.rand(PAIRS, dtype=torch.float64)).repeat(2)
        alpha, sigma = model.schedule.alpha(timesteps), model.schedule.sigma(timesteps)
        noise = torch.randn_like(clean[:PAIRS]).repeat(2, 1, 1, 1)
        noisy = add_noise(clean, noise, alpha, sigma)
        target = training_target(model.prediction, clean, noise, alpha, sigma)
        ask = partial(model.predict, latents=noisy, timesteps=timesteps, conditioning=conditioning)
        policy = F.mse_loss(ask(denoiser), target, reduction="none").mean((1, 2, 3))
        with torch.no_grad(), nullcontext() if two_copies else denoiser.disable_adapter():
            reference = F.mse_loss(ask(copied or denoiser), target, reduction="none").mean((1, 2, 3))
        gain = (reference - policy).chunk(2)
        loss = -F.logsigmoid(BETA / 2 * (gain[0] - gain[1])).mean()
        clock.timed(loss.backward)()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        yield loss.item()
