"""Which family of base models a LoRA file is for, or a base belongs to, with the evidence in words.

The descriptors in `families/` say what tells each of them. What a header claims counts where the file bears it out,
and what its names and shapes say where it does not.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from lora_loom.pipelines.adapters.hostile_text import display_text
from lora_loom.pipelines.adapters.places import ModuleShape
from lora_loom.pipelines.families import families
from lora_loom.pipelines.families.family import Family, Sign

UNKNOWN = "unknown"
_CLAIMING_FIELDS = ("modelspec.architecture", "ss_base_model_version")
_OF_TEXT = re.compile(r"lora_te\d?_|(?:^|\n)text_encoder(?:_\d)?\.")
_LIKELY, _SURE = 3, 4  # from which weight on a sign speaks against families that have none, and against all others
_CLAIMED = 9  # as heavy as no sign is
_Found = tuple[Sign, str]  # a sign that holds, and why, in words


@dataclass(frozen=True)
class BaseFamily:
    """The family's name, why, how heavy that evidence is, and `alike`: all families that some evidence speaks for."""

    name: str
    why: str
    weight: int = 0
    alike: tuple[str, ...] = ()

    def rules_out(self, other: str) -> bool:
        """Whether the evidence says that the file is not for that family: it was claimed, is sure, or speaks alone."""
        if UNKNOWN in (self.name, other) or self.name == other:
            return False
        return self.weight >= _SURE or (self.weight >= _LIKELY and other not in self.alike)


def detect_base_family(
    keys: Collection[str], shapes: Mapping[str, Sequence[int]], metadata: Mapping[str, str]
) -> BaseFamily:
    """The family that a file is for; `unknown` with a reason where the evidence does not say."""
    joined = "\n".join(keys)  # one search in C over a thousand names
    seen = {family.name: list(_holding(family.evidence, joined, shapes)) for family in families().values()}
    built, sign = _by_build(seen, joined)
    built = replace(
        built,
        weight=0 if sign is None else sign.weight,
        alike=tuple(name for name, found in seen.items() if found),
    )
    claimed = _by_claim(metadata)
    if claimed is None:
        return built
    borne_out = bool(seen[claimed.name]) or built.name == UNKNOWN or (sign is not None and sign.yields)
    if borne_out:
        return replace(claimed, weight=_CLAIMED, alike=built.alike)
    return replace(built, why=f"{built.why}, although {claimed.why}")


def family_of_base(denoiser: str, components: Mapping[str, Mapping[str, ModuleShape]]) -> Family | None:
    """The family of a base from the class of its denoiser, its bases' classes tried in turn, and its layers."""
    shapes = {f"{name}.{path}": shape.weight for name, its in components.items() for path, shape in its.items()}
    joined = "\n".join(shapes)
    mine = [family for family in families().values() if family.denoiser == denoiser]
    seen = {family.name: list(_holding(family.base, joined, shapes)) for family in mine if family.base}
    if not seen:
        return mine[0] if mine else None
    heaviest = _heaviest(seen)
    return next((family for family in mine if len(heaviest) == 1 and family.name == heaviest[0][0]), None)


def _by_claim(metadata: Mapping[str, str]) -> BaseFamily | None:
    """The claim of the header; where several families hear theirs, the one that hears most of it."""
    for field in _CLAIMING_FIELDS:
        text = metadata.get(field, "")[:200].lower()
        heard = {
            family.name: len(found[0])
            for family in families().values()
            if family.claims and (found := re.search(family.claims, text))
        }
        if heard:
            return BaseFamily(max(heard, key=lambda name: heard[name]), f"its {field} is {display_text(text, 60)}")
    return None


def _by_build(seen: Mapping[str, list[_Found]], joined: str) -> tuple[BaseFamily, Sign | None]:
    heaviest = _heaviest(seen)
    if len(heaviest) == 1:
        name, (sign, why) = heaviest[0]
        return BaseFamily(name, why), sign
    alike = [name for name, _ in heaviest]
    alike = alike or [each.name for each in families().values() if each.build and any(_lines_with(each.build, joined))]
    if alike:
        titles = dict.fromkeys(families()[name].title for name in alike)
        return BaseFamily(UNKNOWN, f"its names are those of {' or '.join(titles)}, and no shape tells which"), None
    if _OF_TEXT.search(joined):
        return BaseFamily(UNKNOWN, "it has only text encoders"), None
    return BaseFamily(UNKNOWN, "its names and shapes do not say"), None


def _heaviest(seen: Mapping[str, list[_Found]]) -> list[tuple[str, _Found]]:
    """The families with the heaviest sign of all, and that sign."""
    own = {name: max(found, key=lambda each: each[0].weight) for name, found in seen.items() if found}
    most = max((sign.weight for sign, _ in own.values()), default=0)
    return [(name, found) for name, found in own.items() if found[0].weight == most]


def _holding(signs: Iterable[Sign], joined: str, shapes: Mapping[str, Sequence[int]]) -> Iterator[_Found]:
    for sign in signs:
        if sign.without and re.search(sign.without, joined, re.MULTILINE):
            continue
        if sign.along and not re.search(sign.along, joined, re.MULTILINE):
            continue
        for line in _lines_with(sign.names, joined):
            if not (sign.widths or sign.any_width):
                yield sign, sign.why
                break
            shape = shapes.get(line, ())
            if len(shape) >= 2:
                if sign.any_width or shape[1] in sign.widths:
                    yield sign, sign.why.format(width=shape[1])
                break


def _lines_with(pattern: str, joined: str) -> Iterator[str]:
    for found in re.finditer(pattern, joined, re.MULTILINE):
        start, end = joined.rfind("\n", 0, found.start() + 1) + 1, joined.find("\n", found.end() - 1)
        yield joined[start : end if end >= 0 else None]
