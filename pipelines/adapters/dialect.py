"""Which dialects a file speaks: of those in `dialects/`, the surest of each module's keys reads that module.

Tools convert one half of a file and leave the other, so a U-Net in kohya's names may come with a text encoder in those
of PEFT.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Protocol, cast

from lora_loom.pipelines.adapters.file_keys import FileModule, ParsedKeys, split_part
from lora_loom.pipelines.adapters.target import BaseTarget
from lora_loom.pipelines.plugins import Registry

# torch.compile puts `_orig_mod` in front of the path, which kohya's names flatten with the rest.
_COMPILED = re.compile(r"(^|[._])_orig_mod[._]")
_RAW = re.compile(r"^(\w+\.)base_model\.model\.|^base_model\.model\.(?=(?:model\.)?diffusion_model\.)")


class Dialect(Protocol):
    """A family of key names: one module in `dialects/`."""

    NAME: str

    def detect(self, keys: Collection[str]) -> float:
        """The share of the keys that look like this dialect, in [0, 1]."""
        ...

    def parse(self, keys: Collection[str], target: BaseTarget | None) -> ParsedKeys:
        """The keys by module, and where each module is in the base, if there is one."""
        ...


DIALECTS: Registry[Dialect] = Registry(
    "key dialect",
    folder="lora_loom.pipelines.adapters.dialects",
    group="loom.dialects",
    offered=lambda module: [cast("Dialect", module)],
    name_of=lambda dialect, module: dialect.NAME,
)


def all_dialects() -> tuple[Dialect, ...]:
    """Every dialect, by name."""
    return tuple(DIALECTS.parts.values())


@dataclass(frozen=True)
class ReadKeys:
    """What the dialects made of a file's keys; `names` are those that had a say, the one of most keys first."""

    names: tuple[str, ...]
    parsed: ParsedKeys

    @property
    def dialect(self) -> str:
        return " and ".join(self.names)


def choose_dialect(keys: Collection[str]) -> Dialect | None:
    """The dialect that recognises most of the keys, None if none recognises any."""
    sureness, dialect = max(((dialect.detect(keys), dialect) for dialect in all_dialects()), key=lambda pair: pair[0])
    return dialect if sureness > 0 else None


def read_keys(keys: Collection[str], target: BaseTarget | None) -> ReadKeys | None:
    """Every module's keys by the dialect that knows them best, None if no key is of any dialect.

    What no dialect recognises goes to the one of most keys, which says what it makes of it.
    """
    written: dict[str, str] = {}  # the key as it stands in the file, by its plain form
    for key in keys:
        written.setdefault(_plain(key), key)
    most = choose_dialect(written)
    if most is None:
        return None
    shares: dict[str, list[str]] = {most.NAME: []}
    for group in _by_module(written):
        best = max(all_dialects(), key=lambda dialect: (dialect.detect(group), dialect is most))
        shares.setdefault(best.NAME if best.detect(group) > 0 else most.NAME, []).extend(group)
    parsed = [(name, DIALECTS.parts[name].parse(share, target)) for name, share in shares.items() if share]
    lost = set(keys) - set(written.values())  # two spellings of one key
    return ReadKeys(tuple(name for name, _ in parsed), _joined([each for _, each in parsed], written, lost))


def _plain(key: str) -> str:
    """The key without what wrappers of a model put into it, and PEFT's prefix behind that of the component."""
    if "_orig_mod" in key:
        key = _COMPILED.sub(r"\1", key)
    return _RAW.sub(lambda found: found[1] or "", key, count=1) if "base_model.model." in key else key


def _by_module(keys: Iterable[str]) -> Iterable[list[str]]:
    groups: dict[str, list[str]] = {}
    for key in keys:
        split = split_part(key)
        groups.setdefault(split[0] if split else key, []).append(key)
    return groups.values()


def _joined(parsed: list[ParsedKeys], written: dict[str, str], lost: Iterable[str]) -> ParsedKeys:
    """One account of all dialects', with the keys as they stand in the file."""
    modules: dict[tuple[str, str], FileModule] = {}
    unknown = [written[key] for each in parsed for key in each.unknown] + sorted(lost)
    for module in (module for each in parsed for module in each.modules):
        keys = {part: written[key] for part, key in module.keys.items()}
        of = (module.component, module.name)
        if of in modules:  # two dialects may know parts of one module; a part that is there twice is one too many
            unknown += [key for part, key in keys.items() if part in modules[of].keys]
            keys |= modules[of].keys
        modules[of] = replace(module, keys=keys)
    return ParsedKeys(tuple(modules.values()), tuple(unknown))
