"""Names of original transformer code, where one layer holds several of diffusers', or the rows in another order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from lora_loom.pipelines.adapters.places import ModuleShape, Place

Names = dict[str, tuple[Place, ...]]


def plain(names: Mapping[str, str], modules: Mapping[str, ModuleShape]) -> Names:
    """Original name -> the one layer it is, for those layers that the base has."""
    return {name: (Place(path),) for name, path in names.items() if path in modules}


def fused(name: str, paths: Sequence[str], modules: Mapping[str, ModuleShape]) -> Names:
    """An original layer whose rows are those of `paths`, one after the other; nothing if one of them is missing."""
    if not all(path in modules for path in paths):
        return {}
    ends = _running_sums(modules[path].weight[0] for path in paths)
    starts = [0, *ends[:-1]]
    places = [Place(path, ((start, end),), ends[-1]) for path, start, end in zip(paths, starts, ends, strict=True)]
    return {name: tuple(places)}


def halves_swapped(name: str, path: str, modules: Mapping[str, ModuleShape]) -> Names:
    """An original modulation: its first half is the shift, where diffusers' AdaLayerNormContinuous has the scale."""
    if path not in modules:
        return {}
    rows = modules[path].weight[0]
    return {name: (Place(path, ((rows // 2, rows), (0, rows // 2)), rows),)}


def _running_sums(values: Iterable[int]) -> list[int]:
    sums: list[int] = []
    for value in values:
        sums.append(value + (sums[-1] if sums else 0))
    return sums
