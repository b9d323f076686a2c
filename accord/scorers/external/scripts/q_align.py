"""Q-Align, OneAlign (Wu et al., ICML 2024, arXiv 2312.17090): aesthetics or quality as an expected word of five.

    pip install -r q_align.requirements.txt        # into an environment of its own, Python 3.8 to 3.11
    python q_align.py [aesthetics|quality] [MODEL]

Its network is code that comes with the weights: transformers downloads and runs it, in this process. Look at it first,
or give a folder that you have looked at. The official code is licensed for non-commercial use. This script was
tested with a stand-in for transformers, not with the model itself.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from typing import Any

from accord_serve import serve
from PIL import Image

TASK = sys.argv[1] if len(sys.argv) > 1 else "aesthetics"
MODEL = sys.argv[2] if len(sys.argv) > 2 else "q-future/one-align"
CARD = {
    "name": "q_align_" + TASK,
    "version": MODEL,
    "summary": "The expected word on a scale of five for an image's " + TASK + ".",
    "scale": "1 bad to 5 excellent, an expectation",
    "bradley_terry_scale": 2.0,  # not measured: set score.scales to 1 / (spread among the images of a prompt)
    "uses_prompt": False,
    "licence": "S-Lab 1.0 (code), non-commercial",
    "citation": "Wu et al., Q-Align, ICML 2024, arXiv 2312.17090",
    "low": 1.0,
    "high": 5.0,
    "is_commercial_use_allowed": False,
    "memory_gb": 16.0,
}


def load(device: str) -> Callable[[list[bytes], list[str]], list[float | None]]:
    """Load the model in float16, or in float32 on a CPU."""
    import torch
    import transformers

    dtype = torch.float32 if device == "cpu" else torch.float16
    model: Any = transformers.AutoModelForCausalLM.from_pretrained(
        MODEL, trust_remote_code=True, attn_implementation="eager", torch_dtype=dtype, device_map={"": device}
    )

    def score(pngs: list[bytes], prompts: list[str]) -> list[float | None]:
        with torch.inference_mode():  # one image per call: a batch would be padded
            images = [Image.open(io.BytesIO(png)).convert("RGB") for png in pngs]
            return [float(model.score([image], task_=TASK, input_="image")[0]) for image in images]

    return score


if __name__ == "__main__":
    if TASK not in ("aesthetics", "quality"):
        sys.exit("the first argument is aesthetics or quality, not " + repr(TASK))
    serve(CARD, load)
