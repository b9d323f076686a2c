"""MPS, the overall score (Zhang et al., CVPR 2024, arXiv 2405.14705): preference under a stated condition.

    f       = fused image token 0: image tokens of a CLIP-H ask the text tokens that concern the condition
    score   = exp(logit_scale) * cos(f, end of text)                      about 5 to 18

A text token concerns the condition if its largest product with any condition token, over the largest such product of
its text, exceeds `threshold`. The original divides by the largest of the whole batch, so that its scores depend on the
neighbours; its evaluation scores one picture at a time, and so does this. `threshold` is .3 in the evaluation, which
made the paper's numbers, and .01 in the original's module: the two give different scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from accord.errors import ScoringError
from accord.scorers.batch import Batch
from accord.scorers.checkpoint import Needed, from_hub, get_and_convert, hashes, require
from accord.scorers.clip_names import h14_config
from accord.scorers.clip_network import (
    H14,
    ClipNetwork,
    as_array,
    clip_of_weights,
    open_tokenizer,
    tokenizer_file,
    unit,
)
from accord.scorers.official import read_state
from accord.scorers.placement import Dtype, torch_dtype
from accord.scorers.preprocessing import CropToSquare
from accord.scorers.tensor_images import crop_to_square
from accord.types import ScorerCard

if TYPE_CHECKING:
    from torch import Tensor

FOLDER = "./weights/mps"
FILE = "MPS_overall_state_dict"
CONDITION = (
    "light, color, clarity, tone, style, ambiance, artistry, shape, face, hair, hands, limbs, structure, instance, "
    "texture, quantity, attributes, position, number, location, word, things."
)


class Mps:
    """MPS overall, from a state-dict mirror of the official checkpoint, which is a pickle with code."""

    card = ScorerCard(
        name="mps",
        version=FILE,
        summary="Human preference for look, detail and match with the text together; strong on HPDv2 and ImageReward.",
        scale="logit scale times cosine; about 5 to 18; a difference is a log-odds",
        bradley_terry_scale=1.0,
        uses_prompt=True,
        licence="MIT",
        licence_of_weights="not stated",
        note="the weights of MPS state no licence; they come from a mirror, not from the authors' own file",
        citation="Zhang et al., Learning multi-dimensional human preference, CVPR 2024, arXiv 2405.14705",
        differentiable=True,
        checkpoint=f"AI-ModelScope/MPS {FILE}.pt (ModelScope), or RE-N-Y/mpsv1",
        revision="main",
        memory_gb=2.1,
    )

    def __init__(
        self,
        *,
        path: str = FOLDER,
        tokenizer_path: str = H14,
        threshold: float = 0.3,
        dtype: Dtype = "float32",
        device: str = "cpu",
    ) -> None:
        file = weights_file(path).find()
        weights, cross = split_weights(read_state(file))
        model = clip_of_weights(weights, h14_config(weights), dtype, str(file))
        self.cross_model = open_cross_model(cross, dtype).to(device)
        self.checkpoint = hashes([file])
        self.clip = ClipNetwork(model, open_tokenizer(tokenizer_path), ("mps", path, dtype), self.checkpoint, device)
        self.preprocessing = CropToSquare(self.clip.image_size)
        self.threshold = threshold
        self._condition: Tensor | None = None

    @staticmethod
    def require_ready(*, path: str, tokenizer_path: str, **_: object) -> None:
        """Raise ScoringError if a file is missing."""
        require(weights_file(path), tokenizer_file(tokenizer_path))

    def score(self, images: Sequence[np.ndarray], prompts: Sequence[str]) -> np.ndarray:
        """Return (B,) float64."""
        return self.score_batch(Batch(images, prompts))

    def score_batch(self, batch: Batch) -> np.ndarray:
        """Return (B,) float64; a row's score depends on no other row."""
        import torch

        with torch.inference_mode():
            texts = batch.texts((self.clip.key, "tokens"), self.embed_texts)
            return as_array(self.fused_scores(batch.pixels(self.preprocessing), texts))

    def differentiable_scores(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Return (B,) for float images (B, 3, H, W) in 0..1, with gradients; resized on tensors, so approximate."""
        return self.fused_scores(crop_to_square(images, self.preprocessing), self.embed_texts(list(prompts)))

    def embed_texts(self, texts: list[str]) -> Tensor:
        """Return (T, L + 1, D): the projected tokens of each text, padding included, and last its end."""
        import torch

        model = self.clip.model
        found = model.text_model(input_ids=self.clip.tokens(texts)["input_ids"])  # no mask: padding is seen, as trained
        tokens = torch.cat([found.last_hidden_state, found.pooler_output[:, None]], dim=1)
        return model.text_projection(tokens)

    def fused_scores(self, pixels: Tensor, texts: Tensor) -> Tensor:
        """Return (B,) for prepared pixels (B, 3, S, S) and what embed_texts made of each row's prompt."""
        model = self.clip.model
        seen = model.vision_model(pixel_values=pixels.to(self.clip.device, model.dtype))
        image_tokens = model.visual_projection(seen.last_hidden_state)  # all tokens, before the last norm
        text_tokens, end = texts[:, :-1], texts[:, -1]
        mask = concerns(text_tokens, self.condition(), self.threshold)
        fused = self.cross_model(image_tokens, text_tokens, mask)[:, 0]
        return self.clip.logit_scale * (unit(fused) * unit(end)).sum(dim=-1)

    def condition(self) -> Tensor:
        """Return the condition's projected tokens (L, D), computed once."""
        if self._condition is None:
            self._condition = self.embed_texts([CONDITION])[0, :-1].detach().clone()
        return self._condition


def concerns(text_tokens: Tensor, condition: Tensor, threshold: float) -> Tensor:
    """Return which tokens of each text (B, L, D) concern the condition (L', D): True or False, (B, L).

    The largest product of a row is taken from that row alone: a row's mask depends on no other row.
    """
    products = (text_tokens @ condition.T).amax(dim=-1)
    return products / products.amax(dim=-1, keepdim=True) > threshold


def weights_file(folder: str) -> Needed:
    """Return the weights, with the commands that bring a copy without code into `folder`; either copy will do."""
    copy = get_and_convert(
        f"modelscope download --model AI-ModelScope/MPS {FILE}.pt --local_dir {folder}", folder, f"{FILE}.pt"
    )
    how = f"{copy}, or `{from_hub('RE-N-Y/mpsv1', 'model.safetensors', folder)}`"
    return Needed(folder, (f"{FILE}.safetensors", "model.safetensors"), instead=how)


def split_weights(weights: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the CLIP part and the cross-attention part. Raises ScoringError on any other weight."""
    clip = {n.removeprefix("model."): w for n, w in weights.items() if n.startswith("model.")}
    cross = {n.removeprefix("cross_model."): w for n, w in weights.items() if n.startswith("cross_model.")}
    odd = sorted(n for n in weights if not n.startswith(("model.", "cross_model.")))
    if odd or not clip or not cross:
        raise ScoringError(
            f"these are not the weights of MPS ({odd[:1] or 'one of its two parts is missing'}); get the official file"
        )
    return {name: weight for name, weight in clip.items() if not name.endswith("position_ids")}, cross


def open_cross_model(weights: dict[str, Tensor], dtype: Dtype) -> Any:
    """Return the cross-attention with exactly these weights."""
    from accord.scorers.mps_network import HEAD_WIDTH, CrossModel

    num_layers = len({name.split(".")[1] for name in weights})
    inner, width = weights["layers.0.0.fn.to_q.weight"].shape
    model = CrossModel(width, inner // HEAD_WIDTH, num_layers)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise ScoringError(
            f"these are not the weights of MPS: {str(error).splitlines()[1].strip()}; get the official file"
        ) from error
    for parameter in model.parameters():  # not the buffers: 16 bits are too few for the frequencies of the positions
        parameter.data = parameter.data.to(torch_dtype(dtype))
    return model.eval().requires_grad_(False)
