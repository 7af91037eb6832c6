"""What can go wrong for a person, as one small tree; every error says what was expected, what came and what to do.

LoomError
├── AdapterFileError        the file is unreadable, unsafe, not safetensors, holds NaN, or breaks a limit
├── AdapterMatchError       the file reads fine but fits nothing of the base model, or its kind is refused
├── UnknownAdapterError     no adapter of that name in the library
├── ChangedAdapterError     the adapter of that name is not the one a record was made with
├── UnknownMethodError      no fusion method of that name
├── SettingError            a setting of a fusion method is unknown, of the wrong type or out of range
├── RequestError            a request cannot describe a picture: empty prompt, odd size, negative steps
├── BaseModelError          the base model cannot be found, opened or used
├── OutputError             a result could not be written; nothing half-written is left
├── RecordError             a picture carries no record, or one that cannot be trusted
├── TrainingError           a training run cannot start or go on
├── EvaluationError         pictures cannot be measured: unreadable, too few, or without what the metric needs
├── SuiteError              a suite, or a file of prompts that it names, cannot be read or planned
├── BatchError              a batch cannot go on: its folder is not what its plan says, or its workers keep dying
└── CancelledError          a person stopped the work

LoomWarning is what a person should know of although the work goes on.

Anything else that is raised is a fault of Loom's own and is meant to crash loudly.
"""

from __future__ import annotations

from pathlib import Path


class LoomError(Exception):
    """What went wrong, in parts that a front door can lay out and in one text that reads as sentences.

    `what` names the thing and the failure; `expected`, `found` and `remedy` may be empty.
    """

    def __init__(self, what: str, *, expected: str = "", found: str = "", remedy: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.expected = expected
        self.found = found
        self.remedy = remedy

    def __str__(self) -> str:
        details = ((word, text) for word, text in (("expected", self.expected), ("found", self.found)) if text)
        facts = ", ".join(f"{word} {text}" for word, text in details)
        failure = f"{self.what}: {facts}" if facts else self.what
        remedy = self.remedy[:1].upper() + self.remedy[1:]
        return " ".join(_sentence(text) for text in (failure, remedy) if text)

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.what, dict(self.__dict__))

    def to_dict(self) -> dict[str, str]:
        """The parts as JSON, with the kind of error under `type`; empty parts are left out."""
        parts = {"type": type(self).__name__, "what": self.what, "expected": self.expected, "found": self.found}
        return {key: value for key, value in {**parts, "remedy": self.remedy, "message": str(self)}.items() if value}


class LoomWarning(UserWarning):
    """What a person should know of although the work goes on, as a LoRA that acts only in part."""


class _FileError(LoomError):
    """An error about one file, kept in `path`."""

    def __init__(
        self, what: str, *, path: str | Path | None = None, expected: str = "", found: str = "", remedy: str = ""
    ) -> None:
        super().__init__(what, expected=expected, found=found, remedy=remedy)
        self.path = None if path is None else Path(path)


class AdapterFileError(_FileError):
    """The file cannot be read as a LoRA: not safetensors, truncated, not finite, or beyond a limit."""


class AdapterMatchError(_FileError):
    """The file is a sound LoRA but not for this base model, or of a kind that Loom refuses.

    `by_force` is the name of the adapter if some of it could be loaded by force, else empty.
    """

    by_force: str = ""

    def to_dict(self) -> dict[str, str]:
        return {**super().to_dict(), **({"by_force": self.by_force} if self.by_force else {})}


class UnknownAdapterError(LoomError):
    """The library holds no adapter of that name."""


class ChangedAdapterError(LoomError):
    """The adapter of that name has other contents than the one that was recorded."""


class UnknownMethodError(LoomError):
    """No fusion method of that name is registered."""


class SettingError(LoomError):
    """A setting of a fusion method is unknown, of the wrong type or out of range."""


class RequestError(LoomError):
    """The request does not describe a picture that can be drawn."""


class BaseModelError(LoomError):
    """The base model cannot be found, opened or used."""


class OutputError(LoomError):
    """A result could not be written; nothing half-written is left behind."""


class RecordError(LoomError):
    """A picture carries no record of how it was made, or one that cannot be trusted."""


class TrainingError(LoomError):
    """A training run cannot start or cannot go on."""


class EvaluationError(LoomError):
    """Pictures cannot be measured: unreadable, too few, or without what a metric needs."""


class SuiteError(LoomError):
    """A suite, or a file of prompts that it names, cannot be read or planned."""


class BatchError(LoomError):
    """A batch cannot go on: its folder is not what its plan says, or its workers keep dying."""


class CancelledError(LoomError):
    """A person stopped the work before it was done."""

    def __init__(
        self, what: str = "cancelled on request", *, expected: str = "", found: str = "", remedy: str = ""
    ) -> None:
        super().__init__(what, expected=expected, found=found, remedy=remedy)


def _sentence(part: str) -> str:
    return part if part.endswith((".", "!", "?")) else f"{part}."


def _rebuild(kind: type[LoomError], what: str, state: dict[str, object]) -> LoomError:
    """Make an error anew on the other side of a process boundary, attributes included."""
    error = kind(what)
    error.__dict__.update(state)
    return error
