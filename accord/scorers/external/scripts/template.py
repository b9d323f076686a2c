"""A scorer in an environment of its own: fill in CARD and load(), and name this file in a run file.

pip install -r template.requirements.txt       # into an environment of its own
python template.py                             # by hand: waits for requests; Ctrl-D ends it
"""

from __future__ import annotations

import io
from collections.abc import Callable

from accord_serve import serve
from PIL import Image, ImageStat

CARD = {
    "name": "brightness",  # what this is; the run file may call it something else
    "version": "1",  # change it whenever a score can change: old tables are then known to be stale
    "summary": "Mean grey value of the picture.",
    "scale": "0 black, 1 white",  # the convention of the number
    "bradley_terry_scale": 10.0,  # a difference of 0.1 is preferred with sigmoid(1) = .73
    "uses_prompt": False,
    "licence": "Apache-2.0",
    "citation": "none",
    "low": 0.0,  # leave out low and high where a score has no bounds
    "high": 1.0,
    "memory_gb": 0.0,  # of the weights, on the device
}


def load(device: str) -> Callable[[list[bytes], list[str]], list[float | None]]:
    """Load the model on this device ("cpu", "cuda:0"), once; return the function that scores."""

    def score(pngs: list[bytes], prompts: list[str]) -> list[float | None]:
        """Return one number per image, higher is better; None, or an exception, where there is none."""
        images = [Image.open(io.BytesIO(png)).convert("RGB") for png in pngs]
        return [ImageStat.Stat(image.convert("L")).mean[0] / 255 for image in images]

    return score


if __name__ == "__main__":
    serve(CARD, load)
