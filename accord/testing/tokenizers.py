"""Tokenizers of the real classes with vocabularies of a few hundred tokens, made without any file."""

from __future__ import annotations

from typing import Any

from transformers import BertTokenizer, CLIPTokenizer, GemmaTokenizer, Qwen2Tokenizer, T5Tokenizer

PIECES = ("red", "green", "blue", "circle", "square", "triangle", "above", "two", "three", "and", "of", "on", "a")


def byte_characters() -> list[str]:
    """Return the 256 characters that byte-level BPE writes bytes as, printable ones as themselves."""
    kept = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    moved = iter(range(256, 512))
    return [chr(byte) if byte in kept else chr(next(moved)) for byte in range(256)]


def clip_tokenizer(length: int = 77) -> CLIPTokenizer:
    """Return CLIP's tokenizer over single bytes and a few merges: 77 tokens per text, the real one's ends."""
    characters = byte_characters()
    merges: Any = [("r", "e"), ("re", "d</w>"), ("b", "l"), ("u", "e</w>"), ("c", "i")]
    merged = [first + second for first, second in merges]
    tokens = [*characters, *(f"{c}</w>" for c in characters), *merged, "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=length)


def t5_tokenizer(length: int = 512) -> T5Tokenizer:
    """Return T5's tokenizer over letters and a few words, with the real one's special tokens."""
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    letters = [(chr(code), -5.0) for code in range(ord(" ") + 1, ord("~") + 1)]
    words = [(f"▁{word}", -3.0) for word in PIECES]
    return T5Tokenizer(vocab=[*special, *words, *letters], extra_ids=0, model_max_length=length)


def gemma_tokenizer() -> GemmaTokenizer:
    """Return Gemma's tokenizer over letters and a few words, with the real one's special tokens."""
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "▁", *(chr(code) for code in range(ord(" ") + 1, 127))]
    merges: Any = [("▁" + word[:end], word[end]) for word in PIECES for end in range(len(word))]
    merges = list(dict.fromkeys(merges))
    vocabulary = {token: number for number, token in enumerate([*special, *(a + b for a, b in merges)])}
    return GemmaTokenizer(vocab=vocabulary, merges=merges, add_bos_token=True)


def bert_tokenizer() -> BertTokenizer:
    """Return BERT's tokenizer over letters, digits, some marks and a few words, with the real one's special tokens."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    characters = [chr(code) for code in range(ord("!"), ord("~") + 1) if not chr(code).isupper()]
    rest = [f"##{character}" for character in characters if character.isalnum()]
    tokens = [*special, *characters, *rest, *(piece for piece in PIECES if len(piece) > 1), "yes", "no", "##ing"]
    return BertTokenizer(vocab={token: number for number, token in enumerate(tokens)})


def qwen2_tokenizer() -> Qwen2Tokenizer:
    """Return Qwen2-VL's tokenizer over single bytes and a few merges, with the real one's 14 special tokens."""
    merges: Any = [("r", "e"), ("re", "d"), ("Ġ", "red"), ("b", "l"), ("u", "e")]
    tokens = [*byte_characters(), *(first + second for first, second in merges)]
    found = Qwen2Tokenizer(vocab={token: number for number, token in enumerate(tokens)}, merges=merges)
    pairs = [f"{name}_{end}" for name in ("object_ref", "box", "quad", "vision") for end in ("start", "end")]
    marks = ["endoftext", "im_start", "im_end", *pairs, "vision_pad", "image_pad", "video_pad"]
    found.add_tokens([f"<|{mark}|>" for mark in marks], special_tokens=True)
    return found
