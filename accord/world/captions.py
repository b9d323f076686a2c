"""What a prompt of the world asks for, and its one English sentence.

`write` and `parse` are exact inverses over the whole grammar:

    a circle                                       single
    a red circle                                   colors
    two green triangles, three squares             counting
    a square and a triangle                        two
    a red circle and a blue square                 attribution
    a circle above a square,
    a red circle left of a blue circle             position

each of them optionally followed by `on a black background`.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from accord.errors import AccordError
from accord.world.vocabulary import BACKGROUNDS, COLORS, NUMBERS, RELATIONS, SHAPES, SKILLS


class CaptionError(AccordError):
    """A text or a combination of words that is not in the grammar of the embedded world."""


@dataclass(frozen=True)
class Asked:
    """One noun of a caption: `count` things of one shape, of one colour or (None) of any colour."""

    shape: str
    color: str | None = None
    count: int = 1


@dataclass(frozen=True)
class Caption:
    """What is asked: one or two nouns, how the first lies relative to the second, and the background or None for any.

    Raises CaptionError for a combination that `write` could not say or that a picture could not show unambiguously.
    """

    asked: tuple[Asked, ...]
    relation: str | None = None
    background: str | None = None

    def __post_init__(self) -> None:
        problem = _problem(self)
        if problem:
            raise CaptionError(f"not a caption of the embedded world: {problem} (got {self.asked}, {self.relation!r})")

    @property
    def skill(self) -> str:
        """The one of SKILLS that this caption tests; it follows from its form."""
        first = self.asked[0]
        if self.relation is not None:
            return "position"
        if len(self.asked) == 2:
            return "two" if first.color is None else "attribution"
        if first.count > 1:
            return "counting"
        return "single" if first.color is None else "colors"


def _problem(caption: Caption) -> str | None:
    """What is wrong with the combination of words, or None."""
    asked = caption.asked
    if len(asked) not in (1, 2):
        return "one or two nouns are needed"
    for noun in asked:
        if noun.shape not in SHAPES or (noun.color is not None and noun.color not in COLORS):
            return f"unknown shape or colour; shapes are {', '.join(SHAPES)}, colours {', '.join(COLORS)}"
    if caption.background is not None and caption.background not in BACKGROUNDS:
        return f"unknown background; known are {', '.join(BACKGROUNDS)}"
    if len(asked) == 1:
        if caption.relation is not None:
            return "a relation needs two nouns"
        return None if asked[0].count in (1, *NUMBERS.values()) else "the count must be 1, 2 or 3"
    return _problem_of_two(asked[0], asked[1], caption.relation)


def _problem_of_two(first: Asked, second: Asked, relation: str | None) -> str | None:
    if first.count != 1 or second.count != 1:
        return "only a single noun can be counted"
    if relation is not None and relation not in RELATIONS:
        return f"unknown relation; known are {', '.join(RELATIONS)}"
    if (first.color is None) != (second.color is None):
        return "either both nouns have a colour or neither has"
    if first.color is None and first.shape == second.shape:
        return "two nouns without colours need different shapes"
    if first.color is not None and first.color == second.color:
        return "two coloured nouns need different colours"
    return None


def write(caption: Caption) -> str:
    """The sentence of `caption`, lower case, without a full stop."""
    nouns = [_write_noun(noun) for noun in caption.asked]
    text = f" {caption.relation or 'and'} ".join(nouns)
    return text if caption.background is None else f"{text} on a {caption.background} background"


def _write_noun(noun: Asked) -> str:
    one = "an" if noun.color == "orange" else "a"
    number = {1: one, **{count: word for word, count in NUMBERS.items()}}[noun.count]
    words = (number, noun.color, noun.shape if noun.count == 1 else f"{noun.shape}s")
    return " ".join(word for word in words if word is not None)


def parse(text: str) -> Caption:
    """The caption that `write` turns into `text`, to the letter. Raises CaptionError if there is none."""
    rest, background = text, None
    if rest.endswith(" background"):
        rest, _, last = rest.rpartition(" on a ")
        background = last.removesuffix(" background")
    caption = Caption(*_parse_nouns(rest, text), background=background)
    if write(caption) != text:
        raise CaptionError(f"cannot read {text!r}: the world would write it as {write(caption)!r}")
    return caption


def _parse_nouns(words: str, text: str) -> tuple[tuple[Asked, ...], str | None]:
    for joint in ("and", *RELATIONS):
        first, separator, second = words.partition(f" {joint} ")
        if separator:
            return (_parse_noun(first, text), _parse_noun(second, text)), None if joint == "and" else joint
    return (_parse_noun(words, text),), None


def _parse_noun(words: str, text: str) -> Asked:
    parts = words.split(" ")
    counts = {"a": 1, "an": 1, **NUMBERS}
    if len(parts) not in (2, 3) or parts[0] not in counts:
        raise CaptionError(f"cannot read {words!r} in {text!r}: expected a number word, perhaps a colour, and a shape")
    return Asked(parts[-1].removesuffix("s"), parts[1] if len(parts) == 3 else None, counts[parts[0]])


def all_captions() -> Iterator[Caption]:
    """Every caption of the grammar once, in a fixed order: 7,215 of them."""
    places = (None, *BACKGROUNDS)
    for shape, background in itertools.product(SHAPES, places):
        for color, count in itertools.product((None, *COLORS), (1, *NUMBERS.values())):
            yield Caption((Asked(shape, color, count),), None, background)
    plain = [(Asked(a), Asked(b)) for a, b in itertools.permutations(SHAPES, 2)]
    colored = [
        (Asked(a, x), Asked(b, y))
        for a, b in itertools.product(SHAPES, SHAPES)
        for x, y in itertools.permutations(COLORS, 2)
    ]
    for pair, relation, background in itertools.product(plain + colored, (None, *RELATIONS), places):
        yield Caption(pair, relation, background)


def draw_caption(skill: str, rng: np.random.Generator) -> Caption:
    """A random caption of one of SKILLS. Three in ten name the background; half of the position captions name colours.

    Both nouns of an attribution have the same shape in one of five captions.
    """
    if skill not in SKILLS:
        raise CaptionError(f"unknown skill {skill!r}; known are {', '.join(SKILLS)}")
    shapes = [str(shape) for shape in rng.permutation(SHAPES)]
    colors: list[str | None] = [str(color) for color in rng.permutation(COLORS)]
    colored = {"colors": 1.0, "attribution": 1.0, "counting": 0.8, "position": 0.5}.get(skill, 0.0)
    if rng.random() >= colored:
        colors = [None, None]
    elif rng.random() < 0.2:
        shapes[1] = shapes[0]
    pair = tuple(Asked(shape, color) for shape, color in zip(shapes[:2], colors, strict=False))
    if skill == "counting":
        pair = (replace(pair[0], count=int(rng.choice(list(NUMBERS.values())))),)
    asked = pair if skill in ("two", "attribution", "position") else pair[:1]
    relation = str(rng.choice(RELATIONS)) if skill == "position" else None
    background = str(rng.choice(list(BACKGROUNDS))) if rng.random() < 0.3 else None
    return Caption(asked, relation, background)
