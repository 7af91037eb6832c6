"""Registry: what can be plugged in, found in a folder of ours and among the entry points of installed packages.

Every kind of part (methods, families, dialects, metrics, extractors, layouts, exporters, prompt formats, tabs,
commands) has one Registry. A file in its folder is a part; so is an entry point of its group in another package, which
names the part itself or a module that holds some. Two parts of one name are an error that names both places. A package
whose part cannot be imported is told in a warning and left out: it must not take the others down.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import pkgutil
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType, ModuleType
from typing import Generic, TypeVar, cast

from lora_loom.pipelines.errors import LoomError

Part = TypeVar("Part")


class PluginWarning(UserWarning):
    """An installed package offers a part that cannot be used."""


class Registry(Generic[Part]):
    """The parts of one kind by name, sorted; looked up once, when first asked for.

    `what` is the kind in words, `folder` the package whose modules are scanned, `group` the entry-point group.
    `offered` gives the parts that a module defines, `name_of` the name of a part found in a module. The folder's
    modules are imported when the parts are first asked for, so they import what is heavy inside their functions.
    """

    def __init__(
        self,
        what: str,
        *,
        folder: str,
        group: str,
        offered: Callable[[ModuleType], Iterable[Part]],
        name_of: Callable[[Part, str], str] = lambda part, module: cast("str", getattr(part, "name", module)),
    ) -> None:
        self.what, self.folder, self.group = what, folder, group
        self._offered, self._name_of = offered, name_of

    @cached_property
    def parts(self) -> Mapping[str, Part]:
        """Every part by its name. Raises TypeError when two of them carry one name, saying where both are."""
        found: dict[str, Part] = {}
        places: dict[str, str] = {}
        for part, name, place in (*self._in_folder(), *self._in_packages()):
            if name in found:
                if found[name] is part:
                    continue
                raise TypeError(f"two {self.what}s are called {name!r}: {places[name]} and {place}; rename one of them")
            found[name], places[name] = part, place
        return MappingProxyType(dict(sorted(found.items())))

    def get(self, name: str, error: type[LoomError]) -> Part:
        """The part of that name; raises `error` with the names there are and the closest one."""
        found = self.parts.get(name)
        if found is None:
            raise error(
                f"no {self.what} named {name!r}",
                expected=f"one of {', '.join(self.parts)}",
                found=repr(name),
                remedy=did_you_mean(name, self.parts),
            )
        return found

    def _in_folder(self) -> Iterator[tuple[Part, str, str]]:
        for module in modules_of(self.folder):
            yield from self._of(module)

    def _of(self, module: ModuleType) -> Iterator[tuple[Part, str, str]]:
        stem = module.__name__.rpartition(".")[2]
        for part in self._offered(module):
            yield part, self._name_of(part, stem), module.__file__ or module.__name__

    def _in_packages(self) -> Iterator[tuple[Part, str, str]]:
        for entry in entries(self.group):
            place = place_of(entry)
            try:
                loaded = entry.load()
                parts = list(self._of(loaded)) if isinstance(loaded, ModuleType) else []
            except Exception as error:
                warnings.warn(f"the {self.what} {place} is left out: {error!r}", PluginWarning, stacklevel=2)
                continue
            if isinstance(loaded, ModuleType) and not parts:
                warnings.warn(f"{place} holds no {self.what}", PluginWarning, stacklevel=2)
            elif isinstance(loaded, ModuleType):
                yield from parts
            else:
                yield loaded, self._name_of(loaded, entry.name), place


def classes(base: type[Part]) -> Callable[[ModuleType], Iterator[type[Part]]]:
    """Parts that are classes: every concrete subclass of `base` that a module defines itself."""

    def offered(module: ModuleType) -> Iterator[type[Part]]:
        for kind in vars(module).values():
            own = inspect.isclass(kind) and kind.__module__ == module.__name__
            if own and issubclass(kind, base) and not inspect.isabstract(kind):
                yield kind

    return offered


def instances(kind: type[Part]) -> Callable[[ModuleType], Iterator[Part]]:
    """Parts that are objects: every value of this type that a module has under a name in capitals."""

    def offered(module: ModuleType) -> Iterator[Part]:
        return (value for key, value in vars(module).items() if key.isupper() and isinstance(value, kind))

    return offered


def modules_of(folder: str) -> list[ModuleType]:
    """The modules of a package, by name; those that begin with an underscore and sub-packages serve the others."""
    found = pkgutil.iter_modules(importlib.import_module(folder).__path__)
    names = sorted(each.name for each in found if not each.ispkg and not each.name.startswith("_"))
    return [importlib.import_module(f"{folder}.{name}") for name in names]


def entries(group: str) -> list[EntryPoint]:
    """The entry points of a group in all installed packages, by name."""
    return sorted(entry_points(group=group), key=lambda entry: (entry.name, entry.value))


def named_entries(what: str, group: str) -> dict[str, EntryPoint]:
    """The entry points of a group by name, not loaded. Raises TypeError when two carry one name."""
    found: dict[str, EntryPoint] = {}
    for entry in entries(group):
        if entry.name in found:
            places = f"{place_of(found[entry.name])} and {place_of(entry)}"
            raise TypeError(f"two {what}s are called {entry.name!r}: {places}; remove one of them")
        found[entry.name] = entry
    return found


def place_of(entry: EntryPoint) -> str:
    """Where an entry point leads to, in words."""
    return f"{entry.value} of the package {entry.dist.name if entry.dist else '?'}"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A sentence with the closest of the known names, empty where none is close."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"Did you mean {close[0]!r}?" if close else ""
