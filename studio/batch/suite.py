"""Suite: what a batch is to draw, read from TOML: prompts x LoRA sets x methods x settings x seeds.

    name = "compose"
    base_model = "pocket"
    run_seed = 0
    samples = 4                                  # pictures of every prompt in every cell of the grid
    prompts = "prompts.jsonl"                    # or a table, or a list of prompts
    lora_sets = [["owlet:1", "crown:0.8"], [{ name = "boat", weight = 0.7 }], []]
    methods = ["merge", { name = "switch", settings = { switch_every = [2, 5] } }]

    [request]                                    # of every picture; a list is an axis of the grid
    num_inference_steps = 20
    guidance_scale = [3.0, 5.0]

What a row of the prompt file says itself is not varied by the grid.
"""

from __future__ import annotations

import difflib
import itertools
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lora_loom.pipelines.errors import LoomError, SuiteError
from lora_loom.pipelines.request import MAX_IMAGES, MAX_SEED, AdapterChoice, SettingValue, declared_fields
from lora_loom.studio.batch.prompts.prompt_format import prompt_formats
from lora_loom.studio.batch.prompts.prompt_row import lora_set
from lora_loom.studio.batch.prompts.reading import PromptSource

LAYOUTS = ("folder", "webdataset")
REQUEST_FIELDS = tuple(name for name, declared in declared_fields().items() if declared.axis)
MethodChoice = tuple[str, Mapping[str, SettingValue]]


@dataclass(frozen=True)
class Suite:
    """A suite as it was read. `request` maps a field to its values, each an axis of the grid; `seeds` win over hashes.

    `picture_seconds` is what one picture takes one worker, from which the size of a shard follows; `batch_size` is how
    many pictures are drawn at once, 0 for what suits the device.
    """

    name: str
    prompts: PromptSource
    base_model: str = "pocket"
    run_seed: int = 0
    samples: int = 1
    seeds: tuple[int, ...] | None = None
    library: tuple[Path, ...] = ()
    layout: str = "folder"
    lora_sets: tuple[tuple[AdapterChoice, ...], ...] = ((),)
    methods: tuple[MethodChoice, ...] = (("merge", {}),)
    request: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    batch_size: int = 0
    picture_seconds: float = 2.0


def read_suite(path: Path) -> Suite:
    """The suite in a TOML file; paths in it are relative to its folder. Raises SuiteError."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SuiteError(f"the suite {path} cannot be read", found=error.strerror or str(error)) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SuiteError(f"{path.name} is not TOML", found=str(error)) from error
    try:
        return _suite(path, data)
    except SuiteError:
        raise
    except LoomError as error:
        raise SuiteError(f"the suite {path.name} asks for something impossible", found=str(error)) from error


def _suite(path: Path, data: Mapping[str, Any]) -> Suite:
    name = path.name
    known = ("name", "base_model", "run_seed", "samples", "seeds", "library", "layout", "prompts", "lora_sets")
    _check_keys(name, data, (*known, "methods", "request", "batch_size", "picture_seconds"))
    if "prompts" not in data:
        raise SuiteError(f"{name} names no prompts", expected='prompts = "FILE"', remedy="Add a line with prompts")
    layout = data.get("layout", "folder")
    if layout not in LAYOUTS:
        raise SuiteError(f"{name} asks for an unknown layout", expected=" or ".join(LAYOUTS), found=repr(layout))
    seeds = data.get("seeds")
    return Suite(
        name=_text(name, data, "name", path.stem),
        prompts=_prompts(path, data["prompts"]),
        base_model=_base(path, _text(name, data, "base_model", "pocket")),
        run_seed=_whole(name, "run_seed", data.get("run_seed", 0), 0, MAX_SEED),
        samples=_whole(name, "samples", data.get("samples", 1), 1, 1_000_000),
        seeds=None if seeds is None else _seeds(name, seeds),
        library=tuple(path.parent / folder for folder in _texts(name, "library", data.get("library", []))),
        layout=layout,
        lora_sets=tuple(lora_set(each) for each in _entries(name, data, "lora_sets", [[]])),
        methods=tuple(_methods(name, _entries(name, data, "methods", ["merge"]))),
        request=_request(name, data.get("request", {})),
        batch_size=_whole(name, "batch_size", data.get("batch_size", 0), 0, MAX_IMAGES),
        picture_seconds=_seconds(name, data.get("picture_seconds", 2.0)),
    )


def _prompts(path: Path, value: object) -> PromptSource:
    if isinstance(value, str):
        return PromptSource(file=path.parent / value)
    if isinstance(value, list):
        return PromptSource(inline=tuple(row if isinstance(row, dict) else {"prompt": row} for row in value))
    name = f"[prompts] of {path.name}"
    if not isinstance(value, dict):
        raise SuiteError(f"{name} cannot be read", expected="a file, a list of prompts or a table", found=repr(value))
    _check_keys(name, value, ("file", "format", "preset", "limit", "sample", "columns", "metadata"))
    if "format" in value and "preset" in value:
        raise SuiteError(f"{name} has a format and a preset", expected="one of them")
    kind = _text(name, value, "preset", _text(name, value, "format", ""))
    preset = prompt_formats().get(kind)
    file = _text(name, value, "file", preset.file_name if preset else "")
    if not file and kind and not preset:  # an unknown name: reading says which there are
        file = kind
    if not file:
        raise SuiteError(f"{name} names no file", expected='file = "prompts.jsonl" or preset = "drawbench"')
    columns = value.get("columns", {})
    if not isinstance(columns, dict) or not all(isinstance(each, str) for each in columns.values()):
        raise SuiteError(f"columns in {name} cannot be read", expected='{ prompt = "caption" }', found=repr(columns))
    return PromptSource(
        file=path.parent / file,
        format=kind,
        limit=_whole(name, "limit", value["limit"], 1, 2**31) if "limit" in value else None,
        sample=_whole(name, "sample", value["sample"], 1, 2**31) if "sample" in value else None,
        columns=columns,
        metadata=tuple(_texts(name, "metadata", value.get("metadata", []))),
    )


def _methods(name: str, entries: list[Any]) -> Iterator[MethodChoice]:
    """Every method with every combination of its settings; a setting with a list of values is an axis."""
    for entry in entries:
        if isinstance(entry, str):
            yield entry, {}
            continue
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            expected = '"merge" or { name = "switch", settings = { switch_every = [2, 5] } }'
            raise SuiteError(f"a method in {name} cannot be read", expected=expected, found=repr(entry)[:80])
        _check_keys(f"a method in {name}", entry, ("name", "settings"))
        settings = entry.get("settings", {})
        if not isinstance(settings, dict):
            raise SuiteError(f"settings of {entry['name']} in {name} are no table", found=repr(settings)[:80])
        axes = [value if isinstance(value, list) else [value] for value in settings.values()]
        for values in itertools.product(*axes):
            yield entry["name"], dict(zip(settings, values, strict=True))


def _request(name: str, value: object) -> dict[str, tuple[Any, ...]]:
    if not isinstance(value, dict):
        raise SuiteError(f"[request] in {name} is no table", found=repr(value)[:80])
    _check_keys(f"[request] of {name}", value, REQUEST_FIELDS)
    axes = {key: tuple(each) if isinstance(each, list) else (each,) for key, each in value.items()}
    if empty := [key for key, values in axes.items() if not values]:
        raise SuiteError(f"{empty[0]} in [request] of {name} has no value", expected="at least one")
    return axes


def _base(path: Path, base: str) -> str:
    """A base that is a folder beside the suite by its path, anything else as it is called."""
    beside = path.parent / base
    return str(beside.resolve()) if base.startswith(".") and beside.exists() else base


def _check_keys(what: str, data: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for key in data:
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            raise SuiteError(
                f"{what} has an unknown key {key!r}",
                expected=f"some of {', '.join(known)}",
                remedy=f"Did you mean {close[0]!r}?" if close else "",
            )


def _text(name: str, data: Mapping[str, Any], key: str, default: str) -> str:
    value = data.get(key, default)
    if not isinstance(value, str):
        raise SuiteError(f"{key} in {name} is not text", found=repr(value)[:80])
    return value


def _texts(name: str, key: str, value: object) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise SuiteError(f"{key} in {name} is not a list of texts", found=repr(value)[:80])
    return value


def _entries(name: str, data: Mapping[str, Any], key: str, default: list[Any]) -> list[Any]:
    value = data.get(key, default)
    if not isinstance(value, list) or not value:
        raise SuiteError(f"{key} in {name} is not a list with something in it", found=repr(value)[:80])
    return value


def _whole(name: str, key: str, value: object, minimum: int, maximum: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not minimum <= value <= maximum:
        expected = f"a whole number from {minimum} to {maximum}"
        raise SuiteError(f"{key} in {name} is out of range", expected=expected, found=repr(value)[:80])
    return value


def _seeds(name: str, value: object) -> tuple[int, ...]:
    if not isinstance(value, list) or not value:
        raise SuiteError(f"seeds in {name} is not a list with something in it", found=repr(value)[:80])
    return tuple(_whole(name, "a seed", each, 0, MAX_SEED - MAX_IMAGES) for each in value)


def _seconds(name: str, value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < 1e6:
        raise SuiteError(f"picture_seconds in {name} is out of range", expected="seconds", found=repr(value)[:80])
    return float(value)
