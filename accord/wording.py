"""Numbers in sentences of terminal, logs and cards, in plain digits; pages have `plural` of `accord.report.words`."""

from __future__ import annotations


def counted(number: int, what: str) -> str:
    """Return the number and what is counted, told in the plural: its first word loses the s where there is one.

    >>> counted(2, "images per prompt"), counted(1, "images per prompt"), counted(1, "unscored")
    ('2 images per prompt', '1 image per prompt', '1 unscored')
    """
    first, _, rest = what.partition(" ")
    return f"{number} {first.removesuffix('s') if number == 1 else first} {rest}".rstrip()
