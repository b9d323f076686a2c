"""Train the judge from nothing on renders of scenes whose contents are known: about two minutes on one core.

    python -m accord.world.train_judge judge.safetensors

Half of the pictures are clean and half are flawed, as in the training data of the base model. A further thing is put
into one picture in five, so that numbers occur that no caption asks for.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from accord.seeding import address, generator
from accord.world.captions import draw_caption
from accord.world.imperfections import draw_flaws, render_flawed
from accord.world.rewards.judge_network import CELL, JudgeNetwork, Maps, to_input
from accord.world.scenes import Scene, Thing, draw_scene, render
from accord.world.vocabulary import BACKGROUNDS, COLORS, SHAPES, SIZE, SKILLS

_GRID = SIZE // CELL
_IGNORED = -1


@dataclass(frozen=True)
class Settings:
    """How the shipped judge was trained."""

    pictures: int = 20_000
    steps: int = 700
    batch: int = 32
    learning_rate: float = 3e-3
    seed: int = 0


@dataclass(frozen=True)
class Targets:
    """What the maps of B pictures should say; -1: no opinion. Offsets are in cells."""

    centre: Tensor  # (B, G, G) int64: 1 in the cell of a centre, -1 in the cells around it, else 0
    shape: Tensor  # (B, G, G) int64, -1 away from centres
    color: Tensor  # (B, G, G) int64, -1 away from centres
    offset: Tensor  # (B, 2, G, G) float32
    background: Tensor  # (B,) int64


def draw_lesson(index: int, seed: int) -> tuple[np.ndarray, Scene]:
    """Picture uint8 (32, 32, 3) number `index`, and the scene that it shows, at its true places."""
    rng = generator(seed, "judge", index)
    skill = str(rng.choice(SKILLS))
    scene = _crowd(draw_scene(draw_caption(skill, rng), rng), rng)
    if index % 2 == 0:
        return render(scene), scene
    flaws = draw_flaws(rng)
    dx, dy = flaws.shift
    moved = tuple(replace(thing, x=thing.x + dx, y=thing.y + dy) for thing in scene.things)
    return render_flawed(scene, flaws), replace(scene, things=moved)


def _crowd(scene: Scene, rng: np.random.Generator) -> Scene:
    """`scene`, sometimes with a further thing where there is room."""
    x, y = rng.uniform(5.0, SIZE - 5.0, 2).tolist()
    more = Thing(str(rng.choice(SHAPES)), str(rng.choice(COLORS)), x, y, float(rng.uniform(3.5, 6.0)))
    free = all(np.hypot(t.x - x, t.y - y) > 1.1 * (t.radius + more.radius) + 1.0 for t in scene.things)
    return replace(scene, things=(*scene.things, more)) if rng.random() < 0.4 and free else scene


def targets_of(scenes: list[Scene]) -> Targets:
    """The maps that describe `scenes`; things whose centre is outside the frame are left out."""
    shape = torch.full((len(scenes), _GRID, _GRID), _IGNORED)
    color, centre = shape.clone(), torch.zeros_like(shape)
    offset = torch.zeros(len(scenes), 2, _GRID, _GRID)
    for row, scene in enumerate(scenes):
        inside = [thing for thing in scene.things if 0.0 <= thing.x < SIZE and 0.0 <= thing.y < SIZE]
        for thing in inside:
            around = _around(thing)
            centre[row][around] = _IGNORED
            shape[row][around] = SHAPES.index(thing.shape)
            color[row][around] = COLORS.index(thing.color)
        for thing in inside:
            i, j = int(thing.y // CELL), int(thing.x // CELL)
            centre[row, i, j] = 1
            offset[row, :, i, j] = torch.tensor([thing.x / CELL - j - 0.5, thing.y / CELL - i - 0.5])
    background = torch.tensor([list(BACKGROUNDS).index(scene.background) for scene in scenes])
    return Targets(centre, shape, color, offset, background)


def _around(thing: Thing) -> tuple[slice, slice]:
    i, j = int(thing.y // CELL), int(thing.x // CELL)
    return slice(max(i - 1, 0), i + 2), slice(max(j - 1, 0), j + 2)


def judge_loss(maps: Maps, targets: Targets) -> Tensor:
    """Sum of the cross-entropies of centre, shape, colour and background, and the L1 error of the offsets; a scalar."""
    clear = targets.centre != _IGNORED
    truth = targets.centre[clear].float()
    each = F.binary_cross_entropy_with_logits(maps.centre[clear], truth, reduction="none")
    at = targets.centre == 1
    number = at.sum().clamp(min=1)
    offset = (maps.offset - targets.offset).abs().sum(dim=1)[at].sum() / number
    shape = F.cross_entropy(maps.shape, targets.shape, ignore_index=_IGNORED)
    color = F.cross_entropy(maps.color, targets.color, ignore_index=_IGNORED)
    background = F.cross_entropy(maps.background, targets.background)
    return each.sum() / number + shape + color + offset + 0.2 * background


def train_judge(settings: Settings = Settings(), say: Callable[[str], None] = print) -> JudgeNetwork:
    """The trained network, in evaluation mode. With one torch thread, equal settings give equal weights."""
    say(f"drawing {settings.pictures} pictures")
    pictures, scenes = zip(*(draw_lesson(i, settings.seed) for i in range(settings.pictures)), strict=True)
    inputs, targets = to_input(torch.from_numpy(np.stack(pictures))), targets_of(list(scenes))
    with torch.random.fork_rng():
        torch.manual_seed(address(settings.seed, "judge weights"))
        network = JudgeNetwork()
    optimizer = torch.optim.AdamW(network.parameters(), lr=settings.learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.learning_rate, settings.steps, pct_start=0.1)
    for step in range(settings.steps):
        rows = torch.from_numpy(
            generator(settings.seed, "judge batch", step).integers(len(inputs), size=settings.batch)
        )
        loss = judge_loss(network(inputs[rows]), _take(targets, rows))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 50 == 0 or step == settings.steps - 1:
            say(f"step {step}: loss {loss.item():.3f}")
    return network.eval()


def _take(targets: Targets, rows: Tensor) -> Targets:
    return Targets(**{name: value[rows] for name, value in vars(targets).items()})


def save_judge(network: JudgeNetwork, path: Path) -> None:
    """Write the weights in half precision."""
    state = {name: value.detach().half().contiguous() for name, value in network.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(state, path)


if __name__ == "__main__":
    torch.set_num_threads(1)
    save_judge(train_judge(), Path(sys.argv[1]))
