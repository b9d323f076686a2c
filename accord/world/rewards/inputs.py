"""What every scorer of the world does with what it is given: check the pictures, read the prompts."""

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np

from accord.errors import ScoringError
from accord.world.captions import Caption, CaptionError, parse
from accord.world.vocabulary import SIZE


def check_images(scorer: str, images: Sequence[np.ndarray], prompts: Sequence[str]) -> None:
    """Raise ScoringError unless there is one prompt per image and every image is uint8 (32, 32, 3)."""
    if len(images) != len(prompts):
        raise ScoringError(f"{scorer} needs one prompt per image: got {len(images)} images, {len(prompts)} prompts")
    for position, image in enumerate(images):
        if image.shape != (SIZE, SIZE, 3) or image.dtype != np.uint8:
            raise ScoringError(
                f"{scorer} scores pictures of {SIZE}x{SIZE} uint8 RGB pixels; image {position} is {image.dtype} "
                f"{image.shape}. Set the image height and width to {SIZE}, or choose another scorer"
            )


def score_each(score: Callable[[np.ndarray], float], images: Sequence[np.ndarray]) -> np.ndarray:
    """`score` of each image as float64 (H, W, 3) in 0..1, one by one, so that rows cannot meet; float64 (B,)."""
    return np.array([score(image / 255.0) for image in images], dtype=np.float64)


def score_each_with_caption(
    score: Callable[[np.ndarray, Caption], float], images: Sequence[np.ndarray], prompts: Sequence[str]
) -> np.ndarray:
    """`score` of each uint8 image and its caption; float64 (B,), NaN where the prompt is not a caption of the world."""
    captions = [read_prompt(prompt) for prompt in prompts]
    return np.array(
        [np.nan if c is None else score(image, c) for image, c in zip(images, captions, strict=True)], dtype=np.float64
    )


@lru_cache(maxsize=4096)
def read_prompt(text: str) -> Caption | None:
    """The caption, or None: prompts come from users, and most sentences say nothing about the world."""
    try:
        return parse(text)
    except CaptionError:
        return None
