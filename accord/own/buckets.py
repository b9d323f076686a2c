"""Aspect-ratio buckets: sizes of about the same number of pixels, one of which nearly has an image's own shape.

For a side of 1024 they are the sizes of SDXL (arXiv 2307.01952, appendix I) that leave the fewest pixels unused: from
512 x 2048 over 1024 x 1024 to 2048 x 512, in steps of 64 pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from accord.errors import ConfigError

Size = tuple[int, int]
"""Width and height in pixels."""

LARGEST_STEP = 64  # a multiple of what every family's latents stand for
STEPS_PER_SIDE = 8  # at least, so that small sides have several shapes, too


@lru_cache
def bucket_sizes(side: int) -> tuple[Size, ...]:
    """Return the sizes of at most `side` x `side` pixels, sorted by width: no side of them could be a step longer.

    Widths and heights go from half the side to its double, in steps of 64 pixels; below a side of 512 in steps of the
    largest power of two that is at most an eighth of it. Raises ConfigError for a side that is no multiple of the step.

    >>> bucket_sizes(512)[:5]
    ((256, 1024), (320, 768), (384, 640), (448, 576), (512, 512))
    >>> (832, 1216) in bucket_sizes(1024), (1024, 1024) in bucket_sizes(1024)
    (True, True)
    """
    step = min(LARGEST_STEP, 2 ** max(0, (side // STEPS_PER_SIDE).bit_length() - 1))
    if side < STEPS_PER_SIDE or side % step:
        near = max(STEPS_PER_SIDE, side // step * step)
        raise ConfigError(f"shapes around {side} x {side} need a multiple of {step} pixels, such as {near}")
    shortest = -(-side // (2 * step)) * step
    fitting = [(width, side * side // width // step * step) for width in range(shortest, 2 * side + 1, step)]
    turned = {(height, width) for width, height in fitting}
    found = turned | set(fitting)
    return tuple(size for size in sorted(found) if not any(_is_larger(other, size) for other in found))


def shared_bucket(sizes: Sequence[Size], side: int) -> Size:
    """Return the bucket for images that are compared: the one in which the image that loses most loses least.

    sizes: at least one, of the upright originals. Of equal ones: that in which they lose least together, then the
    narrowest.

    >>> shared_bucket([(3000, 2000)], 1024), shared_bucket([(1600, 900), (900, 1600)], 1024)
    ((1216, 832), (1024, 1024))
    """
    losses = {bucket: [share_lost(size, bucket) for size in sizes] for bucket in bucket_sizes(side)}
    return min(losses, key=lambda bucket: (max(losses[bucket]), sum(losses[bucket]), bucket))


def share_lost(size: Size, bucket: Size) -> float:
    """Return the share of an image's pixels that is cut off when it is resized to just cover the bucket.

    >>> share_lost((1000, 500), (512, 512)), share_lost((2048, 2048), (512, 512))
    (0.5, 0.0)
    """
    ours, theirs = size[0] * bucket[1], size[1] * bucket[0]
    return 1 - min(ours, theirs) / max(ours, theirs)


def _is_larger(other: Size, size: Size) -> bool:
    """Say whether the other size has both sides as long and is not the same."""
    return other != size and other[0] >= size[0] and other[1] >= size[1]
