"""Which dialect a file speaks: every module in `dialects/` says how sure it is, the surest one reads the file."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Collection
from functools import cache
from typing import Protocol, cast

from lora_loom.pipelines.adapters import dialects as folder
from lora_loom.pipelines.adapters.file_keys import ParsedKeys
from lora_loom.pipelines.adapters.target import BaseTarget


class Dialect(Protocol):
    """A family of key names: one module in `dialects/`."""

    NAME: str

    def detect(self, keys: Collection[str]) -> float:
        """The share of the keys that look like this dialect, in [0, 1]."""
        ...

    def parse(self, keys: Collection[str], target: BaseTarget | None) -> ParsedKeys:
        """The keys by module, and where each module is in the base, if there is one."""
        ...


@cache
def all_dialects() -> tuple[Dialect, ...]:
    """Every dialect, by name. Two of one name are an error of ours."""
    found: dict[str, Dialect] = {}
    for entry in pkgutil.iter_modules(folder.__path__):
        module = importlib.import_module(f"{folder.__name__}.{entry.name}")
        dialect = cast("Dialect", module)
        if dialect.NAME in found:
            raise ImportError(f"{module.__name__} and {found[dialect.NAME]} are both called {dialect.NAME}")
        found[dialect.NAME] = dialect
    return tuple(found[name] for name in sorted(found))


def choose_dialect(keys: Collection[str]) -> Dialect | None:
    """The dialect that recognises most of the keys, None if none recognises any."""
    sureness, dialect = max(((dialect.detect(keys), dialect) for dialect in all_dialects()), key=lambda pair: pair[0])
    return dialect if sureness > 0 else None
