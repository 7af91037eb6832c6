"""The text encoders as the dialects name them: prefixes of keys, from the descriptors of the families."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from lora_loom.pipelines.families import families
from lora_loom.pipelines.families.family import Family

if TYPE_CHECKING:
    from lora_loom.pipelines.adapters.target import BaseTarget


def components_by_prefix(dialect: Literal["kohya", "native"], target: BaseTarget | None) -> dict[str, str]:
    """Prefix -> component of the pipeline.

    A prefix that the base has no encoder for, or any without a base, stands for the last place that a family gives it.
    """
    found: dict[str, str] = {}
    for family in families().values():
        for prefix, component in _of(family, dialect).items():
            found[prefix] = max(component, found.get(prefix, ""))
    return found | (_of(target.kind, dialect) if target and target.kind else {})


def _of(family: Family, dialect: Literal["kohya", "native"]) -> dict[str, str]:
    end = "_" if dialect == "kohya" else "."
    return {f"{name}{end}": each.component for each in family.text_encoders for name in getattr(each, dialect)}
