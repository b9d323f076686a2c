"""What a denoiser predicts, and how to turn one kind of prediction into another.

Three kinds, for `x_t = alpha x_0 + sigma noise` with any alpha and sigma:

    epsilon         noise
    v_prediction    alpha noise - sigma x_0     (Salimans and Ho, arXiv 2202.00512)
    flow            noise - x_0                 (Liu et al., arXiv 2209.03003)

Each determines the other two, because x_t is known. All latents are (B, C, H, W), alpha and sigma (B,).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

from accord.diffusion.broadcast import per_row
from accord.errors import ModelError, did_you_mean

if TYPE_CHECKING:
    from torch import Tensor

Prediction = Literal["epsilon", "v_prediction", "flow"]


def training_target(prediction: Prediction, clean: Tensor, noise: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """Return what a denoiser of this kind should have predicted, (B, C, H, W)."""
    if prediction == "epsilon":
        return noise
    if prediction == "v_prediction":
        return per_row(alpha, noise) * noise - per_row(sigma, clean) * clean
    if prediction == "flow":
        return noise - clean
    raise _unknown(prediction)


def to_noise(prediction: Prediction, output: Tensor, noisy: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """Return the noise that the denoiser's output implies, (B, C, H, W). noisy: x_t."""
    alpha, sigma = per_row(alpha, output), per_row(sigma, output)
    if prediction == "epsilon":
        return output
    if prediction == "v_prediction":
        return (sigma * noisy + alpha * output) / (alpha**2 + sigma**2)
    if prediction == "flow":
        return (noisy + alpha * output) / (alpha + sigma)
    raise _unknown(prediction)


def to_clean(prediction: Prediction, output: Tensor, noisy: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """Return the clean latents that the denoiser's output implies, (B, C, H, W). noisy: x_t.

    From an epsilon prediction this divides by alpha: infinite where nothing of the image is left.
    """
    alpha, sigma = per_row(alpha, output), per_row(sigma, output)
    if prediction == "epsilon":
        return (noisy - sigma * output) / alpha
    if prediction == "v_prediction":
        return (alpha * noisy - sigma * output) / (alpha**2 + sigma**2)
    if prediction == "flow":
        return (noisy - sigma * output) / (alpha + sigma)
    raise _unknown(prediction)


def to_velocity(prediction: Prediction, output: Tensor, noisy: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """Return the flow velocity `noise - x_0` that the denoiser's output implies, (B, C, H, W). noisy: x_t."""
    if prediction == "flow":
        return output
    return to_noise(prediction, output, noisy, alpha, sigma) - to_clean(prediction, output, noisy, alpha, sigma)


def error_factor(prediction: Prediction, alpha: Tensor, sigma: Tensor) -> Tensor:
    """Return f with `squared error of the implied noise = f * squared error of the output`, (B,).

    1 for epsilon; alpha^2 for v_prediction on a variance-preserving schedule; alpha^2 = (1 - t)^2 for rectified flow.
    Exact, because the implied noise is linear in the output for a given x_t.

    >>> import torch
    >>> error_factor("flow", torch.tensor([0.75]), torch.tensor([0.25]))
    tensor([0.5625])
    """
    import torch

    if prediction == "epsilon":
        return torch.ones_like(alpha)
    if prediction == "v_prediction":
        return (alpha / (alpha**2 + sigma**2)) ** 2
    if prediction == "flow":
        return (alpha / (alpha + sigma)) ** 2
    raise _unknown(prediction)


def denoising_error(output: Tensor, target: Tensor, factor: Tensor) -> Tensor:
    """Return `factor * mean over C, H, W of (output - target)^2`, (B,) float32 whatever the model's dtype.

    output, target: (B, C, H, W). factor: (B,), of `error_factor`, or ones to stay in the denoiser's own space.
    A mean, not a sum: beta is counted accordingly.
    """
    if output.shape != target.shape:
        raise ModelError(f"prediction {tuple(output.shape)} and target {tuple(target.shape)} must have the same shape")
    return (output.float() - target.float()).square().flatten(1).mean(1) * factor.to(output.device).float()


def _unknown(prediction: str) -> ModelError:
    return ModelError(f"no kind of prediction is called '{prediction}'{did_you_mean(prediction, get_args(Prediction))}")
