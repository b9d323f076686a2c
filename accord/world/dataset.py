"""The training data of the base model: captioned pictures, each drawn from its own address (seed, "example", index)."""

from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from accord.seeding import generator
from accord.world.captions import draw_caption, write
from accord.world.imperfections import BAD_CAPTIONS, corrupt, draw_flaws, render_flawed
from accord.world.prompts import load_prompts
from accord.world.scenes import draw_scene
from accord.world.vocabulary import SIZE, SKILLS

#: How often each skill is drawn. Skills with two things are harder to learn, position most of all.
SKILL_WEIGHTS = {
    "single": 0.07,
    "two": 0.12,
    "counting": 0.16,
    "colors": 0.10,
    "position": 0.31,
    "attribution": 0.24,
}
_CHUNK = 1000


def draw_example(index: int, seed: int, excluded: frozenset[str] = frozenset()) -> tuple[np.ndarray, str]:
    """Picture uint8 (32, 32, 3) and text number `index`: perhaps flawed, perhaps with a wrong caption.

    No text is in `excluded`: captions are drawn until one is not, after a possible error was put in.
    """
    rng = generator(seed, "example", index)
    skill = str(rng.choice(SKILLS, p=[SKILL_WEIGHTS[name] for name in SKILLS]))
    while True:
        truth = draw_caption(skill, rng)
        said = corrupt(truth, rng) if rng.random() < BAD_CAPTIONS else truth
        if write(said) not in excluded:
            return render_flawed(draw_scene(truth, rng), draw_flaws(rng)), write(said)


def _draw_chunk(indices: Iterable[int], seed: int, excluded: frozenset[str]) -> tuple[np.ndarray, list[str]]:
    pictures, texts = zip(*(draw_example(index, seed, excluded) for index in indices), strict=True)
    return np.stack(pictures), list(texts)


def draw_dataset(count: int, seed: int, workers: int = 1) -> tuple[np.ndarray, list[str]]:
    """`count` examples: uint8 (count, 32, 32, 3) and their texts. The same for any number of `workers` processes.

    Texts of the evaluation prompts are left out.
    """
    excluded = frozenset(text for text, _ in load_prompts("evaluate"))
    chunks = [range(start, min(start + _CHUNK, count)) for start in range(0, count, _CHUNK)]
    draw = partial(_draw_chunk, seed=seed, excluded=excluded)
    if workers == 1:
        drawn = [draw(chunk) for chunk in chunks]
    else:
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            drawn = list(pool.map(draw, chunks))
    pictures = np.concatenate([part for part, _ in drawn]) if drawn else np.zeros((0, SIZE, SIZE, 3), np.uint8)
    return pictures, [text for _, texts in drawn for text in texts]


def save_dataset(folder: Path, pictures: np.ndarray, texts: list[str]) -> None:
    """Write `pictures.npy` and `texts.txt`, the second last: its presence means that both are complete."""
    np.save(folder / "pictures.npy", pictures)
    part = folder / "texts.part"
    part.write_text("\n".join(texts) + "\n", encoding="utf-8")
    part.rename(folder / "texts.txt")


def load_texts(folder: Path) -> list[str]:
    return (folder / "texts.txt").read_text(encoding="utf-8").splitlines()
