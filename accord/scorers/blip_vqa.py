"""BLIP-VQA, the attribute score of T2I-CompBench (Huang et al., NeurIPS 2023, arXiv 2307.06350).

    score = product over the prompt's noun phrases of  P(yes) / (P(yes) + P(no))   for the question "a red car?"

BLIP (Li et al., ICML 2022, arXiv 2201.12086) answers with its checkpoint for 480 pixels; the copy on the hub was
converted at 384 and gives other numbers. Pictures are squashed to the square, not cropped. The first token of a
question is [ENC]; the answer begins with [DEC].
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from accord.scorers import blip
from accord.scorers.batch import Batch
from accord.scorers.checkpoint import Needed, from_address, get_and_convert, hashes, require
from accord.scorers.noun_chunks import noun_chunks, require_parser
from accord.scorers.official import read_state, split
from accord.scorers.placement import Dtype, placed, precise
from accord.scorers.preprocessing import Squash
from accord.types import ScorerCard

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor
    from transformers import BlipTextModel, BlipVisionModel
    from transformers.models.blip.modeling_blip_text import BlipTextLMHeadModel

FOLDER = "./weights/blip_vqa"
FILE = "model_base_vqa_capfilt_large"
SOURCE = f"https://storage.googleapis.com/sfr-vision-language-research/BLIP/models/{FILE}.pth"
LENGTH = 35  # tokens of a question
WORDS = 50  # words of a question

PARTS = ("visual_encoder.", "text_encoder.", "text_decoder.")
UNUSED = r"text_encoder\.embeddings\.position_ids|text_decoder\.bert\.embeddings\.position_ids"


class BlipVqa:
    """BLIP's answer to whether each thing of the prompt is in the picture."""

    card = ScorerCard(
        name="blip_vqa",
        version="BLIP model_base_vqa_capfilt_large, 480 pixels, T2I-CompBench",
        summary="Are the things of the prompt there with their attributes? A product of yes-probabilities per phrase.",
        scale="probability: 0 to 1, rounded to four digits as in the benchmark; NaN for a prompt without a noun phrase",
        bradley_terry_scale=4.0,
        uses_prompt=True,
        licence="BSD-3-Clause; questions as in T2I-CompBench, MIT",
        citation="Li et al., BLIP, ICML 2022, arXiv 2201.12086; Huang et al., T2I-CompBench, arXiv 2307.06350",
        low=0.0,
        high=1.0,
        licence_of_weights="none stated for the checkpoint itself; BLIP's repository is BSD-3-Clause",
        note="BLIP's repository is BSD-3-Clause; its VQA checkpoint states no terms of its own",
        checkpoint=SOURCE,
        memory_gb=0.7,
    )
    preprocessing = Squash(480)

    def __init__(
        self,
        *,
        path: str = FOLDER,
        tokenizer_path: str = blip.TOKENIZER,
        device: str = "cpu",
        dtype: Dtype = "float32",
        questions: Literal["noun_chunks", "prompt"] = "noun_chunks",
        is_rounded: bool = True,
    ) -> None:
        """Open the checkpoint in the folder `path`, with BERT's vocabulary in `tokenizer_path`.

        questions: one per noun phrase (needs spaCy), or one for the whole prompt. is_rounded: to four digits, as the
        benchmark rounds answers and products; without it, small differences of a reward are kept.
        """
        file = weights_file(path).find()
        self.checkpoint = hashes([file])
        vision, encoder, decoder = parts(read_state(file), file.name)
        self.vision = placed(vision, device, dtype)
        self.encoder = placed(encoder, device, dtype)
        self.decoder = placed(decoder, device, dtype)
        self.preprocessing = Squash(blip.image_size(vision))
        self.tokenizer = blip.tokenizer(tokenizer_path, encoder.config.vocab_size)
        self.device = device
        self.questions = questions
        self.is_rounded = is_rounded

    @staticmethod
    def require_ready(*, path: str, tokenizer_path: str, questions: str, **_: object) -> None:
        """Raise ScoringError if a file is missing, MissingDependency if spaCy is wanted and is not here."""
        require(weights_file(path), blip.vocabulary(tokenizer_path))
        if questions == "noun_chunks":
            require_parser()

    def score(self, images: Sequence[np.ndarray], prompts: Sequence[str]) -> np.ndarray:
        """Return (B,) float64."""
        return self.score_batch(Batch(images, prompts))

    def score_batch(self, batch: Batch) -> np.ndarray:
        """Return (B,) float64."""
        import torch

        asked = {prompt: self._questions(prompt) for prompt in dict.fromkeys(batch.prompts)}
        pairs = [(row, question) for row, prompt in enumerate(batch.prompts) for question in asked[prompt]]
        scores = np.array([1.0 if asked[prompt] else np.nan for prompt in batch.prompts])
        with torch.inference_mode():
            seen = self.vision(batch.pixels(self.preprocessing).to(self.device)).last_hidden_state
            for start in range(0, len(pairs), len(batch)):
                rows, questions = zip(*pairs[start : start + len(batch)], strict=True)
                answers = self._answers(seen[list(rows)], questions)
                np.multiply.at(scores, list(rows), self._rounded(answers))
        return self._rounded(scores)

    def _questions(self, prompt: str) -> list[str]:
        phrases = noun_chunks(prompt) if self.questions == "noun_chunks" else [prompt]
        return [clean(f"{phrase}?") for phrase in phrases]

    def _rounded(self, values: np.ndarray) -> np.ndarray:
        return np.array([float(f"{value:.4f}") for value in values]) if self.is_rounded else values

    def _answers(self, seen: Tensor, questions: Sequence[str]) -> np.ndarray:
        """Return P(yes) / (P(yes) + P(no)) of each question about its picture, (Q,) float64."""
        encoded = self.tokenizer(list(questions), padding=True, truncation=True, max_length=LENGTH, return_tensors="pt")
        tokens = {name: encoded[name].to(self.device) for name in ("input_ids", "attention_mask")}
        tokens["input_ids"][:, 0] = self._id("[ENC]")
        states = self.encoder(**tokens, encoder_hidden_states=seen).last_hidden_state
        answers = np.empty(len(questions))
        lengths = tokens["attention_mask"].sum(dim=1).cpu().numpy()
        for length in np.unique(lengths):  # the decoder of transformers does not mask padding: it never sees any
            rows = np.nonzero(lengths == length)[0]
            answers[rows] = self._decoded(states[rows, :length])
        return answers

    def _decoded(self, states: Tensor) -> np.ndarray:
        """Return the answers to questions of equal length from their states (Q, L, D)."""
        import torch

        start = torch.full((len(states), 1), self._id("[DEC]"), device=self.device)
        logits = self.decoder(start, encoder_hidden_states=states).logits[:, 0]
        yes, no = precise(logits[:, [self._id("yes"), self._id("no")]]).T
        return torch.sigmoid(yes - no).numpy()

    def _id(self, token: str) -> int:
        return self.tokenizer.get_vocab()[token]


def clean(question: str) -> str:
    """Return a question as BLIP was trained on it: small letters, without some punctuation, at most 50 words."""
    kept = re.sub(r"([.!\"()*#:;~])", "", question.lower()).rstrip(" ")
    return " ".join(kept.split(" ")[:WORDS])


def weights_file(folder: str) -> Needed:
    """Return the weights, with the two commands that bring the official ones into `folder`."""
    how = get_and_convert(from_address(SOURCE, folder), folder, f"{FILE}.pth")
    return Needed(folder, (f"{FILE}.safetensors",), instead=how)


def parts(state: Mapping[str, Tensor], source: str) -> tuple[BlipVisionModel, BlipTextModel, BlipTextLMHeadModel]:
    """Return the vision network, the question encoder and the answer decoder, from tensors with official names."""
    vision, encoder, decoder = split(state, PARTS, UNUSED, source)
    return (
        blip.vision_model(vision, source),
        blip.text_encoder(encoder, source),
        blip.text_decoder(decoder, source),
    )
