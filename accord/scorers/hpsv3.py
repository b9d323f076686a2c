"""HPSv3 (Ma et al., ICCV 2025, arXiv 2508.03789): Qwen2-VL 7B reads picture, rubric and prompt; a head rewards.

    (mu, log sigma) = head(state at the token <|Reward|>),      score = mu, about -2 to 12 and more

The rubric is input that the model was trained on, so it is given word for word (package hpsv3 1.0, MIT). Every token
has one position, the same on the three axes of Qwen2-VL's rotary embedding: the original's version of transformers
numbered them so, and the weights were trained with it. What today's versions do by themselves moves the states by about
16 %.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np

from accord.errors import ScoringError
from accord.scorers.batch import Batch
from accord.scorers.checkpoint import Needed, hashes, how_to_fetch, require
from accord.scorers.official import fill, fill_large, opened, read_state, same_name, split
from accord.scorers.placement import Dtype, Placement, Quantise, placed, precise, require_quantiser
from accord.scorers.preprocessing import CLIP_MEAN, CLIP_STD, normalise, resize
from accord.scorers.prompt_text import plain, put_into
from accord.types import ScorerCard

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import Qwen2VLConfig

FILE = "HPSv3.safetensors"
REWARD = "<|Reward|>"
CHAT = (
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    "<|im_start|>user\n<|vision_start|>{picture}<|vision_end|>{text}<|im_end|>\n<|im_start|>assistant\n"
)
PARTS = ("rm_head.", "")
UNUSED = r"lm_head\.weight"  # the head that writes words


@dataclass(frozen=True)
class SmartResize:
    """Qwen2-VL's resize (bicubic): about `pixels` pixels, both edges a multiple of 28, proportions nearly kept."""

    pixels: int = 256 * 28 * 28
    factor: int = 28

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Return float32 (3, h, w) of a uint8 RGB image (H, W, 3). A picture 200 times as long as wide is refused."""
        from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

        height, width = smart_resize(image.shape[0], image.shape[1], self.factor, self.pixels, self.pixels)
        return normalise(resize(image, height, width), CLIP_MEAN, CLIP_STD)


class HpsV3:
    """HPSv3, from its official checkpoint."""

    card = ScorerCard(
        name="hpsv3",
        version="MizzenAI/HPSv3",
        summary="General human preference over 1.2 million comparisons, also of recent models; slow and strong.",
        scale="mean of the predicted preference; about -2 to 12 and more; a difference is about a log-odds",
        bradley_terry_scale=1.0,
        uses_prompt=True,
        licence="MIT",
        citation="Ma et al., HPSv3, ICCV 2025, arXiv 2508.03789",
        licence_of_weights="base model Qwen2-VL-7B-Instruct: Apache-2.0",
        checkpoint="MizzenAI/HPSv3",
        revision="main",
        memory_gb=16.6,
    )
    preprocessing = SmartResize()
    neutral_options = frozenset({"spread"})

    def __init__(
        self,
        *,
        path: str = card.checkpoint,
        base_path: str = "Qwen/Qwen2-VL-7B-Instruct",
        device: str = "cpu",
        dtype: Dtype = "bfloat16",
        spread: bool = False,
        quantise: Quantise = "no",
    ) -> None:
        """Open the checkpoint in `path`; configuration and words are those of `base_path`. Both: folder or hub id."""
        from transformers import Qwen2Tokenizer, Qwen2VLConfig, Qwen2VLModel

        placement = Placement(device, dtype, spread, quantise)
        options, self.is_row_by_row = placement.options(), placement.is_row_by_row
        file, *_ = (needed.find() for needed in needed_files(path, base_path))
        config = opened(lambda: Qwen2VLConfig.from_pretrained(base_path), base_path, "configuration")
        self.tokenizer = opened(lambda: Qwen2Tokenizer.from_pretrained(base_path), base_path, "tokenizer")
        self.tokenizer.add_tokens([REWARD], special_tokens=True)
        head, language = parts(read_state(file), file.name)
        config = fitted(config, language, len(self.tokenizer), base_path)
        self.model = fill_large(Qwen2VLModel, config, language, same_name, file.name, options)
        made = fill(lambda: reward_head(head["0.weight"].shape[1]), head, same_name, file.name)
        self.head = placed(made, str(self.model.device), "float32")  # whatever the rest, as the original
        self.checkpoint = hashes([file])
        vision: Any = config.vision_config
        self.merged = vision.patch_size * vision.spatial_merge_size  # the edge of a token in pixels
        self.preprocessing = SmartResize(factor=self.merged)
        self.rubric = resources.files("accord.scorers").joinpath("hpsv3_rubric.txt").read_text(encoding="utf-8")

    @staticmethod
    def require_ready(*, path: str, base_path: str, quantise: Quantise, **_: object) -> None:
        """Raise ScoringError if a file is missing, MissingDependency if bitsandbytes is wanted and is not here."""
        require(*needed_files(path, base_path))
        require_quantiser(quantise)

    def score(self, images: Sequence[np.ndarray], prompts: Sequence[str]) -> np.ndarray:
        """Return mu, (B,) float64."""
        return self.score_batch(Batch(images, prompts))

    def score_batch(self, batch: Batch) -> np.ndarray:
        """Return mu, (B,) float64."""
        return self.outputs(batch)[:, 0]

    def outputs(self, batch: Batch) -> np.ndarray:
        """Return mean and deviation of the preference of each row, (B, 2) float64.

        The head's second output is the logarithm of the deviation: how unsure the model is, on the scale of the score.
        """
        import torch

        if self.is_row_by_row and len(batch) > 1:
            return np.concatenate([self.outputs(batch.part([row])) for row in range(len(batch))])
        pictures = batch.prepared(self.preprocessing)
        tokens = self._tokens(pictures, batch.prompts)
        ids = tokens["input_ids"]
        positions = torch.arange(ids.shape[1], device=ids.device).expand(3, *ids.shape)
        with torch.inference_mode():
            states = self.model(**tokens, **self._patches(pictures), position_ids=positions, use_cache=False)
            rewards = self.head(states.last_hidden_state[ids == self._id(REWARD)].to(self.model.device).float())
        mean, log_deviation = precise(rewards).numpy().T
        return np.stack([mean, np.exp(log_deviation)], axis=1)

    def _tokens(self, pictures: Sequence[np.ndarray], prompts: Sequence[str]) -> dict[str, Tensor]:
        """Return ids and mask (B, L), padded on the right."""
        texts = []
        for picture, prompt in zip(pictures, prompts, strict=True):
            count = (picture.shape[1] // self.merged) * (picture.shape[2] // self.merged)
            text = put_into(self.rubric, plain(prompt, self.tokenizer))
            texts.append(CHAT.replace("{picture}", "<|image_pad|>" * count).replace("{text}", text))
        found = self.tokenizer(texts, padding=True, padding_side="right", return_tensors="pt")
        return {name: found[name].to(self.model.device) for name in ("input_ids", "attention_mask")}

    def _patches(self, pictures: Sequence[np.ndarray]) -> dict[str, Tensor]:
        import torch

        vision: Any = self.model.config.vision_config
        sizes = vision.patch_size, vision.spatial_merge_size, vision.temporal_patch_size
        cut = [patches(each, *sizes) for each in pictures]
        grid = [[1, each.shape[1] // vision.patch_size, each.shape[2] // vision.patch_size] for each in pictures]
        device = self.model.device
        return {
            "pixel_values": torch.from_numpy(np.concatenate(cut)).to(device, self.model.dtype),
            "image_grid_thw": torch.tensor(grid, device=device),
        }

    def _id(self, token: str) -> int:
        return self.tokenizer.get_vocab()[token]


def needed_files(path: str, base_path: str) -> tuple[Needed, ...]:
    """Return the weights, and of the base model the configuration and the words."""
    base = (("config.json",), ("tokenizer.json", "vocab.json"))
    return Needed(path, (FILE,)), *(Needed(base_path, names, instead=how_to_fetch(base_path)) for names in base)


def patches(pixels: np.ndarray, patch: int = 14, merge: int = 2, frames: int = 2) -> np.ndarray:
    """Return the patches of a picture (3, h, w) as Qwen2-VL reads them, (h w / patch², 3 frames patch²) float32.

    The four patches that become one token follow each other; a still picture is `frames` equal frames.
    """
    channels, height, width = pixels.shape
    rows, columns = height // (patch * merge), width // (patch * merge)
    cut = pixels.reshape(channels, rows, merge, patch, columns, merge, patch).transpose(1, 4, 2, 5, 0, 3, 6)
    still = np.repeat(cut[:, :, :, :, :, None], frames, axis=5)
    return still.reshape(rows * columns * merge**2, -1)


def parts(state: Mapping[str, Tensor], source: str) -> list[dict[str, Tensor]]:
    """Return the tensors of the head, and of Qwen2-VL under the names of today's transformers."""
    head, language = split(state, PARTS, UNUSED, source)
    return [head, {own_name(name): tensor for name, tensor in language.items()}]


def own_name(name: str) -> str:
    """Return today's name of a parameter of Qwen2-VL; the checkpoint has those of transformers 4.45."""
    return f"language_model.{name.removeprefix('model.')}" if name.startswith("model.") else name


def fitted(config: Qwen2VLConfig, state: Mapping[str, Tensor], words: int, base_path: str) -> Qwen2VLConfig:
    """Return the base model's configuration with the checkpoint's vocabulary, which ends with <|Reward|>."""
    embedding = state.get("language_model.embed_tokens.weight")
    rows = 0 if embedding is None else embedding.shape[0]
    if rows != words:
        raise ScoringError(
            f"the words of '{base_path}' are {words} with {REWARD}, but the checkpoint has {rows}; "
            "give the folder or hub id of Qwen2-VL-7B-Instruct as base_path"
        )
    text: Any = config.text_config
    text.vocab_size = rows
    return config


def reward_head(width: int) -> nn.Sequential:
    """Return the head; dropout is between the first layers of the original, so its layers are 0, 3 and 5."""
    from torch import nn

    return nn.Sequential(
        nn.Linear(width, 1024), nn.ReLU(), nn.Identity(), nn.Linear(1024, 16), nn.ReLU(), nn.Linear(16, 2)
    )
