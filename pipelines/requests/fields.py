"""RequestField: what every front door has to know of one field of a request, declared once, beside the field itself."""

from __future__ import annotations

import functools
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from typing import Any, Literal, TypeAlias

from lora_loom.pipelines.errors import RequestError
from lora_loom.pipelines.requests.checks import check_integer, check_number, check_text, show

Plain: TypeAlias = int | float | str | bool
FieldKind: TypeAlias = Literal["integer", "number", "switch", "choice", "text", "other"]
Group: TypeAlias = Literal["words", "loras", "method", "sampling", "seed", "more"]  # of the form, from top to bottom
Door: TypeAlias = Literal["flag", "form", "gallery"]

KEY = "request"  # of a declaration in the metadata of its dataclass field
KINDS: Mapping[object, FieldKind] = {int: "integer", float: "number", bool: "switch", str: "text"}


@dataclass(frozen=True)
class RequestField:
    """One field. Only `label` and `help` are needed: everything else has a default that shows the field everywhere.

    `help` says what the field does, with `{default}` where its default belongs. Numbers lie in `minimum` to `maximum`,
    texts have at most `longest` characters. `slider` is the usual range, in steps of `step`; a value beyond it is fine.
    `start` is what an empty form holds where that is not the default, `suggestions` are values to pick from and `hint`
    stands in an empty form field. `flag` is the name on the command line and the short one of a prompt column; two
    fields with the same flag are given together as AxB. `suite` is the key that a suite has for the field; without one
    the field is an axis of [request] and a column of prompts. `names` are those in other tools' metadata, by tool.
    `hidden` are the doors that the field does not show at, and `element` its id on the page where not after its flag.
    The rest is filled in by `request_fields` from the dataclass field.
    """

    label: str
    help: str
    minimum: float | None = None
    maximum: float | None = None
    longest: int = 4_096
    slider: tuple[float, float] | None = None
    step: float | None = None
    start: Plain | None = None
    suggestions: tuple[str, ...] = ()
    hint: str = ""
    group: Group = "more"
    flag: str = ""
    metavar: str = ""
    suite: str = ""
    names: Mapping[str, str] = field(default_factory=dict[str, str])
    hidden: tuple[Door, ...] = ()
    element: str = ""
    name: str = ""
    kind: FieldKind = "other"
    choices: tuple[Plain, ...] = ()
    optional: bool = False  # None is a value
    required: bool = False
    default: Any = None

    @property
    def metadata(self) -> dict[str, RequestField]:
        """What a dataclass field takes as `metadata`."""
        return {KEY: self}

    @property
    def told(self) -> str:
        """The help with the default filled in."""
        value = self.default
        return self.help.replace("{default}", f"{value:g}" if isinstance(value, float) else str(value))

    @property
    def at_start(self) -> Any:
        """What an empty form holds."""
        return self.start if self.start is not None else "" if self.required and self.kind == "text" else self.default

    @property
    def axis(self) -> bool:
        """Whether a suite varies the field under [request], and a prompt file has a column of its name."""
        return not self.suite

    def shows(self, door: Door) -> bool:
        return door not in self.hidden

    def checked(self, value: Any) -> Any:
        """The value as the request keeps it; raises RequestError. What is no plain value is for its class to check."""
        if self.optional and value is None:
            return None
        match self.kind:
            case "integer":
                return check_integer(self.name, value, _whole(self.minimum, -(2**63)), _whole(self.maximum, 2**63 - 1))
            case "number":
                return check_number(self.name, value, _bound(self.minimum, -1e308), _bound(self.maximum, 1e308))
            case "text":
                text = check_text(self.name, value, maximum=self.longest)
                if not text.strip() and (self.required or self.default != ""):
                    raise RequestError(f"{self.name} is empty", expected="a name")
                return text
            case "switch":
                if not isinstance(value, bool):
                    raise RequestError(f"{self.name} is neither true nor false", found=show(value))
            case "choice":
                if not any(value == choice and type(value) is type(choice) for choice in self.choices):
                    allowed = ", ".join(map(str, self.choices))
                    raise RequestError(f"{self.name} is unknown", expected=f"one of {allowed}", found=show(value))
            case _:
                pass
        return value


@functools.cache
def request_fields(kind: type) -> Mapping[str, RequestField]:
    """The declared fields of a dataclass by name; raises TypeError for one that is not declared."""
    hints = typing.get_type_hints(kind)
    found: dict[str, RequestField] = {}
    for item in fields(kind):
        declared = item.metadata.get(KEY)
        if not isinstance(declared, RequestField):
            raise TypeError(f"{kind.__name__}.{item.name} has no RequestField in its metadata")
        field_kind, choices, optional = kind_of(hints[item.name])
        default = item.default if item.default_factory is MISSING else item.default_factory()
        found[item.name] = replace(
            declared,
            name=item.name,
            kind=field_kind,
            choices=choices,
            optional=optional,
            required=default is MISSING,
            default=None if default is MISSING else default,
            flag=declared.flag or item.name.replace("_", "-"),
        )
    return types.MappingProxyType(found)


def kind_of(hint: Any) -> tuple[FieldKind, tuple[Plain, ...], bool]:
    """Of a type: what kind of value, which choices if it is a Literal, and whether None is one."""
    parts = typing.get_args(hint)
    if typing.get_origin(hint) in (typing.Union, types.UnionType) and type(None) in parts:
        rest = [part for part in parts if part is not type(None)]
        kind, choices, _ = kind_of(rest[0]) if len(rest) == 1 else ("other", (), True)
        return kind, choices, True
    if typing.get_origin(hint) is Literal:
        return "choice", parts, False
    return KINDS.get(hint, "other"), (), False


def _bound(limit: float | None, otherwise: float) -> float:
    return otherwise if limit is None else limit


def _whole(limit: float | None, otherwise: int) -> int:
    return otherwise if limit is None else int(limit)
