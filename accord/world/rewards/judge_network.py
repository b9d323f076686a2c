"""The judge's eye: a small network that marks the centre of every thing and names its shape and colour.

A centre-point detector in the manner of Zhou et al. 2019, "Objects as points", with one map cell for 2x2 pixels.
"""

from pathlib import Path
from typing import NamedTuple

import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from accord.errors import ScoringError
from accord.world.vocabulary import BACKGROUNDS, COLORS, SHAPES

WEIGHTS = Path(__file__).parents[1] / "weights" / "judge.safetensors"
CELL = 2  # pixels
_WIDTH = 64
_DILATIONS = (1, 2, 3, 2, 1)
_PARTS = (1, len(SHAPES), len(COLORS), 2, len(BACKGROUNDS))


class Maps(NamedTuple):
    """What the network says about B pictures, as logits; G = 16 cells along each side."""

    centre: Tensor  # (B, G, G) is the centre of a thing in this cell
    shape: Tensor  # (B, 3, G, G)
    color: Tensor  # (B, 6, G, G)
    offset: Tensor  # (B, 2, G, G) x and y of the centre from the cell's middle, in cells
    background: Tensor  # (B, 4) of the whole picture


class JudgeNetwork(nn.Module):
    """Pictures (B, 3, 32, 32) in -1..1 to Maps. About 0.2 million parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Conv2d(3, _WIDTH // 2, 3, padding=1)
        self.shrink = nn.Conv2d(_WIDTH // 2, _WIDTH, 3, stride=CELL, padding=1)
        self.norms = nn.ModuleList(nn.GroupNorm(8, _WIDTH) for _ in _DILATIONS)
        self.blocks = nn.ModuleList(nn.Conv2d(_WIDTH, _WIDTH, 3, padding=d, dilation=d) for d in _DILATIONS)
        self.leave = nn.Conv2d(_WIDTH, sum(_PARTS), 1)
        nn.init.constant_(self.leave.bias[:1], -4.0)  # type: ignore[index]  # centres are rare

    def forward(self, pictures: Tensor) -> Maps:
        hidden = self.shrink(F.silu(self.enter(pictures)))
        for norm, block in zip(self.norms, self.blocks, strict=True):
            hidden = hidden + block(F.silu(norm(hidden)))
        centre, shape, color, offset, background = self.leave(F.silu(hidden)).split(_PARTS, dim=1)
        return Maps(centre[:, 0], shape, color, offset, background.mean(dim=(2, 3)))


def load_judge(path: Path = WEIGHTS) -> JudgeNetwork:
    """The trained network in evaluation mode, float32. Raises ScoringError if `path` is missing."""
    if not path.is_file():
        raise ScoringError(
            f"the judge needs its weights, {path.name} was not found; make it with accord.world.train_judge"
        )
    network = JudgeNetwork()
    network.load_state_dict({name: value.float() for name, value in load_file(path).items()})
    return network.eval().requires_grad_(False)


def to_input(pictures: Tensor) -> Tensor:
    """uint8 (B, 32, 32, 3) to float32 (B, 3, 32, 32) in -1..1."""
    return pictures.permute(0, 3, 1, 2).float().contiguous() / 127.5 - 1.0
