"""Images per second: Accord's scoring stage against one image per call, as the reward models' own packages are used.

    python benchmarks/scorers.py            # minutes to half an hour, and 12 GB of memory on two cores

Random weights of real size (CLIP ViT-L/14 and ViT-H/14), 16 images of 512 x 512 pixels per prompt, two CPU threads.
"Their way" is what each package's own scoring function does, written on transformers' CLIP: decode, prepare and score
one image per call, encode the text in every call, open a network of one's own, and, as hpsv2's `score` does, read the
checkpoint again in every call. Both ways compute in float32, and the scores must agree. Times are of the wall clock
and of this process's CPU. The first needs two cores that nothing else uses; the second counts what one thread does
(reading a checkpoint) as much as what two do (a network), so it understates the difference.
"""

from __future__ import annotations

import argparse
import gc
import io
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.nn.functional import normalize
from transformers import CLIPConfig, CLIPModel

from accord.engine.scoring import ScoreSettings, ScoreShard, ScoreWorker
from accord.images import ImageRow, encode_image, image_id, write_images
from accord.scorers import clip_network
from accord.scorers.clip_names import from_open_clip, h14_config
from accord.scorers.clip_network import clip_of_weights, open_tokenizer
from accord.scorers.hpsv2_1 import FILE as HPS
from accord.scorers.laion_aesthetic import FILE as HEAD
from accord.scorers.laion_aesthetic import rate, read_head
from accord.scorers.preprocessing import CropToSquare, PadToSquare
from accord.tables import read_scores
from accord.testing.official_names import official_shapes
from accord.testing.tokenizers import clip_tokenizer

PROMPT = "a red square above two blue circles, in the style of a woodcut"
SCORERS = ("clip_score", "laion_aesthetic", "hpsv2.1")
NAMES = Path(__file__).parents[1] / "tests" / "scorers" / "names"


def random_clip(folder: Path) -> None:
    """Write a random CLIP ViT-L/14 as the hub stores it; the vocabulary is small, which costs no time to score."""
    torch.manual_seed(0)
    tokenizer = clip_tokenizer()
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    text = {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12, "vocab_size": len(tokenizer)}
    vision = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}
    config = CLIPConfig(text_config={**text, **ends}, vision_config={**vision, "patch_size": 14}, projection_dim=768)
    CLIPModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def random_hps(folder: Path) -> None:
    """Write a random HPSv2.1: safetensors in open_clip's names, and a .pt to read again in every call."""
    generator = torch.Generator().manual_seed(1)
    names = official_shapes((NAMES / "hpsv2.txt").read_text())
    weights = {name: 0.02 * torch.randn(shape, generator=generator) for name, shape in names.items()}
    weights |= {name: 1 + weight for name, weight in weights.items() if "ln_" in name and name.endswith("weight")}
    weights["logit_scale"] = torch.tensor(4.6)
    folder.mkdir()
    save_file(weights, folder / f"{HPS}.safetensors")
    torch.save({"state_dict": from_open_clip(weights)}, folder / f"{HPS}.pt")
    clip_tokenizer().save_pretrained(folder)


def random_head(folder: Path) -> None:
    """Write a random aesthetic head."""
    sizes = (768, 1024, 128, 64, 16, 1)
    generator = torch.Generator().manual_seed(0)
    weights = {}
    for place, a, b in zip((0, 2, 4, 6, 7), sizes, sizes[1:], strict=False):
        weights[f"layers.{place}.weight"] = torch.randn((b, a), generator=generator) / a**0.5
        weights[f"layers.{place}.bias"] = torch.zeros(b)
    save_file(weights, folder / f"{HEAD}.safetensors")


def pictures(count: int) -> list[bytes]:
    """Smooth random PNG images of 512 x 512 pixels."""
    generator = np.random.default_rng(0)
    small = generator.integers(0, 256, (count, 24, 24, 3), dtype=np.uint8)
    return [
        encode_image(np.asarray(Image.fromarray(each).resize((512, 512), Image.Resampling.BICUBIC)), "png")
        for each in small
    ]


# --- their way: one image per call -----------------------------------------------------------------------------------


class OneByOne:
    """One scorer as its package has it: every call decodes, prepares and scores one image and encodes its text.

    The network is transformers' CLIP as it comes: nothing of Accord's is in its forward pass. `clip_score` as
    torchmetrics and PickScore's model card do it; `laion_aesthetic` with a CLIP of its own; `hpsv2.1` as
    `hpsv2.score(image, prompt)` of package hpsv2 1.2, which reads the checkpoint into its network in every call.
    """

    def __init__(self, scorer: str, options: dict[str, str]) -> None:
        path = Path(options["path"])
        self.scorer = scorer
        self.tokenizer = open_tokenizer(str(path))
        if scorer == "hpsv2.1":
            self.reload = path / f"{HPS}.pt"
            weights = from_open_clip(load_file(path / f"{HPS}.safetensors"))
            self.model = clip_of_weights(weights, h14_config(weights), "float32", HPS).eval()
        else:
            self.model = CLIPModel.from_pretrained(path).eval()
        self.head = read_head(load_file(path / f"{HEAD}.safetensors")) if scorer == "laion_aesthetic" else None

    def __call__(self, content: bytes, prompt: str) -> float:
        with torch.no_grad():
            if self.scorer == "hpsv2.1":
                state = torch.load(self.reload, map_location="cpu", weights_only=True)["state_dict"]
                self.model.load_state_dict(state)
            image = np.array(Image.open(io.BytesIO(content)).convert("RGB"))
            prepare = PadToSquare() if self.scorer == "hpsv2.1" else CropToSquare(rounds_crop=True)
            pixels = torch.from_numpy(prepare(image))[None]
            picture = normalize(self.model.get_image_features(pixel_values=pixels).pooler_output, dim=-1)
            if self.head is not None:
                return float(rate(picture, self.head))
            tokens = self.tokenizer([prompt], padding="max_length", truncation=True, max_length=77, return_tensors="pt")
            text = normalize(self.model.get_text_features(**tokens).pooler_output, dim=-1)
            return float((picture * text).sum())


def time_of(work: Callable[[], object]) -> tuple[float, float]:
    """Return wall and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def their_way(scorer: str, options: dict[str, str], images: list[bytes]) -> tuple[list[float], dict[str, float]]:
    """Return scores, and seconds per image."""
    one = OneByOne(scorer, options)  # not timed
    one(images[0], PROMPT)  # the first call is slower
    found: list[float] = []
    wall, cpu = time_of(lambda: found.extend(one(image, PROMPT) for image in images))
    return found, {"wall": wall / len(images), "cpu": cpu / len(images)}


# --- our way: the scoring stage --------------------------------------------------------------------------------------


def our_way(folder: Path, options: dict[str, dict[str, str]], images: list[bytes]) -> tuple[dict, dict[str, float]]:
    """Return scorer -> scores, seconds per image, and the share of them that the networks' forward passes take."""
    inside = [0.0]
    worker = ScoreWorker("cpu", SCORERS, {"p": PROMPT}, ScoreSettings(len(images), options))
    clip_network.embed_images = timed(clip_network.embed_images, inside)  # type: ignore[attr-defined]
    for scorer in worker.scorers.values():
        model = (getattr(scorer, "clip", None) or scorer._score.clip).model
        if not hasattr(model.get_text_features, "is_timed"):
            model.get_text_features = timed(model.get_text_features, inside)
    shards = []
    for part in range(2):  # the first warms up
        rows = [ImageRow(image_id("p", i), "p", i, 0, content, 512, 512) for i, content in enumerate(images)]
        path = folder / f"part-{part:05d}.parquet"
        write_images(path, rows[:1] if part == 0 else rows, len(rows))
        shards.append(ScoreShard(path, {name: folder / name / path.name for name in SCORERS}))
    worker(shards[0])
    inside[0] = 0.0
    wall, cpu = time_of(lambda: worker(shards[1]))
    scores = {name: [row[1] for row in read_scores(folder / name).values()] for name in SCORERS}
    return scores, {"wall": wall / len(images), "cpu": cpu / len(images), "share_in_forward": inside[0] / wall}


def timed(function: Callable, inside: list[float]) -> Callable:
    """Return the function, adding the seconds it takes to `inside`."""

    def run(*arguments: object, **named: object) -> object:
        start = time.perf_counter()
        try:
            return function(*arguments, **named)
        finally:
            inside[0] += time.perf_counter() - start

    run.is_timed = True  # type: ignore[attr-defined]
    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=16, help="per prompt")
    parser.add_argument("--theirs", type=int, default=3, help="of these, how many are scored one by one")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "scorers.json")
    told = parser.parse_args()
    torch.set_num_threads(2)
    images = pictures(told.images)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        random_clip(folder / "l14")
        random_hps(folder / "hps")
        random_head(folder / "l14")
        paths = {"l14": str(folder / "l14"), "hps": str(folder / "hps")}
        options = {
            "clip_score": {"path": paths["l14"]},
            "laion_aesthetic": {"path": paths["l14"], "head_path": paths["l14"]},
            "hpsv2.1": {"path": paths["hps"], "tokenizer_path": paths["hps"]},
        }
        ours, seconds = our_way(folder / "run", options, images)
        gc.collect()  # frees the networks
        theirs = {}
        for scorer in SCORERS:
            scores, theirs[scorer] = their_way(scorer, options[scorer], images[: told.theirs])
            gc.collect()
            np.testing.assert_allclose(scores, ours[scorer][: told.theirs], atol=1e-4)
    report(told, seconds, theirs)


def report(told: argparse.Namespace, ours: dict[str, float], theirs: dict[str, dict[str, float]]) -> None:
    """Print the figures and write them."""
    total = {kind: sum(seconds[kind] for seconds in theirs.values()) for kind in ("wall", "cpu")}
    found = {
        "machine": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "load_average": os.getloadavg()[0],
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "images_per_prompt": told.images,
        "images_timed_one_by_one": told.theirs,
        "seconds_per_image": {"ours, all three": ours, "theirs": {**theirs, "all three": total}},
        "times_faster": {kind: round(total[kind] / ours[kind], 2) for kind in total},
        "share_of_wall_time_in_forward": round(ours["share_in_forward"], 4),
    }
    text = json.dumps(found, indent=2)
    print(text)
    told.output.parent.mkdir(exist_ok=True)
    told.output.write_text(text + "\n")


if __name__ == "__main__":
    main()
