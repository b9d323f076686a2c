"""What is wrong with the training data of the base model, on purpose: a base that makes no mistakes cannot be aligned.

60 % of the pictures are bad in one or more ways, and 18 % of the captions have one hard error.
"""

from dataclasses import dataclass, replace

import numpy as np

from accord.errors import AccordError
from accord.world.captions import Caption
from accord.world.scenes import Scene, Thing, background_layer, paint, to_uint8
from accord.world.vocabulary import COLORS, NUMBERS, PALETTE, RELATIONS, SHAPES, SIZE

#: Share of pictures with flaws, and of captions with an error.
BAD_IMAGES = 0.60
BAD_CAPTIONS = 0.18


@dataclass(frozen=True)
class Stripes:
    """Parallel bars of one palette colour: period in pixels, direction in radians, phase 0..1, opacity 0..1."""

    color: str
    period: float
    angle: float
    phase: float
    opacity: float


@dataclass(frozen=True)
class Flaws:
    """What is wrong with one picture; the default is nothing."""

    shift: tuple[float, float] = (0.0, 0.0)  # all things moved by this many pixels, perhaps out of the frame
    opacity: float = 1.0  # of all things; lower is paler
    blur: float = 0.0  # standard deviation of a Gaussian, pixels
    grain: float = 0.0  # standard deviation of white noise, 0..255
    grain_seed: int = 0
    specks: tuple[Thing, ...] = ()  # small things nobody asked for
    stripes: Stripes | None = None  # on the background


def draw_flaws(rng: np.random.Generator) -> Flaws:
    """The flaws of one picture: none with probability 1 - BAD_IMAGES, else each kind independently."""
    if rng.random() >= BAD_IMAGES:
        return Flaws()
    crop, fade, blur, clutter, stripes, grain = rng.random(6) < (0.35, 0.35, 0.35, 0.45, 0.12, 0.20)
    angle = rng.uniform(0.0, 2.0 * np.pi)
    far = rng.uniform(4.0, 9.0)
    return Flaws(
        shift=(float(far * np.cos(angle)), float(far * np.sin(angle))) if crop else (0.0, 0.0),
        opacity=float(rng.uniform(0.25, 0.60)) if fade else 1.0,
        blur=float(rng.uniform(0.6, 1.3)) if blur else 0.0,
        grain=float(rng.uniform(6.0, 16.0)) if grain else 0.0,
        grain_seed=int(rng.integers(2**31)),
        specks=tuple(_draw_speck(rng) for _ in range(rng.integers(2, 6))) if clutter else (),
        stripes=_draw_stripes(rng) if stripes else None,
    )


def _draw_speck(rng: np.random.Generator) -> Thing:
    x, y = rng.uniform(1.0, SIZE - 1.0, 2).tolist()
    return Thing(str(rng.choice(SHAPES)), str(rng.choice(COLORS)), x, y, float(rng.uniform(1.0, 1.9)))


def _draw_stripes(rng: np.random.Generator) -> Stripes:
    period, angle, phase, opacity = rng.uniform((4.0, 0.0, 0.0, 0.4), (9.0, np.pi, 1.0, 0.9)).tolist()
    return Stripes(str(rng.choice(COLORS)), period, angle, phase, opacity)


def render_flawed(scene: Scene, flaws: Flaws) -> np.ndarray:
    """The picture of `scene` with `flaws`, uint8 (32, 32, 3). Without flaws it equals `render(scene)`."""
    canvas = background_layer(scene)
    if flaws.stripes is not None:
        canvas = _stripe(canvas, flaws.stripes)
    dx, dy = flaws.shift
    moved = tuple(replace(thing, x=thing.x + dx, y=thing.y + dy) for thing in scene.things)
    canvas = paint(canvas, moved, flaws.opacity)
    canvas = paint(canvas, flaws.specks)
    if flaws.blur > 0.0:
        canvas = _blur(canvas, flaws.blur)
    if flaws.grain > 0.0:
        canvas = canvas + np.random.default_rng(flaws.grain_seed).normal(0.0, flaws.grain, canvas.shape)
    return to_uint8(canvas)


def _stripe(canvas: np.ndarray, stripes: Stripes) -> np.ndarray:
    centres = np.arange(SIZE) + 0.5
    along = np.cos(stripes.angle) * centres[None, :] + np.sin(stripes.angle) * centres[:, None]
    # Distance to the middle of the nearest bar; a bar fills half of the period.
    away = np.abs((along / stripes.period + stripes.phase) % 1.0 - 0.5) * stripes.period
    alpha = stripes.opacity * np.clip(0.5 - (away - stripes.period / 4.0), 0.0, 1.0)[..., None]
    return canvas * (1.0 - alpha) + np.asarray(PALETTE[stripes.color], dtype=float) * alpha


def _blur(canvas: np.ndarray, sigma: float) -> np.ndarray:
    """Separable Gaussian, edges repeated; (H, W, 3) to (H, W, 3)."""
    reach = int(np.ceil(3.0 * sigma))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    weights /= weights.sum()
    for axis in (0, 1):
        width = [(reach, reach) if a == axis else (0, 0) for a in range(3)]
        padded = np.pad(canvas, width, mode="edge")
        canvas = sum(w * padded.take(range(k, k + SIZE), axis) for k, w in enumerate(weights))
    return canvas


def corrupt(caption: Caption, rng: np.random.Generator) -> Caption:
    """A caption that differs from `caption` by one hard error: count, relation, swapped colours, one word."""
    edits = _edits(caption)
    if not edits:
        raise AccordError(f"no single error is possible in {caption}")
    return edits[int(rng.integers(len(edits)))]


def _edits(caption: Caption) -> list[Caption]:
    first = caption.asked[0]
    if caption.relation is not None:
        found = [replace(caption, relation=other) for other in RELATIONS if other != caption.relation]
    elif first.count > 1:
        found = [_with(caption, 0, count=count) for count in NUMBERS.values() if count != first.count]
    else:
        found = []
    if len(caption.asked) == 2 and first.color is not None:
        second = caption.asked[1]
        if first.shape != second.shape:
            found.append(
                replace(caption, asked=(replace(first, color=second.color), replace(second, color=first.color)))
            )
    return found + [edit for position in range(len(caption.asked)) for edit in _word_edits(caption, position)]


def _word_edits(caption: Caption, position: int) -> list[Caption]:
    """Another colour or shape for one noun, where the result is still a caption."""
    noun = caption.asked[position]
    others = [other for i, other in enumerate(caption.asked) if i != position]
    taken = {other.color for other in others}
    found = []
    if noun.color is not None:
        found += [_with(caption, position, color=c) for c in COLORS if c != noun.color and c not in taken]
    else:
        taken_shapes = {other.shape for other in others}
        return [_with(caption, position, shape=s) for s in SHAPES if s != noun.shape and s not in taken_shapes]
    return found + [_with(caption, position, shape=s) for s in SHAPES if s != noun.shape]


def _with(caption: Caption, position: int, **words: str | int) -> Caption:
    asked = tuple(replace(noun, **words) if i == position else noun for i, noun in enumerate(caption.asked))  # type: ignore[arg-type]
    return replace(caption, asked=asked)
