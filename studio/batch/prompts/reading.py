"""Reading the prompts of a suite: the file, its format, a part of its rows; bad rows are reported by line, together."""

from __future__ import annotations

import difflib
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lora_loom.pipelines.errors import LoomError, SuiteError
from lora_loom.studio.batch.prompts.prompt_format import PromptFormat, RawRow, prompt_formats
from lora_loom.studio.batch.prompts.prompt_row import PromptRow, prompt_row

MAX_SHOWN = 10  # bad rows in one error


@dataclass(frozen=True)
class PromptSource:
    """Where prompts come from: a `file` of a format or preset, or the rows `inline` in the suite itself.

    `format` is told by the file's ending if it is empty. The first `limit` rows are taken, or `sample` of all, chosen
    by the hash of the run's seed and their ids. `columns` renames: Loom's name -> the file's. `metadata` names columns
    that are to be passed through although they look like Loom's own.
    """

    file: Path | None = None
    format: str = ""
    inline: tuple[Mapping[str, Any], ...] = ()
    limit: int | None = None
    sample: int | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    metadata: tuple[str, ...] = ()


def read_prompts(source: PromptSource, run_seed: int = 0) -> list[PromptRow]:
    """The rows of the source in its order; raises SuiteError that lists bad rows, a missing file, an unknown format."""
    if source.file is None:
        name, raw = "the suite", iter([(index, dict(values)) for index, values in enumerate(source.inline, start=1)])
    else:
        kind, path = _located(source)
        name, raw = path.name, _read(kind, path)
    rows: list[PromptRow] = []
    bad: list[tuple[int, str]] = []
    for line, values in _renamed(raw, source.columns):
        if isinstance(values, str):
            bad.append((line, values))
            continue
        try:
            rows.append(prompt_row(line, values, frozenset(source.metadata)))
        except LoomError as error:
            bad.append((line, str(error)))
    if bad:
        raise bad_rows(name, bad)
    rows = _with_ids_of_their_own(name, rows)[: source.limit]
    if not rows:
        raise SuiteError(f"{name} holds no prompt", expected="at least one row")
    if source.sample is not None and source.sample < len(rows):
        chosen = sorted(rows, key=lambda row: hashlib.sha256(f"{run_seed}|{row.id}".encode()).digest())
        kept = {row.id for row in chosen[: source.sample]}
        rows = [row for row in rows if row.id in kept]
    return rows


def bad_rows(name: str, bad: Iterable[tuple[int, str]]) -> SuiteError:
    """One error for all bad rows of a file, with their line numbers."""
    listed = list(bad)
    shown = [f"line {line}: {what}" for line, what in listed[:MAX_SHOWN]]
    more = [f"and {len(listed) - MAX_SHOWN} more"] if len(listed) > MAX_SHOWN else []
    count = f"{len(listed)} bad row{'s' if len(listed) > 1 else ''}"
    return SuiteError(f"{name} has {count}", found="\n  ".join(["", *shown, *more]), remedy="Nothing was planned")


def _located(source: PromptSource) -> tuple[PromptFormat, Path]:
    formats, path = prompt_formats(), Path(source.file or "")
    kind = formats.get(source.format)
    if source.format and kind is None:
        close = difflib.get_close_matches(source.format, formats, n=1)
        raise SuiteError(
            f"there is no prompt format {source.format!r}",
            expected=f"one of {', '.join(formats)}",
            remedy=f"Did you mean {close[0]!r}?" if close else "",
        )
    if kind is None:
        kind = next((each for each in formats.values() if path.suffix.lower() in each.suffixes), None)
    if kind is None:
        endings = ", ".join(suffix for each in formats.values() for suffix in each.suffixes)
        raise SuiteError(f"{path.name} is of no known format", expected=endings, remedy="Add `format` to [prompts]")
    if kind.is_preset and not path.is_file() and (folder := os.environ.get("LOOM_PROMPTS")):
        path = Path(folder, path.name)
    if not path.is_file():
        where = f"It is published at {kind.source}; Loom downloads nothing by itself" if kind.is_preset else ""
        expected = f"{kind.file_name}, in the suite's folder or in that of LOOM_PROMPTS" if kind.is_preset else "a file"
        remedy = where or "Check the path; it is relative to the suite"
        raise SuiteError(f"the prompts {path} are not there", expected=expected, remedy=remedy)
    return kind, path


def _read(kind: PromptFormat, path: Path) -> Iterator[RawRow]:
    try:
        yield from kind.read(path)
    except UnicodeDecodeError as error:
        raise SuiteError(
            f"{path.name} is not text in UTF-8", found=f"byte {error.start}", remedy="Save it as UTF-8"
        ) from error
    except OSError as error:
        raise SuiteError(f"{path} cannot be read", found=error.strerror or str(error)) from error


def _renamed(raw: Iterable[RawRow], columns: Mapping[str, str]) -> Iterator[RawRow]:
    back = {theirs: ours for ours, theirs in columns.items()}
    seen: set[str] = set()
    for line, values in raw:
        if isinstance(values, str):
            yield line, values
            continue
        seen |= values.keys()
        yield line, {back.get(name, name): value for name, value in values.items()}
    if missing := [theirs for theirs in back if theirs not in seen]:
        raise SuiteError(
            f"no row has a column {missing[0]!r}, which the suite names under columns",
            found=", ".join(sorted(seen))[:200],
        )


def _with_ids_of_their_own(name: str, rows: list[PromptRow]) -> list[PromptRow]:
    """Ids must differ; those made of the prompt alone get a number where a prompt comes again."""
    seen: dict[str, PromptRow] = {}
    for row in rows:
        own, count = row, 1
        made = row.id == hashlib.sha256(row.prompt.encode("utf-8", "replace")).hexdigest()[:12]
        while made and own.id in seen:
            count += 1
            own = replace(row, id=f"{row.id}-{count}")
        if own.id in seen:
            raise SuiteError(f"{name} has the id {own.id!r} twice", found=f"lines {seen[own.id].line} and {own.line}")
        seen[own.id] = own
    return list(seen.values())
