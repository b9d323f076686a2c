"""A word-level tokenizer for the captions of the world: one token per word, sixteen tokens per text."""

from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from accord.world.vocabulary import BACKGROUNDS, COLORS, NUMBERS, RELATIONS, SHAPES

#: Tokens per text, with start, end and padding. The longest caption has 12 words.
LENGTH = 16

# The end token must not have id 2: transformers then looks for the end of a text at the largest id instead.
_SPECIAL = _PAD, _UNKNOWN, _START, _END = ("<pad>", "<unk>", "<start>", "<end>")


def vocabulary() -> dict[str, int]:
    """Every word that a caption can contain, and the four special tokens, with their ids."""
    relation_words = [word for relation in RELATIONS for word in relation.split()]
    plurals = [f"{shape}s" for shape in SHAPES]
    words = ["a", "an", *NUMBERS, *COLORS, *SHAPES, *plurals, "and", *relation_words, "on", *BACKGROUNDS, "background"]
    return {word: i for i, word in enumerate(dict.fromkeys((*_SPECIAL, *words)))}


def make_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer as `StableDiffusionPipeline` wants it: start and end added, padded to LENGTH on request."""
    words = vocabulary()
    core = Tokenizer(models.WordLevel(words, unk_token=_UNKNOWN))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    core.post_processor = processors.TemplateProcessing(
        single=f"{_START} $A {_END}", special_tokens=[(_START, words[_START]), (_END, words[_END])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        model_max_length=LENGTH,
        pad_token=_PAD,
        unk_token=_UNKNOWN,
        bos_token=_START,
        eos_token=_END,
        padding_side="right",
    )
