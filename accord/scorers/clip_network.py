"""A CLIP network with its two encoders: what CLIP score, PickScore, HPS and the aesthetic head share.

Scorers of one process that open the same checkpoint with the same dtype on the same device get the same object, and of
one batch each image is encoded once for all of them. Embeddings are float32 and of length 1, whatever the dtype.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from accord.errors import ScoringError
from accord.scorers.batch import Batch, Preprocessing
from accord.scorers.checkpoint import Needed, hashes, how_to_fetch, require
from accord.scorers.clip_vision import embed_images
from accord.scorers.official import opened
from accord.scorers.placement import Dtype, precise, torch_dtype
from accord.scorers.shared import shared
from accord.scorers.silence import no_loading_bar

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

H14 = "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"
WEIGHTS = "model.safetensors"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.json", "merges.txt")


class ClipNetwork:
    """A CLIP model in evaluation mode, its own weights without gradient, with its tokenizer."""

    def __init__(self, model: Any, tokenizer: Any, key: Hashable, checkpoint: Mapping[str, str], device: str) -> None:
        self.model = model.eval().requires_grad_(False).to(device)
        self.tokenizer = tokenizer
        self.key = key
        self.checkpoint = dict(checkpoint)
        self.device = device
        self.image_size = int(model.config.vision_config.image_size)
        self.num_tokens = int(model.config.text_config.max_position_embeddings)

    @property
    def logit_scale(self) -> float:
        """The learned factor that turns a cosine into a logit."""
        return float(self.model.logit_scale.float().exp())

    def cosines(self, batch: Batch, preprocessing: Preprocessing, clean: Callable[[str], str] | None = None) -> Tensor:
        """Return the cosine of each image with its own prompt, (B,) float64 on the CPU."""
        pixels, texts = precise(self.images(batch, preprocessing)), precise(self.texts(batch, clean))
        return (pixels * texts).sum(dim=-1)

    def images(self, batch: Batch, preprocessing: Preprocessing) -> Tensor:
        """Return the unit embedding of each image, (B, D); made once per batch."""
        import torch

        def encode() -> Tensor:
            with torch.inference_mode():
                return self.embed_pixels(batch.pixels(preprocessing))

        return batch.once((self.key, "images", preprocessing), encode)

    def texts(self, batch: Batch, clean: Callable[[str], str] | None = None) -> Tensor:
        """Return the unit embedding of each image's prompt, (B, D); each text is encoded once per shard."""
        import torch

        def encode(texts: list[str]) -> Tensor:
            with torch.inference_mode():
                return self.embed_texts(texts if clean is None else [clean(text) for text in texts])

        return batch.texts((self.key, "texts", clean), encode)

    def embed_pixels(self, pixels: Tensor) -> Tensor:
        """Return unit embeddings (B, D) of prepared pixels (B, C, H, W). Gradients reach the pixels."""
        return unit(embed_images(self.model, pixels.to(self.device, self.model.dtype)))

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Return unit embeddings (T, D) of texts."""
        return unit(self.model.get_text_features(**self.tokens(texts)).pooler_output)

    def tokens(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """Return token ids and mask (T, L) of texts, padded to the model's length and cut there, the end token kept."""
        found = self.tokenizer(
            list(texts), padding="max_length", truncation=True, max_length=self.num_tokens, return_tensors="pt"
        )
        return {name: found[name].to(self.device) for name in ("input_ids", "attention_mask")}


def open_clip_network(
    path: str, tokenizer_path: str, revision: str = "main", dtype: Dtype = "float32", device: str = "cpu"
) -> ClipNetwork:
    """Open a CLIP checkpoint in the format of transformers, a hub id or a local folder.

    Raises ScoringError that says how to get it, or which weights it lacks.
    """
    key = ("clip", path, tokenizer_path, revision, dtype, device)

    def make() -> ClipNetwork:
        from transformers import CLIPModel

        weights, _ = (needed.find() for needed in network_files(path, revision))
        loaded: Any = opened(
            lambda: CLIPModel.from_pretrained(
                path, revision=revision, use_safetensors=True, dtype=torch_dtype(dtype), output_loading_info=True
            ),
            path,
            "model",
        )
        model, report = loaded
        check_loaded(path, report)
        return ClipNetwork(model, open_tokenizer(tokenizer_path), key, hashes([weights]), device)

    return shared(key, make)


def require_clip(path: str, tokenizer_path: str, revision: str = "main") -> None:
    """Raise ScoringError, before anything is opened, if a file of network or tokenizer is missing."""
    require(*network_files(path, revision), tokenizer_file(tokenizer_path))


def network_files(path: str, revision: str = "main") -> tuple[Needed, Needed]:
    """Return weights and configuration of a CLIP in the format of transformers."""
    how = how_to_fetch(path, ("config.json", WEIGHTS), revision)
    return Needed(path, (WEIGHTS,), revision, how), Needed(path, ("config.json",), revision, how)


def tokenizer_file(path: str) -> Needed:
    """Return the file by which CLIP's tokenizer is known."""
    return Needed(path, ("tokenizer_config.json",), instead=how_to_fetch(path, TOKENIZER_FILES))


def clip_of_weights(weights: Mapping[str, Tensor], config: Any, dtype: Dtype, name: str) -> Any:
    """Return a CLIPModel of transformers with exactly these weights. Raises ScoringError on a missing or odd name."""
    from transformers import CLIPModel

    with no_loading_bar():
        loaded: Any = CLIPModel.from_pretrained(
            None, config=config, state_dict=dict(weights), dtype=torch_dtype(dtype), output_loading_info=True
        )
    model, report = loaded
    check_loaded(name, report)
    return model


def check_loaded(path: str, report: Mapping[str, Any]) -> None:
    """Raise ScoringError unless every weight of the model was in the file, and every one of the file has its place."""
    odd = [name for name in report["unexpected_keys"] if not name.endswith("position_ids")]
    missing = [*report["missing_keys"], *report["mismatched_keys"]]
    if odd or missing:
        raise ScoringError(
            f"the weights in {path} do not fit the model: {len(missing)} missing ({str(missing[:1])[1:-1]}), "
            f"{len(odd)} without a place ({str(odd[:1])[1:-1]}); get the official file again"
        )


def open_tokenizer(path: str) -> Any:
    """Open CLIP's tokenizer from a hub id or a local folder. Raises ScoringError that says how to get it."""
    from transformers import CLIPTokenizer

    tokenizer_file(path).find()
    try:
        return CLIPTokenizer.from_pretrained(path)
    except (OSError, ValueError) as error:
        raise ScoringError(
            f"the tokenizer in {path} cannot be opened ({str(error).splitlines()[0]}); "
            f"{how_to_fetch(path, TOKENIZER_FILES)}"
        ) from error


def unit(rows: Tensor) -> Tensor:
    """Return rows (..., D) as float32 of length 1."""
    from torch.nn.functional import normalize

    return normalize(rows.float(), dim=-1)


def as_array(values: Tensor) -> np.ndarray:
    """Return scores (B,) as float64 of numpy."""
    return precise(values.detach()).numpy()
