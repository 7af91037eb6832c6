"""Named groups of a denoiser's layers, so that one adapter can act more in some of them than in others.

Every layer is in one of three roles. For a UNet: `structure` is the way down and the middle, `identity` the first half
of the way up, `style` the rest, as coarse layers decide shape and fine ones appearance (P+, arXiv:2303.09522). In SDXL
up_blocks.0.attentions.0 carries content and up_blocks.0.attentions.1 style (B-LoRA, arXiv:2403.14572, section 4;
InstantStyle, arXiv:2404.02733, adds layout in down_blocks.2.attentions.1), so the latter joins `style`. For
transformers, where meaning forms in earlier blocks and detail in later ones (arXiv:2601.02211, on FLUX and SD3.5), the
roles are thirds of the depth; for FLUX, thirds of the double and then the single blocks together.

Across the roles there are positions (`down`, `mid`, `up`; `double`, `single`) and kinds of layer (`self_attention`,
`cross_attention`, `feed_forward`, `convolution`; `attention`, `text_stream`, `modulation`), and any module path names
the layers under it. `text` is the adapter's part on the text encoders. A layer's factor is the product over the groups
that hold it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from torch import nn

from lora_loom.pipelines.errors import RequestError

if TYPE_CHECKING:
    from lora_loom.pipelines.adapters.factors import Adapter
    from lora_loom.pipelines.request import AdapterChoice

ROLES = ("structure", "identity", "style")
TEXT = "text"
_Has = Callable[[str], bool]


class BlockGroups:
    """The groups of one denoiser."""

    def __init__(self, model: nn.Module) -> None:
        self._paths: list[str] = [path for path, _ in cast("Any", model).named_modules() if path]
        self._of_role = _unet_roles(model) if hasattr(model, "down_blocks") else _transformer_roles(model)
        self._kinds: Mapping[str, _Has] = _UNET_KINDS if hasattr(model, "down_blocks") else _TRANSFORMER_KINDS
        self.names = (*ROLES, *(name for name, holds in self._kinds.items() if any(map(holds, self._paths))), TEXT)

    def role(self, path: str) -> str:
        """Which of structure, identity and style the layer is in."""
        return self._of_role(path)

    def groups(self, path: str) -> tuple[str, ...]:
        """All named groups that hold the layer at a module path."""
        return (self.role(path), *(name for name, holds in self._kinds.items() if holds(path)))

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


def _unet_roles(model: Any) -> Callable[[str], str]:
    coarse = len(model.up_blocks) // 2
    of_sdxl = len(model.up_blocks) == 3 and model.config.get("addition_embed_type") == "text_time"

    def role(path: str) -> str:
        if of_sdxl and path.startswith("up_blocks.0.attentions.1."):
            return "style"
        if found := re.match(r"up_blocks\.(\d+)\.", path):
            return "identity" if int(found[1]) < coarse else "style"
        return "style" if path == "conv_out" else "structure"

    return role


def _transformer_roles(model: Any) -> Callable[[str], str]:
    double, single = (len(getattr(model, name, ())) for name in ("transformer_blocks", "single_transformer_blocks"))

    def role(path: str) -> str:
        if found := re.match(r"(single_)?transformer_blocks\.(\d+)\.", path):
            index = int(found[2]) + (double if found[1] else 0)
            return ROLES[3 * index // (double + single)]
        return "style" if path in ("proj_out", "norm_out.linear") else "structure"

    return role


def _under(pattern: str) -> _Has:
    return lambda path: re.search(pattern, path) is not None


_UNET_KINDS: Mapping[str, _Has] = {
    "down": _under(r"^(down_blocks|conv_in)(\.|$)"),
    "mid": _under(r"^mid_block\."),
    "up": _under(r"^(up_blocks|conv_out)(\.|$)"),
    "self_attention": _under(r"\.attn1\."),
    "cross_attention": _under(r"\.attn2\."),
    "feed_forward": _under(r"\.ff\."),
    "convolution": _under(r"^conv_(in|out)$|\.conv\w*$"),
}
TEXT_STREAM = r"\.(add_[qkv]_proj|to_add_out|ff_context|norm1_context)(\.|$)|^context_embedder$"
_TRANSFORMER_KINDS: Mapping[str, _Has] = {
    "double": _under(r"^transformer_blocks\."),
    "single": _under(r"^single_transformer_blocks\."),
    "attention": _under(r"\.attn2?\."),
    "feed_forward": _under(r"\.(ff|ff_context)\.|\.proj_mlp$|^single_transformer_blocks\.\d+\.proj_out$"),
    "text_stream": _under(TEXT_STREAM),
    "modulation": _under(r"\.norm\w*\.linear$|^norm_out\.linear$"),
}
