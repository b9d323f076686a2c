"""Make clip_tokens.json: what open_clip 3.3.0 and transformers make of awkward prompts with OpenAI's real vocabulary.

    pip install open_clip_torch==3.3.0 && python tests/scorers/goldens/make_clip_tokens.py

The vocabulary itself (MIT, OpenAI) is too large to keep. Only those merges and tokens are written that the prompts use,
with their real ids: byte-pair encoding with them gives for these prompts what it gives with all of them.
"""

import gzip
import itertools
import json
from pathlib import Path

import regex
from open_clip.tokenizer import SimpleTokenizer, default_bpe
from transformers import CLIPTokenizer

PROMPTS = [
    "", "   ", "a photo of a cat", "A PHOTO of a Cat!!!", "an emoji 🐈 and 👩‍🚀 and 🇫🇷",
    "curly “quotes” and ‘single’ ones",
    "straight \"quotes\" and 'single' ones, it's", "html &amp; &lt;b&gt; &amp;amp; entities", "naïve café, façade",
    "日本の庭", "１２３ full width", "line\nbreak\tand   blanks", "mojibake: donâ€™t", "ligature: ﬁne ﬂow",
    "word " * 90,
    "🐈" * 60, "numbers 1234567890 3.14", "hyphen-ated, semi;colon: (brackets) [x] {y} #tag @you", "a" * 200,
    "Ünïcödé ß İ ς", "with_underscore and\u200bzero\u200bwidth",
]  # fmt: skip
START, END = 49406, 49407


def pieces_of(word: tuple[str, ...], ranks: dict, used: set) -> tuple[str, ...]:
    """Byte-pair encoding of one word; `used` collects the merges."""
    while True:
        pairs = [pair for pair in itertools.pairwise(word) if pair in ranks]
        if not pairs:
            return word
        first, second = min(pairs, key=ranks.__getitem__)
        used.add((first, second))
        new, i = [], 0
        while i < len(word):
            joined = word[i : i + 2] == (first, second)
            new.append(first + second if joined else word[i])
            i += 2 if joined else 1
        word = tuple(new)


def main() -> None:
    tokenizer = SimpleTokenizer()
    vocabulary = {token: number for token, number in tokenizer.encoder.items() if number < START}
    vocabulary |= {"<|startoftext|>": START, "<|endoftext|>": END}
    with gzip.open(default_bpe()) as file:
        lines = file.read().decode().split("\n")[1 : 49152 - 256 - 2 + 1]
    merges = [tuple(line.split()) for line in lines]
    ranks = {merge: rank for rank, merge in enumerate(merges)}
    ours = CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=77)
    used, kept, rows = set(), {"<|startoftext|>", "<|endoftext|>"}, []
    split = regex.compile(r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+", regex.IGNORECASE)
    for prompt in PROMPTS:
        theirs = tokenizer([prompt], context_length=77)[0].tolist()
        own = ours(prompt, truncation=True, max_length=77)["input_ids"]
        rows.append({"text": prompt, "open_clip": theirs[: theirs.index(END) + 1], "transformers": own})
        for text in (tokenizer.clean_fn(prompt), ours.backend_tokenizer.normalizer.normalize_str(prompt)):
            for found in split.findall(text):
                symbols = tuple(tokenizer.byte_encoder[byte] for byte in found.encode())
                kept |= {*symbols, f"{symbols[-1]}</w>"}
                kept |= set(pieces_of((*symbols[:-1], f"{symbols[-1]}</w>"), ranks, used))
    kept |= {first + second for first, second in used} | {part for merge in used for part in merge}
    found = {
        "merges": [list(merge) for merge in merges if merge in used],
        "vocabulary": {token: number for token, number in vocabulary.items() if token in kept},
        "rows": rows,
    }
    text = json.dumps(found, ensure_ascii=True, indent=None, separators=(",", ":"))
    Path(__file__).with_name("clip_tokens.json").write_text(text.replace('{"text"', '\n{"text"') + "\n")


if __name__ == "__main__":
    main()
