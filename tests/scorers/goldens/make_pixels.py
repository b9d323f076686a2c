"""Make pixels.json: what the original code makes of a square, a tall and a wide picture before its network sees them.

    pip install torchvision==0.28.0 hpsv2==1.2.0 --no-deps && python tests/scorers/goldens/make_pixels.py

Nothing of Accord takes part. Each entry is the authors' own chain: torchvision's transforms in the order of OpenAI's
CLIP, ImageReward and T2I-CompBench; the file of HPSv2's package, with and without torchvision's antialiasing of
tensors, which became the default after its tables were published; transformers' processors for PickScore and MPS and,
behind LLaVA's square, for CLIP-FlanT5; the resize of Qwen2-VL's utilities and its processor for HPSv3.
"""

import importlib
import importlib.util
import json
import sys
import types
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
SHAPES = {"square": (512, 512), "tall": (600, 333), "wide": (300, 545), "small": (60, 107)}  # odd margins in two


def picture(height: int, width: int) -> np.ndarray:
    """Return a picture with fine and coarse structure, (H, W, 3) uint8, the same on every machine."""
    y, x, channel = np.mgrid[0:height, 0:width, 0:3]
    return ((y * x * (channel + 1) // 64 + 3 * y + 5 * x * channel) % 256).astype(np.uint8)


def places(shape: tuple[int, ...]) -> np.ndarray:
    """Return the kept places of an array (C, H, W) as flat indices: spread over it, corners and centre among them."""
    channels, height, width = shape
    rows = [0, height - 1, height // 2, height // 3, height - 2, 1, height // 5, 4 * height // 5]
    columns = [0, width - 1, width // 2, 2 * width // 3, 1, width - 2, 4 * width // 5, width // 5]
    found = [
        np.ravel_multi_index((c, r, k), shape) for c in range(channels) for r, k in zip(rows, columns, strict=True)
    ]
    return np.array(found)


def hpsv2(antialias: bool):
    """Return the transform that HPSv2's package builds for its network. The package as a whole cannot be imported."""
    from torchvision.transforms import functional as F

    shell = types.ModuleType("hps")
    shell.__path__ = [f"{importlib.util.find_spec('hpsv2').submodule_search_locations[0]}/src/open_clip"]
    sys.modules["hps"] = shell
    sys.modules.pop("hps.transform", None)  # each call its own copy, with its own resize
    module = importlib.import_module("hps.transform")
    module.F = types.SimpleNamespace(resize=partial(F.resize, antialias=antialias), pad=F.pad)
    return module.image_transform(224, is_train=False, mean=MEAN, std=STD, resize_longest_max=True)


def expand(image: Image.Image) -> Image.Image:
    """Return LLaVA's square of an image: the mean colour of the processor on both sides of the shorter edge."""
    width, height = image.size
    square = Image.new("RGB", (max(width, height),) * 2, tuple(int(value * 255) for value in MEAN))
    square.paste(image, ((max(width, height) - width) // 2, (max(width, height) - height) // 2))
    return square


def processed(size: int):
    """Return transformers' processor for CLIP at this size, as arrays."""
    from transformers import CLIPImageProcessorPil

    processor = CLIPImageProcessorPil(size={"shortest_edge": size}, crop_size={"height": size, "width": size})
    return lambda image: processor(images=image, return_tensors="np")["pixel_values"][0]


def qwen(image: Image.Image) -> np.ndarray:
    """Return the patches of HPSv3's picture: resized to its budget, then through Qwen2-VL's own processor."""
    from transformers import Qwen2VLImageProcessorPil
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

    height, width = smart_resize(image.height, image.width, 28, 256 * 28 * 28, 256 * 28 * 28)
    return Qwen2VLImageProcessorPil()(images=image.resize((width, height)), return_tensors="np")["pixel_values"][None]


def chains():
    """Return what each scorer's authors do to a picture, by scorer."""
    from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Normalize, Resize, ToTensor

    end = [ToTensor(), Normalize(MEAN, STD)]
    bicubic = InterpolationMode.BICUBIC
    return {
        "clip": Compose([Resize(224, interpolation=bicubic), CenterCrop(224), *end]),
        "pickscore": processed(224),
        "hpsv2": hpsv2(antialias=False),
        "hpsv2_antialias": hpsv2(antialias=True),
        "blip_vqa": Compose([Resize((480, 480), interpolation=bicubic), *end]),
        "flant5": lambda image: processed(336)(expand(image)),
        "hpsv3": qwen,
    }


def main() -> None:
    goldens = {}
    for name, chain in chains().items():
        for kind, shape in SHAPES.items():
            found = np.asarray(chain(Image.fromarray(picture(*shape))), dtype=np.float64)
            kept = found.ravel()[places(found.shape)]
            goldens[f"{name} {kind}"] = {
                "shape": list(found.shape),
                "mean": round(float(found.mean()), 6),
                "deviation": round(float(found.std()), 6),
                "values": [round(float(value), 4) for value in kept],
            }
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(entry)}" for name, entry in goldens.items())
    (Path(__file__).parent / "pixels.json").write_text("{\n" + lines + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
