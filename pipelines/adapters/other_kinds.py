"""Files that are adapters of a kind that Loom loads on no base: refused with the kind in the first words."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection
from pathlib import Path

from lora_loom.pipelines.adapters.file_keys import ParsedKeys
from lora_loom.pipelines.adapters.hostile_text import display_names, display_text
from lora_loom.pipelines.adapters.kinds import supported_kind, why_unsupported
from lora_loom.pipelines.errors import AdapterMatchError

_TITLES = {
    "glora": "a GLoRA",
    "ia3": "an IA3",
    "oft": "an OFT or BOFT",
    "full": "a full difference",
    "norm": "a change of normalisation layers",
    "embedding": "a LoRA of embeddings",
}
_REMEDY = "No base model makes it fit: ask its author for a LoRA, or have one extracted from what it does to the base"
_EXPECTED = "updates that are added to the weight: LoRA, LoHa, LoKr or DoRA"
# Keys that no dialect claims: what they belong to, and why that is not read.
_SPELLINGS: tuple[tuple[re.Pattern[str], str, str], ...] = (
    (
        re.compile(r"\w+:\d+:(?:up|down)"),
        "a LoRA in the first public format, which numbers layers instead of naming them",
        "Which layer a number means depends on the program that wrote it: convert the file with that program to names",
    ),
    (re.compile(r".*\.boft_[Rs](?:\.\w+)*"), "a BOFT", _REMEDY),
    (re.compile(r".*\.oft_[Rr](?:\.\w+)*"), "an OFT", _REMEDY),
    (re.compile(r".*\.(?:oft_blocks|oft_diag)"), "an OFT or BOFT", _REMEDY),
    (re.compile(r".*\.(?:ia3_l(?:\.\w+)*|on_input)"), "an IA3", _REMEDY),
    (re.compile(r".*\.vera_lambda_[bd](?:\.\w+)*"), "a VeRA", _REMEDY),
    (re.compile(r".*\.(?:a1|b1)\.weight"), "a GLoRA", _REMEDY),
    (re.compile(r".*\.diff(?:_b)?"), "a full difference", _REMEDY),
)


def check_kind(path: Path, parsed: ParsedKeys) -> None:
    """Raise AdapterMatchError for a file whose every module is of a kind that Loom does not load."""
    kinds: Counter[tuple[str, str]] = Counter()
    for module in parsed.modules:
        if supported_kind(module.keys):
            return
        kinds[why_unsupported(module.keys)] += 1
    named = [(*kind, count) for kind, count in kinds.most_common() if kind[0] in _TITLES]
    if not named:
        return
    name, reason, count = named[0]
    raise AdapterMatchError(
        f"{display_text(path.name)} is {_TITLES[name]}, which Loom does not load",
        path=path,
        expected=_EXPECTED,
        found=f"{count} {'module' if count == 1 else 'modules'} of the kind {name}: {reason}",
        remedy=_REMEDY,
    )


def check_spelling(path: Path, keys: Collection[str]) -> None:
    """Raise AdapterMatchError where most keys, none of which any dialect knows, are those of another kind of file."""
    for pattern, title, remedy in _SPELLINGS:
        mine = [key for key in keys if pattern.fullmatch(key)]
        if 2 * len(mine) >= max(1, len(keys)):
            raise AdapterMatchError(
                f"{display_text(path.name)} is {title}, which Loom does not load",
                path=path,
                expected=_EXPECTED,
                found=f"{len(mine)} tensors such as {display_names(sorted(mine), 2)}",
                remedy=remedy,
            )
