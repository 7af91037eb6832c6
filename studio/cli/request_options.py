"""The request that a command line asks for: the options given, on top of the defaults or of an old picture."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from lora_loom.pipelines.checked_json import parse_json
from lora_loom.pipelines.errors import RequestError, SettingError
from lora_loom.pipelines.request import GenerationRequest, SettingValue
from lora_loom.pipelines.requests.prompt_syntax import parse_choice, split_prompt
from lora_loom.studio.cli.lora_controls import with_controls
from lora_loom.studio.cli.method_flags import chosen_settings
from lora_loom.studio.cli.request_flags import lora_flags, request_flags
from lora_loom.studio.library.adapter_library import AdapterLibrary, is_file_name


def asked_for(
    start: GenerationRequest | None,
    given: Mapping[str, Any],
    flags: Mapping[tuple[str, str], SettingValue],
    pairs: Iterable[str],
) -> GenerationRequest:
    """The request made of `start` and the options `given`.

    `given` holds fields of GenerationRequest, besides `lora` (texts name:strength), the controls of single LoRAs
    (studio/cli/lora_controls.py) and the flags of two fields, such as `size` (WxH). LoRAs that are given replace those
    of `start`; settings do if they are for another method. `flags` are the methods' own flags, `pairs` the key=value
    texts of --set.
    """
    fields = dict(given)
    controls = {option: fields.pop(option) for option in lora_flags() if option in fields}
    choices = [parse_choice(text) for text in fields.pop("lora", ())]
    if "prompt" in fields:
        fields["prompt"], tagged = split_prompt(fields["prompt"])
        choices += tagged
    if choices:
        fields["adapters"] = tuple(choices)
    if controls:
        fields["adapters"] = with_controls(choices or (start.adapters if start else ()), controls)
    for option, members in request_flags().items():
        if len(members) > 1 and option in fields:
            sides = parse_size(fields.pop(option), f"--{option}")
            fields |= {each.name: side for each, side in zip(members, sides, strict=True)}
    method = fields.get("method", start.method if start else "merge")
    kept = start.settings if start and start.method == method else {}
    settings = chosen_settings(method, flags, parse_pairs(pairs))
    if start is not None:
        return replace(start, **fields, settings={**kept, **settings})
    if "prompt" not in fields:
        raise RequestError("there is no prompt", expected="a description of the picture", remedy="Write it in quotes")
    return GenerationRequest(**fields, settings=settings)


def with_files(given: Mapping[str, Any], library: AdapterLibrary) -> dict[str, Any]:
    """The options with the files among `lora` as LoRAs of the library, by its names for them, in the controls too.

    Only what a person types as `--lora` may be a path: records and prompts come from others.
    """
    fields = dict(given)
    parts = [text.partition(":") for text in fields.get("lora", ())]
    paths = {name.strip() for name, _, _ in parts if is_file_name(name)}
    for path in paths:
        library.add(path)
    names = {path: library.add(path).name for path in paths}  # once all are there, as one may change another's name

    def named(name: str, colon: str, rest: str) -> str:
        return f"{names.get(name.strip(), name)}{colon}{rest}"

    if names:
        fields["lora"] = [named(*each) for each in parts]
        for option in lora_flags().keys() & fields.keys():
            fields[option] = [named(*text.partition(":")) for text in fields[option]]
    return fields


def parse_size(text: str, flag: str = "--size") -> tuple[int, int]:
    """Width and height in pixels of a text such as 64x48; raises RequestError."""
    if found := re.fullmatch(r"(\d{1,5})[xX×](\d{1,5})", text.strip()):
        return int(found[1]), int(found[2])
    raise RequestError(f"{flag} cannot be read", expected="WIDTHxHEIGHT in pixels, such as 64x64", found=repr(text))


def parse_pairs(pairs: Iterable[str]) -> dict[str, SettingValue]:
    """Settings from key=value texts: numbers, true and false are read as such, anything else is text."""
    settings: dict[str, SettingValue] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        key = key.strip().replace("-", "_")
        if not equals or not key:
            raise SettingError("--set cannot be read", expected="key=value", found=repr(pair))
        if key in settings:
            raise SettingError(f"--set {key} was given twice", remedy="Give it once")
        settings[key] = _value(text.strip())
    return settings


def _value(text: str) -> SettingValue:
    try:
        value = parse_json(text)
    except ValueError:
        return text
    return value if isinstance(value, int | float) else text
