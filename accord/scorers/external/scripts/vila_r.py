"""VILA-R, Google's aesthetic score (Ke et al., CVPR 2023, arXiv 2303.14302), from TensorFlow Hub.

    pip install -r vila_r.requirements.txt         # into an environment of its own, Python 3.9 to 3.12
    python vila_r.py [MODEL]                       # MODEL: a hub address, or a folder with the SavedModel

The model takes one encoded image per call, resizes it itself and returns a number from 0 to 1. This script was tested
with a stand-in for TensorFlow, not with the model itself: compare a few scores with the model's page before you rely
on it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from accord_serve import serve, use_only

MODEL = "https://tfhub.dev/google/vila/image/1"
CARD = {
    "name": "vila_r",
    "version": "google/vila/image/1",
    "summary": "Aesthetics as photographers rate them, learned from comments and from the ratings of AVA.",
    "scale": "0 to 1",
    "bradley_terry_scale": 10.0,  # not measured: set score.scales to 1 / (spread among the images of a prompt)
    "uses_prompt": False,
    "licence": "Apache-2.0",
    "citation": "Ke et al., VILA, CVPR 2023, arXiv 2303.14302",
    "low": 0.0,
    "high": 1.0,
    "memory_gb": 0.5,
}


def load(device: str) -> Callable[[list[bytes], list[str]], list[float | None]]:
    """Load the model; TensorFlow sees this device only."""
    use_only(device)
    import tensorflow
    import tensorflow_hub

    predict = tensorflow_hub.load(sys.argv[1] if len(sys.argv) > 1 else MODEL).signatures["serving_default"]

    def score(pngs: list[bytes], prompts: list[str]) -> list[float | None]:
        return [float(predict(tensorflow.constant(png))["predictions"].numpy().reshape(-1)[0]) for png in pngs]

    return score


if __name__ == "__main__":
    serve(CARD, load)
