"""What a record holds beyond what this Loom knows: the parts that others added, and the fields of a newer Loom.

`extensions` of a record is {name: JSON}. A part such as a watermark adds its own under its name. Two names are ours:
`record` keeps what a newer Loom wrote into the record, `request` what it wrote into the request, with what it said of
single LoRAs under `adapters`. Written again, those stand where they were, so a newer Loom reads them as its own.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import fields
from types import MappingProxyType
from typing import Any

from lora_loom.pipelines.errors import LoomError, RecordError
from lora_loom.pipelines.request import declared_fields
from lora_loom.pipelines.requests.adapter_choice import choice_fields
from lora_loom.pipelines.requests.control import Region

OF_RECORD, OF_REQUEST = "record", "request"
MAX_NAME = 200  # characters
MAX_EXTENSIONS = 200_000  # characters of all as JSON: a record has to fit into a text of a PNG
MAX_TOLD = 20  # names of unknown fields that a message has room for
Extensions = Mapping[str, Any]


def checked_extensions(value: object) -> Extensions:
    """The extensions as a copy that nobody else can change; raises RecordError for what is not JSON by name."""
    expected = "an object of JSON values by the name of the part that added them"
    if not isinstance(value, Mapping):
        raise RecordError("extensions of the record are no object", expected=expected, found=repr(value)[:80])
    for name in value:
        if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME or not name.isprintable():
            raise RecordError("an extension of the record has no sound name", expected=expected, found=repr(name)[:80])
    for name in (OF_RECORD, OF_REQUEST):
        if not isinstance(value.get(name, {}), Mapping):
            raise RecordError(f"extension {name} of the record is no object", expected="unknown fields by name")
    try:
        text = json.dumps(dict(value), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise RecordError("extensions of the record are not JSON", expected=expected, found=str(error)[:200]) from error
    if len(text) > MAX_EXTENSIONS:
        raise RecordError(
            "extensions of the record are too large",
            expected=f"at most {MAX_EXTENSIONS:,} characters as JSON",
            found=f"{len(text):,}",
            remedy="Keep large data beside the picture and its hash in the record",
        )
    return MappingProxyType(json.loads(text))


def set_apart(data: Mapping[str, Any], known: Collection[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A record's JSON without what no field is for, and that as extensions beside those it has.

    `known` are the fields of the record. Raises RecordError for an extension by one of the names that are ours.
    """
    parts = data.get("extensions", {})
    if isinstance(parts, Mapping) and (ours := {OF_RECORD, OF_REQUEST} & parts.keys()):
        raise RecordError(f"the extension {min(ours)} of the record has a name of Loom's own", expected="another name")
    understood, strange = _split(data, known)
    understood["request"], of_request = _split_request(data["request"])
    newer = {name: found for name, found in ((OF_RECORD, strange), (OF_REQUEST, of_request)) if found}
    return understood, {**checked_extensions(parts), **newer}


def put_back(data: Mapping[str, Any], extensions: Extensions) -> dict[str, Any]:
    """The JSON of a record with its extensions where they came from; what the record itself says wins."""
    parts = {name: value for name, value in extensions.items() if name not in (OF_RECORD, OF_REQUEST)}
    strange = dict(extensions.get(OF_REQUEST, {}))
    of_loras = strange.pop("adapters", {})
    request = {**data["request"]}
    request["adapters"] = [_merged(choice, of_loras.get(choice["name"], {})) for choice in request["adapters"]]
    whole = _merged({**data, "request": _merged(request, strange)}, extensions.get(OF_RECORD, {}))
    return whole | ({"extensions": parts} if parts else {})


def not_understood(extensions: Extensions, within: str = "") -> list[str]:
    """The fields of a newer Loom, such as request.eta; only those of the request with `within` "request"."""
    names: list[str] = []
    for place in (OF_RECORD, OF_REQUEST):
        if within in ("", place):
            names += _paths(extensions.get(place, {}), "" if place == OF_RECORD else f"{OF_REQUEST}.")
    more = [f"and {len(names) - MAX_TOLD} more"] if len(names) > MAX_TOLD else []
    return [_shown(name) for name in names[:MAX_TOLD]] + more


def _paths(found: Mapping[str, Any], before: str) -> Iterator[str]:
    for name, value in found.items():
        if before and name == "adapters":
            for lora, own in value.items() if isinstance(value, Mapping) else ():
                yield from (f"{each} of {lora}" for each in _inner(own))
        else:
            yield f"{before}{name}"


def _inner(own: object) -> Iterator[str]:
    for name, value in own.items() if isinstance(own, Mapping) else ():
        inside = value if name == "region" and isinstance(value, Mapping) else None
        yield from (f"region.{each}" for each in inside) if inside is not None else (str(name),)


def _split(data: Mapping[str, Any], known: Collection[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    return {k: v for k, v in data.items() if k in known}, {k: v for k, v in data.items() if k not in known}


def _split_request(request: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    understood, strange = _split(request, declared_fields())
    choices, of_loras = understood.get("adapters"), {}
    for place, entry in enumerate(choices if isinstance(choices, list) else ()):
        if not isinstance(entry, Mapping) or not isinstance(entry.get("name"), str):
            continue  # the request says what is wrong with it
        choice, found = _split(entry, choice_fields())
        if isinstance(choice.get("region"), Mapping):
            whole = choice.pop("region")
            region, inside = _split(whole, [item.name for item in fields(Region)])
            sound = not inside or _is_region(region)
            choice |= {"region": region} if sound else {}
            found |= {"region": inside if sound else whole} if inside else {}
        if found:
            understood["adapters"] = [*understood["adapters"][:place], choice, *understood["adapters"][place + 1 :]]
            of_loras[entry["name"]] = found
    return understood, strange | ({"adapters": of_loras} if of_loras else {})


def _is_region(region: Mapping[str, Any]) -> bool:
    """Whether that alone is a region: one of a new form is not, and is kept whole."""
    try:
        return bool(Region.from_dict(region))
    except LoomError:
        return False


def _merged(own: Mapping[str, Any], strange: object) -> dict[str, Any]:
    """What is known with what is not; an object in both, such as the region of a LoRA, is merged in itself."""
    merged = dict(own)
    for name, value in strange.items() if isinstance(strange, Mapping) else ():
        if name not in own:
            merged[name] = value
        elif isinstance(own[name], Mapping):
            merged[name] = _merged(own[name], value)
    return merged


def _shown(name: str) -> str:
    short = name if len(name) <= 60 else f"{name[:57]}..."
    return "".join(sign if sign.isprintable() else "?" for sign in short)
