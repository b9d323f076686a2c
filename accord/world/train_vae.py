"""Training of the VAE, and the latents of the training pictures."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor

from accord.seeding import address, generator
from accord.world.architecture import LATENT_CHANNELS, LATENT_SIZE, make_vae
from accord.world.loop import Recipe, training_steps, write_curve
from accord.world.parallel import rank, workers

_ENCODE_BATCH = 250


def to_unit(pictures: np.ndarray) -> Tensor:
    """uint8 (B, H, W, 3) to float (B, 3, H, W) in -1..1."""
    return torch.from_numpy(np.array(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1.0


def vae_loss(vae: Any, pixels: Tensor, noise: Tensor) -> Tensor:
    """L1 + 2 MSE + L1/2 of both neighbour differences + 1e-4 KL divergence per latent dimension; a scalar.

    pixels (B, 3, H, W) in -1..1; noise (B, 16, 8, 8) standard normal, for the reparameterised latents.
    """
    posterior = vae.encode(pixels).latent_dist
    error = vae.decode(posterior.mean + posterior.std * noise).sample - pixels
    edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    divergence = 0.5 * (posterior.mean**2 + posterior.var - 1.0 - posterior.logvar).mean()
    return error.abs().mean() + 2.0 * (error**2).mean() + 0.5 * edges + 1e-4 * divergence


def train_vae(folder: Path, recipe: Recipe, seed: int, widths: tuple[int, ...], say: Callable[[str], None]) -> None:
    """Train on `folder`/pictures.npy and save `folder`/vae. To be launched on every worker."""
    with torch.random.fork_rng():
        torch.manual_seed(address(seed, "vae"))
        vae = make_vae(widths).to(memory_format=torch.channels_last)
    pictures = np.load(folder / "pictures.npy", mmap_mode="r")

    def loss_at(step: int) -> Tensor:
        rows = generator(seed, "vae batch", step, rank()).integers(len(pictures), size=recipe.batch)
        draw = torch.Generator().manual_seed(address(seed, "vae noise", step, rank()))
        noise = torch.randn((recipe.batch, LATENT_CHANNELS, LATENT_SIZE, LATENT_SIZE), generator=draw)
        return vae_loss(vae, to_unit(pictures[rows]).contiguous(memory_format=torch.channels_last), noise)

    stage = folder / "vae_training"
    stage.mkdir(exist_ok=True)
    write_curve(training_steps(vae, loss_at, recipe, stage, frozenset()), folder / "vae.jsonl", say)
    if rank() == 0:
        vae.to(memory_format=torch.contiguous_format).save_pretrained(folder / "vae")


@torch.no_grad()
def encode_pictures(folder: Path) -> None:
    """Write this worker's share of the mean latents of all pictures into `folder`/latents.npy, float16."""
    vae: Any = AutoencoderKL.from_pretrained(folder / "vae").eval().to(memory_format=torch.channels_last)
    pictures = np.load(folder / "pictures.npy", mmap_mode="r")
    latents = np.lib.format.open_memmap(folder / "latents.part.npy", mode="r+")
    for start in range(rank() * _ENCODE_BATCH, len(pictures), workers() * _ENCODE_BATCH):
        pixels = to_unit(pictures[start : start + _ENCODE_BATCH]).contiguous(memory_format=torch.channels_last)
        latents[start : start + len(pixels)] = vae.encode(pixels).latent_dist.mean.half().numpy()
    latents.flush()


def prepare_latents(folder: Path) -> None:
    """An empty file for the workers to fill."""
    count = len(np.load(folder / "pictures.npy", mmap_mode="r"))
    shape = (count, LATENT_CHANNELS, LATENT_SIZE, LATENT_SIZE)
    np.lib.format.open_memmap(folder / "latents.part.npy", mode="w+", dtype=np.float16, shape=shape).flush()


def finish_latents(folder: Path) -> None:
    """Store one scaling factor in the VAE, so that scaled latents have standard deviation 1, and name the file."""
    latents = np.load(folder / "latents.part.npy", mmap_mode="r")
    vae = AutoencoderKL.from_pretrained(folder / "vae")
    spread = float(np.std(latents[: 1 + min(len(latents), 20_000)].astype(np.float32)))
    vae.register_to_config(scaling_factor=1.0 / spread)
    vae.save_pretrained(folder / "vae")
    (folder / "latents.part.npy").rename(folder / "latents.npy")


@torch.no_grad()
def reconstruction_psnr(vae: Any, pictures: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB of decoded mean latents, over all pixels of uint8 (B, 32, 32, 3) together."""
    pixels = to_unit(pictures)
    decoded = torch.cat([vae.decode(vae.encode(part).latent_dist.mean).sample for part in pixels.split(100)])
    return float(-10.0 * torch.log10(F.mse_loss(decoded.clamp(-1.0, 1.0), pixels) / 4.0))
