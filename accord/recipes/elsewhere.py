"""How the beta of a loss reads in other tools: what `accord show beta` says, loss by loss."""

from __future__ import annotations

from dataclasses import dataclass

SUMS = ("a tool that sums over latents instead of averaging", "theirs x C H W")


@dataclass(frozen=True)
class Elsewhere:
    """What a beta of this loss does, and what to make of a value found elsewhere."""

    meaning: str
    conversions: tuple[tuple[str, str], ...]  # where it is from -> our beta


BETAS = {
    "logistic": Elsewhere(
        "Thousands: beta * margin should be of order 1 at the end.",
        (
            ("official code of Diffusion-DPO, InPO and SmPO (2000 for SD1.5, 5000 for SDXL)", "theirs"),
            ("diffusers' example for SDXL", "theirs"),
            ("diffusers' example for SD1.5, which has no factor one half", "2 x theirs"),
            SUMS,
        ),
    ),
    "hinge": Elsewhere(
        "Thousands, as for the logistic loss: a pair is done where beta * margin reaches 1.",
        (("diffusers' example for SD1.5, which has no factor one half", "2 x theirs"), SUMS),
    ),
    "squared": Elsewhere(
        "Tens to hundreds for small models, more for large ones: beta * margin has to reach its target.",
        (
            ("a tool with the same target and no factor one half", "2 x theirs"),
            ("diffusers' IPO: target 1/(2 beta), a margin without one half", "4 x theirs"),
            SUMS,
        ),
    ),
    "kto": Elsewhere(
        "Thousands: beta * reward should be of order 1 at the end.",
        (("official code (1000 by default), which has no factor one half", "2 x theirs"), SUMS),
    ),
    "mapo": Elsewhere(
        "Of order 0.1: weighs the preference against fine-tuning and multiplies no margin.",
        (("official code (0.1)", "theirs"),),
    ),
    "dspo": Elsewhere(
        "Inside the sigmoid alone; the size of the pull is the loss's option `factor`.",
        (("official code (0.001), one number for both, the same half", "theirs"), SUMS),
    ),
}
