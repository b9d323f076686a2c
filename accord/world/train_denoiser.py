"""Training of the UNet and the text encoder, together, on the latents of the training pictures."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from accord.seeding import address, generator
from accord.world.architecture import make_text_encoder, make_unet
from accord.world.dataset import load_texts
from accord.world.loop import Recipe, training_steps, write_curve
from accord.world.objectives import objective_named
from accord.world.parallel import rank
from accord.world.tokenizer import make_tokenizer

#: Share of training texts replaced by the empty one, for classifier-free guidance (Ho and Salimans 2022).
EMPTY_TEXTS = 0.10
_NOT_FOR_MUON = ("conv_in", "conv_out", "time_embedding", "time_emb_proj")


def muon_names(model: nn.ModuleDict) -> frozenset[str]:
    """The hidden matrices and convolutions of the UNet; the outer layers and those for time learn better with AdamW."""
    return frozenset(
        name
        for name, weight in model.named_parameters()
        if name.startswith("unet.") and weight.ndim >= 2 and not any(part in name for part in _NOT_FOR_MUON)
    )


def make_model(seed: int, widths: tuple[int, ...]) -> nn.ModuleDict:
    """The untrained `unet` and `text_encoder`."""
    with torch.random.fork_rng():
        torch.manual_seed(address(seed, "denoiser"))
        unet = make_unet(widths).to(memory_format=torch.channels_last)
        return nn.ModuleDict({"unet": unet, "text_encoder": make_text_encoder()})


def denoising_loss(model: Any, x0: Tensor, tokens: Tensor, objective: str, draw: torch.Generator) -> Tensor:
    """Weighted mean squared error of the prediction, a scalar. x0 (B, C, H, W) scaled latents, tokens (B, L)."""
    batch = objective_named(objective)(x0, draw)
    states = model["text_encoder"](tokens)[0]
    noisy = batch.noisy.contiguous(memory_format=torch.channels_last)
    prediction = model["unet"](noisy, batch.timesteps, states).sample
    return (batch.weight * ((prediction - batch.target) ** 2).mean(dim=(1, 2, 3))).mean()


def train_denoiser(
    folder: Path,
    stages: Sequence[Recipe],
    seed: int,
    objective: str,
    widths: tuple[int, ...],
    say: Callable[[str], None],
) -> None:
    """Train on `folder`/latents.npy and texts.txt; save `folder`/unet and text_encoder. Launch on every worker.

    Each stage starts from the averaged weights of the one before, with a fresh optimiser and the full learning rate.
    """
    model: Any = make_model(seed, widths)
    scale = AutoencoderKL.load_config(folder / "vae")["scaling_factor"]
    latents = np.load(folder / "latents.npy", mmap_mode="r")
    tokenizer = make_tokenizer()
    tokens = torch.tensor(tokenizer(load_texts(folder), padding="max_length").input_ids)
    empty = torch.tensor(tokenizer("", padding="max_length").input_ids)

    def loss_of(visit: int, batch: int) -> Tensor:
        rng = generator(seed, "denoiser batch", visit, rank())
        rows = rng.integers(len(latents), size=batch)
        dropped = torch.from_numpy(rng.random(batch) < EMPTY_TEXTS)
        x0 = scale * torch.from_numpy(latents[rows].astype(np.float32))
        said = torch.where(dropped[:, None], empty, tokens[rows])
        draw = torch.Generator().manual_seed(address(seed, "denoiser noise", visit, rank()))
        return denoising_loss(model, x0, said, objective, draw)

    before = 0
    for number, recipe in enumerate(stages, start=1):
        stage = folder / f"denoiser_{number}_training"
        stage.mkdir(exist_ok=True)
        loss_at = partial(_loss_of_step, loss_of, before, recipe.batch)
        logs = training_steps(model, loss_at, recipe, stage, muon_names(model))
        write_curve(logs, folder / f"denoiser_{number}.jsonl", say)
        before += recipe.steps
    if rank() == 0:
        model["unet"].to(memory_format=torch.contiguous_format).save_pretrained(folder / "unet")
        model["text_encoder"].save_pretrained(folder / "text_encoder")


def _loss_of_step(loss_of: Callable[[int, int], Tensor], before: int, batch: int, step: int) -> Tensor:
    """Number the steps of all stages through, so that no stage repeats the batches of another."""
    return loss_of(before + step, batch)
