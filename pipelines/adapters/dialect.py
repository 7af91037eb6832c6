"""Which dialect a file speaks: every module in `dialects/` says how sure it is, the surest one reads the file."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol, cast

from lora_loom.pipelines.adapters.file_keys import ParsedKeys
from lora_loom.pipelines.adapters.target import BaseTarget
from lora_loom.pipelines.plugins import Registry


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


def choose_dialect(keys: Collection[str]) -> Dialect | None:
    """The dialect that recognises most of the keys, None if none recognises any."""
    sureness, dialect = max(((dialect.detect(keys), dialect) for dialect in all_dialects()), key=lambda pair: pair[0])
    return dialect if sureness > 0 else None
