"""How much signal and noise there is at a timestep: `x_t = alpha x_0 + sigma noise`.

Two kinds cover today's models. Timesteps are in the model's own units, as its denoiser is told them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from accord.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor


class Schedule(Protocol):
    """What training needs to know of a noise schedule. Every tensor has shape (B,)."""

    def at_size(self, height: int, width: int) -> Schedule:
        """Return the schedule of latents of this size; only what `timestep` returns may differ."""
        ...

    def timestep(self, fraction: Tensor) -> Tensor:
        """Return the float32 timestep at this fraction, in (0, 1), of the way from data to noise."""
        ...

    def alpha(self, timesteps: Tensor) -> Tensor:
        """Return the factor of the clean latents, float32."""
        ...

    def sigma(self, timesteps: Tensor) -> Tensor:
        """Return the factor of the noise, float32."""
        ...

    def log_snr(self, timesteps: Tensor) -> Tensor:
        """Return `log(alpha^2 / sigma^2)`, float32."""
        ...


@dataclass(frozen=True)
class VariancePreserving:
    """A schedule of T whole timesteps with `alpha^2 + sigma^2 = 1` (Ho et al., arXiv 2006.11239).

    alphas_cumprod: (T,) float32, falling, in [0, 1]; a scheduler of diffusers has it under the same name.
    """

    alphas_cumprod: Tensor

    def at_size(self, height: int, width: int) -> VariancePreserving:
        """Return the same schedule: all sizes have one."""
        return self

    def timestep(self, fraction: Tensor) -> Tensor:
        """Return `floor(T fraction)`, so that a uniform fraction visits each of the T timesteps equally often."""
        return (_checked(fraction).double() * len(self.alphas_cumprod)).floor().float()

    def alpha(self, timesteps: Tensor) -> Tensor:
        """Return the square root of the cumulative product of alphas."""
        return self._at(timesteps).sqrt()

    def sigma(self, timesteps: Tensor) -> Tensor:
        """Return the square root of one minus the cumulative product of alphas."""
        return (1 - self._at(timesteps)).sqrt()

    def log_snr(self, timesteps: Tensor) -> Tensor:
        """Return the logit of the cumulative product of alphas."""
        return self._at(timesteps).double().logit().float()

    def _at(self, timesteps: Tensor) -> Tensor:
        index, length = timesteps.long(), len(self.alphas_cumprod)
        if not ((index == timesteps) & (index >= 0) & (index < length)).all():
            raise ModelError(
                f"this schedule has the whole timesteps 0 to {length - 1}, found {timesteps.tolist()}; "
                "take them from its timestep()"
            )
        return self.alphas_cumprod.to(timesteps.device)[index].float()


@dataclass(frozen=True)
class GrowingShift:
    """A timestep shift that grows with the number of tokens: larger images need more noise to lose their layout.

    mu is linear in tokens, from `base` at `base_tokens` to `largest` at `max_tokens`, and beyond; the shift is exp(mu),
    or mu itself. FLUX's own values; a scheduler of diffusers has them in its configuration.

    >>> [round(GrowingShift(patch=2).shift(side, side), 2) for side in (32, 64, 128)]
    [1.65, 1.88, 3.16]
    """

    patch: int  # sides of a token, in latents
    base_tokens: int = 256
    max_tokens: int = 4096
    base: float = 0.5
    largest: float = 1.15
    is_exponential: bool = True

    def shift(self, height: int, width: int) -> float:
        """Return the shift of latents of this height and width."""
        tokens = (height // self.patch) * (width // self.patch)
        slope = (self.largest - self.base) / (self.max_tokens - self.base_tokens)
        mu = self.base + slope * (tokens - self.base_tokens)
        return math.exp(mu) if self.is_exponential else mu


@dataclass(frozen=True)
class RectifiedFlow:
    """The straight path `x_t = (1 - t) x_0 + t noise`; timesteps are 1000 t, as in diffusers.

    shift: how far training and sampling lean to noise (Stable Diffusion 3, arXiv 2403.03206, equation 23); it changes
    which t are visited, never what a timestep means. growth: if it depends on the size, how; `shift` is then the one
    of the largest size that the model's scheduler names.

    >>> import torch
    >>> RectifiedFlow(shift=3.0).timestep(torch.tensor([0.25, 0.5, 0.75]))
    tensor([500., 750., 900.])
    """

    shift: float = 1.0
    growth: GrowingShift | None = None

    def at_size(self, height: int, width: int) -> RectifiedFlow:
        """Return the schedule with the shift of latents of this height and width."""
        return self if self.growth is None else RectifiedFlow(self.growth.shift(height, width))

    def timestep(self, fraction: Tensor) -> Tensor:
        """Return `1000 t` with `t = shift f / (1 + (shift - 1) f)`."""
        f = _checked(fraction).double()
        return (1000 * self.shift * f / (1 + (self.shift - 1) * f)).float()

    def alpha(self, timesteps: Tensor) -> Tensor:
        """Return `1 - t`."""
        return 1 - self.sigma(timesteps)

    def sigma(self, timesteps: Tensor) -> Tensor:
        """Return `t`."""
        if not ((timesteps >= 0) & (timesteps <= 1000)).all():
            raise ModelError(
                f"timesteps of a flow model lie between 0 and 1000, found {timesteps.tolist()}; "
                "take them from the schedule's timestep()"
            )
        return timesteps.float() / 1000

    def log_snr(self, timesteps: Tensor) -> Tensor:
        """Return `2 log((1 - t) / t)`; infinite at both ends."""
        t = self.sigma(timesteps).double()
        return (-2 * t.logit()).float()


def _checked(fraction: Tensor) -> Tensor:
    if not ((fraction > 0) & (fraction < 1)).all():
        raise ModelError(
            f"a place on the schedule must lie strictly between 0 and 1, found {fraction.tolist()}; "
            "give fractions as float64, because float32 rounds to 1"
        )
    return fraction
