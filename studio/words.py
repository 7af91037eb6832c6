"""Vocabulary: the words a base model can read, for bases whose tokenizer knows whole words only, such as the pocket
base.

Tokenizers that spell unknown words out of pieces know every word; for those the vocabulary is empty and nothing is
unknown.
"""

from __future__ import annotations

import difflib
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lora_loom.pipelines.errors import BaseModelError

MAX_SUGGESTIONS = 3
SPECIAL = re.compile(r"^<.*>$|^\W+$")  # tokens that nobody would type as a word


@dataclass(frozen=True)
class UnknownWord:
    """A word of the prompt that the base model does not know, and known ones that look like it, closest first."""

    word: str
    suggestions: tuple[str, ...]


@dataclass(frozen=True)
class Vocabulary:
    """The known `words` without special tokens; `tokenizer` is a tokenizers.Tokenizer, None if all words are known."""

    words: tuple[str, ...] = ()
    tokenizer: Any = field(default=None, repr=False, compare=False)
    unknown_id: int = -1

    @classmethod
    def of_base(cls, folder: Path) -> Vocabulary:
        """The vocabulary of the diffusers pipeline in `folder`; raises BaseModelError for an unreadable tokenizer."""
        path = folder / "tokenizer" / "tokenizer.json"
        if not path.is_file():
            return cls()
        try:
            model = json.loads(path.read_text(encoding="utf-8"))["model"]
            if model.get("type") != "WordLevel":
                return cls()
            from tokenizers import Tokenizer

            tokenizer = Tokenizer.from_file(str(path))
            unknown_id = int(model["vocab"][model["unk_token"]])
            words = tuple(word for word in model["vocab"] if not SPECIAL.match(word))
        except Exception as error:  # the tokenizers library raises plain Exception
            raise BaseModelError(f"{path} is not a tokenizer", found=str(error)[:200]) from error
        return cls(words, tokenizer, unknown_id)

    def unknown(self, prompt: str) -> list[UnknownWord]:
        """The unknown words of the prompt, each once, in order."""
        if self.tokenizer is None:
            return []
        encoded = self.tokenizer.encode(prompt, add_special_tokens=False)
        spans = [span for span, token in zip(encoded.offsets, encoded.ids, strict=True) if token == self.unknown_id]
        words = dict.fromkeys(prompt[start:end] for start, end in spans)
        return [UnknownWord(word, self._close(word)) for word in words]

    def _close(self, word: str) -> tuple[str, ...]:
        bare = word.casefold().strip(".;:!?\"'()[]{}")
        if bare in self.words:
            return (bare,)
        singular = [bare.removesuffix(ending) for ending in ("es", "s") if bare.endswith(ending)]
        known = [form for form in singular if form in self.words]
        close = difflib.get_close_matches(bare, self.words, n=MAX_SUGGESTIONS, cutoff=0.6)
        return tuple(dict.fromkeys([*known, *close]))[:MAX_SUGGESTIONS]
