"""PromptRow: what one row of a prompt file asks for; a row may say more than its prompt, and then the row decides."""

from __future__ import annotations

import difflib
import hashlib
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lora_loom.pipelines.errors import RequestError
from lora_loom.pipelines.request import MAX_IMAGES, MAX_SEED, AdapterChoice, declared_fields
from lora_loom.pipelines.requests.prompt_syntax import parse_choice, split_prompt

ROW_FIELDS = {name: each for name, each in declared_fields().items() if each.axis or each.suite == "methods"}
REQUEST_COLUMNS = tuple(ROW_FIELDS)
FLAGS = Counter(each.flag for each in ROW_FIELDS.values())  # one that two fields share is no name of either
SHORT = {
    each.flag: name
    for name, each in ROW_FIELDS.items()
    if each.kind != "other" and each.flag != name and FLAGS[each.flag] == 1
} | {"samples": "n"}
COLUMNS = ("prompt", "id", *REQUEST_COLUMNS, "loras", "seed", "seeds", "n", "expected", "metadata", *SHORT)
_TEXTS = {"prompt", "id"} | {name for name, each in ROW_FIELDS.items() if each.kind == "text"}
TEXT_COLUMNS = frozenset(_TEXTS | {short for short, name in SHORT.items() if name in _TEXTS})
MAX_ID = 200  # characters


@dataclass(frozen=True)
class PromptRow:
    """A row with its `line` in the file. `asked` holds the fields of GenerationRequest that it sets itself.

    `seeds` are explicit and win over hashed ones, `n` is the number of pictures, both None where the row does not say.
    `expected` and `metadata` go through to every row of the results.
    """

    id: str
    prompt: str
    line: int
    asked: Mapping[str, Any] = field(default_factory=dict)
    seeds: tuple[int, ...] | None = None
    n: int | None = None
    expected: Any = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


def prompt_row(line: int, values: Mapping[str, Any], free: frozenset[str] = frozenset()) -> PromptRow:
    """The row with these values by column. Columns of other names become metadata.

    A name that looks like a misspelt column raises RequestError, unless it is one of `free`; so does a value of the
    wrong type. Ranges are checked where the request is made.
    """
    known: dict[str, Any] = {}
    metadata: dict[str, Any] = {}
    for column, value in values.items():
        if column not in free and (name := _known(column)):
            if name in known:
                raise RequestError(f"{name} was given twice", found=f"{column} beside {name}")
            known[name] = value
        else:
            metadata[column] = value
    if "prompt" not in known:
        found = ", ".join(map(str, values)) or "nothing"
        raise RequestError("there is no prompt", expected="a column called prompt", found=found)
    prompt, tagged = split_prompt(_text("prompt", known["prompt"]))
    asked = {name: known[name] for name in REQUEST_COLUMNS if name in known}
    if "settings" in asked and "method" not in asked:
        raise RequestError("settings without their method", remedy="Add a column method")
    if "loras" in known or tagged:
        asked["adapters"] = (*lora_set(known.get("loras", ())), *tagged)
    return PromptRow(
        id=_id(known["id"]) if "id" in known else hashlib.sha256(prompt.encode("utf-8", "replace")).hexdigest()[:12],
        prompt=prompt,
        line=line,
        asked=asked,
        seeds=_seeds(known),
        n=_whole("n", known["n"], 1, MAX_IMAGES) if "n" in known else None,
        expected=known.get("expected"),
        metadata=metadata | _metadata(known.get("metadata", {})),
    )


def lora_set(value: object) -> tuple[AdapterChoice, ...]:
    """LoRAs as a list of `{name, weight}` or `name:weight`, or as one text `owlet:1, crown:0.8`; raises RequestError.

    `weight` and `strength` are the same; an entry may hold whatever else AdapterChoice takes.
    """
    if isinstance(value, str):
        return tuple(parse_choice(part.strip()) for part in re.split(r"[,;]", value) if part.strip())
    if not isinstance(value, list | tuple):
        raise RequestError("loras is not a list", expected="[{name, weight}, ...]", found=repr(value)[:80])
    return tuple(_choice(entry) for entry in value)


def _choice(entry: object) -> AdapterChoice:
    if isinstance(entry, AdapterChoice):
        return entry
    if isinstance(entry, str):
        return parse_choice(entry)
    if not isinstance(entry, Mapping):
        raise RequestError("a LoRA is neither a name nor an object", found=repr(entry)[:80])
    names = {"weight": "strength"} if "strength" not in entry else {}
    return AdapterChoice.from_dict({names.get(str(key), str(key)): value for key, value in entry.items()})


def _known(column: str) -> str:
    """The name of a column that Loom reads, empty for any other; raises RequestError for one that looks misspelt."""
    plain = column.strip().lower()
    if plain in COLUMNS:
        return SHORT.get(plain, plain)
    close = difflib.get_close_matches(plain, COLUMNS, n=1, cutoff=0.8)
    if close:
        raise RequestError(
            f"unknown column {column!r}",
            remedy=f"Did you mean {close[0]!r}? If not, name it under `metadata` in the suite's [prompts]",
        )
    return ""


def _id(value: object) -> str:
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str) or not text.strip() or len(text) > MAX_ID or not text.isprintable():
        raise RequestError("the id is not a name", expected=f"1 to {MAX_ID} characters", found=repr(value)[:80])
    return text.strip()


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise RequestError(f"{name} is not text", found=repr(value)[:80])
    if not value.strip():
        raise RequestError(f"the {name} is empty")
    return value.strip()


def _seeds(known: Mapping[str, Any]) -> tuple[int, ...] | None:
    if "seed" in known and "seeds" in known:
        raise RequestError("seed and seeds were both given", remedy="Give one of them")
    value = known.get("seeds", known.get("seed"))
    if value is None:
        return None
    entries = value if isinstance(value, list) else [value]
    if isinstance(value, str):
        entries = [int(part) if part.isdecimal() else part for part in re.split(r"[\s,;]+", value.strip())]
    if not entries:
        raise RequestError("seeds is empty", expected="at least one whole number")
    seeds = tuple(_whole("seed", entry, 0, MAX_SEED - MAX_IMAGES) for entry in entries)
    if len(set(seeds)) < len(seeds):
        raise RequestError("a seed was given twice", found=", ".join(map(str, seeds))[:80])
    return seeds


def _whole(name: str, value: object, minimum: int, maximum: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not minimum <= value <= maximum:
        expected = f"a whole number from {minimum} to {maximum}"
        raise RequestError(f"{name} is out of range", expected=expected, found=repr(value)[:80])
    return value


def _metadata(value: object) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise RequestError("metadata is not an object", found=repr(value)[:80])
    return {str(key): each for key, each in value.items()}
