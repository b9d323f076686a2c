"""What of a method can be computed before training: its noise, its reference's errors.

The run file alone decides it. So this is told here, apart from what computes and reads them: a plan asks it of every
run file, and loads no model library for it.
"""

from __future__ import annotations

from accord import registry
from accord.config import Choice, MethodConfig
from accord.errors import ConfigError


def is_noise_cacheable(choice: Choice) -> bool:
    """Say whether this choice of noise inverts along the initial denoiser, so that training never changes it."""
    rule = registry.load("noises", choice.name)
    if not getattr(rule, "inverts", False):
        return False
    default = registry.options_of(rule)["model"].default
    return choice.options.get("model", default) == "initial"


def require_cacheable_reference(method: MethodConfig) -> None:
    """Raise ConfigError unless the reference's errors are the same at every time and are all that the loss reads."""
    if method.reference.name != "frozen":
        raise ConfigError(
            f"train.cache_reference needs method.reference 'frozen', not '{method.reference.name}': only the errors "
            "of a model that stays as it is can be computed beforehand"
        )
    if getattr(registry.load("losses", method.loss.name), "needs_predictions", False):
        raise ConfigError(
            f"the loss '{method.loss.name}' reads the reference's predictions, of which train.cache_reference keeps "
            "only the errors; turn it off"
        )
    inverts = getattr(registry.load("noises", method.noise.name), "inverts", False)
    if inverts and not is_noise_cacheable(method.noise):
        raise ConfigError(
            f"noise '{method.noise.name}' inverts along the policy and changes as it learns, so no error can be "
            'computed beforehand: take its option model = "initial", or turn train.cache_reference off'
        )
