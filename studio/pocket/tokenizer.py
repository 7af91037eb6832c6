"""The pocket tokenizer: one token per word of the world, lower case, with reserved trigger words."""

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from lora_loom.studio.pocket.world.captions import HELD_TRIGGERS, RESERVED_TOKENS, later_words, vocabulary

MAX_LENGTH = 32


def new_tokenizer() -> PreTrainedTokenizerFast:
    """Words, the comma, the triggers of the shipped LoRAs, 64 free trigger tokens `<t00>` to `<t63>`, later words."""
    special = ("<pad>", "<bos>", "<eos>", "<unk>")
    first = (*special, ",", *vocabulary(), *sorted(set(HELD_TRIGGERS) - set(vocabulary())), *RESERVED_TOKENS)
    words = (*first, *later_words())
    ids = {word: i for i, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split(",", "isolated")]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A <eos>", special_tokens=[("<bos>", ids["<bos>"]), ("<eos>", ids["<eos>"])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        unk_token="<unk>",
        model_max_length=MAX_LENGTH,
    )
