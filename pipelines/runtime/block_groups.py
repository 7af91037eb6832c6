"""Named groups of a denoiser's layers, so that one adapter can act more in some of them than in others.

Every layer is in one of three roles: `structure`, `identity` and `style`; the family says which. For transformers,
where meaning forms in earlier blocks and detail in later ones (arXiv:2601.02211, on FLUX and SD3.5), they are thirds of
the depth; `builds` says what they are in a U-Net.

Across the roles there are positions (`down`, `mid`, `up`; `double`, `single`) and kinds of layer (`self_attention`,
`cross_attention`, `feed_forward`, `convolution`; `attention`, `text_stream`, `modulation`), and any module path names
the layers under it. `text` is the adapter's part on the text encoders. A layer's factor is the product over the groups
that hold it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from torch import nn

from lora_loom.pipelines.errors import RequestError
from lora_loom.pipelines.families import refused
from lora_loom.pipelines.families.family import ROLES as ROLES
from lora_loom.pipelines.families.family import Family
from lora_loom.pipelines.runtime.targets import family_of_model

if TYPE_CHECKING:
    from lora_loom.pipelines.adapters.factors import Adapter
    from lora_loom.pipelines.request import AdapterChoice

TEXT = "text"


class BlockGroups:
    """The groups of one denoiser, of the `family` that is given or else of its own."""

    def __init__(self, model: nn.Module, family: Family | None = None) -> None:
        family = family or family_of_model(model)
        if family is None or family.blocks.roles is None:
            raise refused("this denoiser", model.__class__.__name__, () if family is None else (family,))
        self._paths: list[str] = [path for path, _ in cast("Any", model).named_modules() if path]
        self._of_role = family.blocks.roles(model)
        self._kinds = {name: re.compile(pattern) for name, pattern in family.blocks.groups.items()}
        self.names = (*ROLES, *(name for name, its in self._kinds.items() if any(map(its.search, self._paths))), TEXT)

    def role(self, path: str) -> str:
        """Which of structure, identity and style the layer is in."""
        return self._of_role(path)

    def groups(self, path: str) -> tuple[str, ...]:
        """All named groups that hold the layer at a module path."""
        return (self.role(path), *(name for name, its in self._kinds.items() if its.search(path)))

    def factor(self, blocks: Mapping[str, float], path: str) -> float:
        """The product of the factors of all groups in `blocks` that hold the layer."""
        found = 1.0
        mine = self.groups(path)
        for group, factor in blocks.items():
            if group in mine or path == group or path.startswith(f"{group}."):
                found *= factor
        return found

    def check(self, adapter: str, blocks: Iterable[str]) -> None:
        """Raise RequestError for a name that is neither a group of this base nor the path of a module in it."""
        known = {*self.names, *self._paths}
        if unknown := [group for group in blocks if group not in known]:
            raise RequestError(
                f"{adapter} has a factor for {', '.join(unknown)}, which this base does not have",
                expected=f"some of {', '.join(self.names)}, or a module path such as {self._example()}",
                found=", ".join(unknown),
            )

    def _example(self) -> str:
        blocks = [path for path in self._paths if re.fullmatch(r"\w*blocks\.\d+", path)]
        return blocks[0] if blocks else self._paths[0]


def scaled_by_blocks(
    model: nn.Module, adapters: Mapping[str, Adapter], choices: Iterable[AdapterChoice]
) -> dict[str, Adapter]:
    """The adapters with the blocks of their choices inside their factors, for methods that fuse them before drawing.

    Raises RequestError for blocks that the model does not have, AdapterMatchError for a DoRA.
    """
    blocks = {choice.name: choice.blocks for choice in choices if choice.blocks and choice.name in adapters}
    groups = BlockGroups(model) if blocks else None
    scaled = dict(adapters)
    for name, its in blocks.items():
        assert groups is not None
        groups.check(name, its)
        adapters[name].check_additive()
        adapter, on_text = adapters[name], its.get(TEXT, 1.0)
        scaled[name] = replace(
            adapter,
            denoiser={path: each.scaled(groups.factor(its, path)) for path, each in adapter.denoiser.items()},
            text_encoders={
                encoder: {path: each.scaled(on_text) for path, each in factors.items()}
                for encoder, factors in adapter.text_encoders.items()
            },
            sha256=hashlib.sha256(f"{adapter.sha256} {sorted(its.items())}".encode()).hexdigest(),
        )
    return scaled
