"""The label book: answers of people as JSON lines in a folder, one line for each picture, only ever appended to."""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from lora_loom.pipelines.errors import EvaluationError, OutputError
from lora_loom.studio.evaluation.metadata import read_rows

FILE = "labels.jsonl"


@dataclass(frozen=True)
class Answer:
    """What one person said about one picture: for each concept asked about, whether it is there.

    The picture is known by the hash of its pixels: a file may be renamed, and its name may tell the method. `at` is an
    ISO 8601 time in UTC.
    """

    pixels_sha256: str
    labeller: str
    present: Mapping[str, bool]
    at: str = ""

    def to_dict(self) -> dict[str, Any]:
        return {
            "pixels_sha256": self.pixels_sha256,
            "labeller": self.labeller,
            "present": dict(self.present),
            "at": self.at,
        }


class LabelBook:
    """The answers in one folder. A later answer of a person about a picture replaces the earlier one."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE

    def add(self, pixels_sha256: str, labeller: str, present: Mapping[str, bool]) -> Answer:
        """Write an answer down; raises OutputError, and then nothing was kept."""
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        answer = Answer(pixels_sha256, labeller, MappingProxyType(dict(present)), now)
        line = json.dumps(answer.to_dict(), ensure_ascii=False) + "\n"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as file:
                file.write(line.encode())  # one write to a file opened for appending: two people do not mix lines
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise OutputError(
                f"the answer could not be kept in {self.path}",
                found=error.strerror or str(error),
                remedy="Free some space, or set another folder with LOOM_LABELS",
            ) from error
        return answer

    def answers(self) -> list[Answer]:
        """The last answer of every person about every picture; raises EvaluationError with the line of a bad one."""
        if not self.path.is_file():
            return []
        held: dict[tuple[str, str], Answer] = {}
        for number, row in read_rows(self.path):
            answer = _answer(row, f"line {number} of {self.path}")
            held[answer.labeller, answer.pixels_sha256] = answer
        return list(held.values())

    def answered_by(self, labeller: str) -> set[str]:
        """The pixel hashes of the pictures that a person has answered about."""
        return {answer.pixels_sha256 for answer in self.answers() if answer.labeller == labeller}


def _answer(row: Mapping[str, Any], where: str) -> Answer:
    present = row.get("present")
    texts = [row.get("pixels_sha256"), row.get("labeller"), row.get("at", "")]
    sound = isinstance(present, Mapping) and all(
        isinstance(name, str) and isinstance(there, bool) for name, there in present.items()
    )
    if not sound or not all(isinstance(text, str) for text in texts):
        expected = '{"pixels_sha256": ..., "labeller": ..., "present": {concept: true or false}}'
        raise EvaluationError(f"{where} is no answer", expected=expected, found=str(row)[:80])
    return Answer(str(texts[0]), str(texts[1]), MappingProxyType(dict(present or {})), str(texts[2]))
