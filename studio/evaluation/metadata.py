"""The rows that describe generated pictures: JSON lines read with line numbers, and what evaluation takes from them."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from lora_loom.pipelines.checked_json import parse_json
from lora_loom.pipelines.errors import EvaluationError
from lora_loom.studio.evaluation.metric import Sample

PROMPT_KEYS = ("prompt", "text", "caption")
LORA_KEYS = ("loras", "adapters")


def read_rows(path: Path) -> Generator[tuple[int, dict[str, Any]]]:
    """(line number, row) for every row of a JSON lines file; raises EvaluationError with the line of a bad one."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise EvaluationError(f"{path} cannot be read", expected="JSON lines in UTF-8", found=str(error)) from error
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            yield number, parse_row(line, f"line {number} of {path}")


def parse_row(text: str | bytes, where: str) -> dict[str, Any]:
    """One row; `where` is what an error calls it."""
    try:
        row: Any = parse_json(text)
    except (ValueError, RecursionError) as error:
        raise EvaluationError(f"{where} is not JSON", found=str(error)) from error
    if not isinstance(row, dict):
        raise EvaluationError(f"{where} is not a JSON object", found=str(row)[:80])
    return row


def sample_of(name: str, row: Mapping[str, Any]) -> Sample:
    """A picture's prompt and seed from its row.

    What is under `metadata` is taken for the row's own, and `k`, the number of LoRAs, is counted where they are listed.
    """
    prompt = next((row[key] for key in PROMPT_KEYS if isinstance(row.get(key), str)), "")
    seed = row.get("seed")
    below = row.get("metadata")
    known = {**below, **row} if isinstance(below, Mapping) else dict(row)
    loras = next((row[key] for key in LORA_KEYS if isinstance(row.get(key), list | tuple | Mapping)), None)
    if loras is not None:
        known.setdefault("k", len(loras))
    return Sample(name, prompt, seed if isinstance(seed, int) else None, MappingProxyType(known))


def expected_of(sample: Sample) -> dict[str, str]:
    """The concepts a picture has to show, by name: `expected` of its row as {factor: value} or a list of values.

    Raises EvaluationError for another form.
    """
    expected = sample.row.get("expected") or {}
    if isinstance(expected, Mapping) and all(isinstance(v, str) for v in expected.values()):
        return {str(factor): value for factor, value in expected.items()}
    if isinstance(expected, list | tuple) and all(isinstance(v, str) for v in expected):
        from lora_loom.studio.pocket.concepts import CONCEPTS

        if unknown := [value for value in expected if value not in CONCEPTS]:
            raise EvaluationError(f"{sample.name} expects unknown concepts", found=", ".join(unknown))
        return {CONCEPTS[value].factor: value for value in expected}
    raise EvaluationError(
        f"{sample.name} does not say what is expected",
        expected='"expected" as an object of factor and value, or a list of concepts',
        found=str(expected)[:80],
    )
