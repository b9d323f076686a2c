"""The prompts of the world: three lists of captions that share no text.

`train` is for alignment, `validate` for choosing settings, `evaluate` for the final measurement. Texts of `evaluate`
are kept out of the training data of the base model as well. Lists are balanced over the skills as far as the grammar
has enough captions: a skill gives at most two fifths of its captions to train and to evaluate, one fifth to validate.
"""

import csv
from collections import Counter
from importlib.resources import files
from pathlib import Path

from accord.errors import ConfigError
from accord.seeding import generator
from accord.world.captions import all_captions, draw_caption, write
from accord.world.vocabulary import SKILLS

#: Number of prompts in each list.
SPLITS = {"train": 240, "validate": 120, "evaluate": 240}
_SHARES = {"train": 0.4, "validate": 0.2, "evaluate": 0.4}
_SEED = 20_261_121


def load_prompts(split: str) -> list[tuple[str, str]]:
    """(text, skill) of each prompt of `train`, `validate` or `evaluate`, in the order of the shipped file."""
    if split not in SPLITS:
        raise ConfigError(f"no prompts {split!r} in the embedded world; known: {', '.join(SPLITS)}")
    text = files("accord.world").joinpath("data", f"prompts_{split}.csv").read_text(encoding="utf-8")
    return [(row["text"], row["skill"]) for row in csv.DictReader(text.splitlines())]


def draw_prompts(seed: int = _SEED) -> dict[str, list[tuple[str, str]]]:
    """The three lists, drawn anew. With the default seed they equal the shipped files."""
    lists: dict[str, list[tuple[str, str]]] = {split: [] for split in SPLITS}
    capacity = Counter(caption.skill for caption in all_captions())
    quotas = {
        split: share_out(size, {skill: int(_SHARES[split] * capacity[skill]) for skill in SKILLS})
        for split, size in SPLITS.items()
    }
    for skill in SKILLS:
        wanted = {split: quotas[split][skill] for split in SPLITS}
        for split, texts in _deal(_distinct(skill, sum(wanted.values()), seed), wanted).items():
            lists[split] += [(text, skill) for text in texts]
    return {split: _shuffled(rows, split, seed) for split, rows in lists.items()}


def _shuffled(rows: list[tuple[str, str]], split: str, seed: int) -> list[tuple[str, str]]:
    """The rows in random order, so that the first few of a list hold its skills in its own proportions."""
    return [rows[i] for i in generator(seed, "prompt order", split).permutation(len(rows))]


def share_out(total: int, capacity: dict[str, int]) -> dict[str, int]:
    """`total` shared as equally as the capacities allow. Raises ConfigError if they are too small together."""
    shares, left = {}, total
    by_capacity = sorted(capacity, key=lambda name: (capacity[name], name))
    for done, name in enumerate(by_capacity):
        shares[name] = min(capacity[name], -(-left // (len(by_capacity) - done)))
        left -= shares[name]
    if left:
        raise ConfigError(f"cannot draw {total} distinct prompts: the grammar allows {sum(capacity.values())}")
    return shares


def _distinct(skill: str, count: int, seed: int) -> list[str]:
    """The first `count` different texts of a stream of random captions."""
    rng = generator(seed, "prompts", skill)
    texts: dict[str, None] = {}
    while len(texts) < count:
        texts[write(draw_caption(skill, rng))] = None
    return list(texts)


def _deal(texts: list[str], wanted: dict[str, int]) -> dict[str, list[str]]:
    """Deal `texts` like cards, so that common and rare captions spread over the lists in the same way."""
    hands: dict[str, list[str]] = {split: [] for split in wanted}
    for text in texts:
        split = min(wanted, key=lambda name: (len(hands[name]) + 1) / wanted[name] if wanted[name] else float("inf"))
        hands[split].append(text)
    return hands


def write_prompts(folder: Path) -> None:
    """Write the three files that this package ships into `folder`."""
    for split, prompts in draw_prompts().items():
        with (folder / f"prompts_{split}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("text", "skill"))
            writer.writerows(prompts)
