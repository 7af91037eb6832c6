"""A gate as a safetensors file: its weights, the fingerprints of its base's layers, and where it comes from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from safetensors.torch import save

from lora_loom.pipelines.adapters.hostile_text import display_text
from lora_loom.pipelines.adapters.limits import Limits
from lora_loom.pipelines.adapters.safetensors_file import read
from lora_loom.pipelines.atomic_file import atomic_file
from lora_loom.pipelines.errors import BaseModelError, LoomError, SettingError
from lora_loom.pipelines.gating.channel_gate import ChannelGate
from lora_loom.pipelines.gating.layer_map import LayerMap
from lora_loom.pipelines.gating.rank_gate import RankGate
from lora_loom.pipelines.plugins import did_you_mean, named_entries

FORMAT = "loom-gate-1"
GATES = "loom.gates"  # entry-point group: each entry is a function without arguments that returns a folder of gates
Kind = Literal["rank", "channel"]
_FINGERPRINTS = "layers.prints"


@dataclass(frozen=True)
class GateFile:
    """A gate that was read; `base` is the name of the base it was trained on, `family` its family."""

    name: str
    gate: RankGate | ChannelGate
    base: str
    family: str
    metadata: Mapping[str, str]


def new_gate(
    kind: Kind, layers: LayerMap, text_width: int, hidden: int, *, conserves: bool = True
) -> RankGate | ChannelGate:
    """A gate as it is before training; `hidden` is for the rank gate alone."""
    if kind == "rank":
        return RankGate(layers, text_width, hidden, conserves=conserves)
    return ChannelGate(layers, text_width, conserves=conserves)


def save_gate(
    path: Path, gate: RankGate | ChannelGate, *, base: str, family: str, metadata: Mapping[str, str] | None = None
) -> None:
    """Write the gate whole or not at all. Raises OutputError."""
    layers = gate.layers
    about = {
        "format": FORMAT,
        "kind": "rank" if isinstance(gate, RankGate) else "channel",
        "base": base,
        "family": family,
        "text_width": str(gate.text_width),
        "hidden": str(gate.hidden) if isinstance(gate, RankGate) else "0",
        "conserves": str(int(gate.conserves)),
        "layers": json.dumps(list(layers.rows)),
        "widths": json.dumps(list(layers.widths)),
    }
    tensors = {name: value.detach().float().cpu().contiguous() for name, value in gate.state_dict().items()}
    blob = save({**tensors, _FINGERPRINTS: layers.fingerprints.contiguous()}, metadata={**(metadata or {}), **about})
    with atomic_file(path) as file:
        file.write(blob)


def load_gate(path: Path) -> GateFile:
    """Read a gate. Raises AdapterFileError for a file that is not sound, SettingError for one that is no gate."""
    file = read(path, Limits())
    about = file.metadata
    try:
        if about["format"] != FORMAT:
            raise KeyError("format")
        names, widths = json.loads(about["layers"]), json.loads(about["widths"])
        rows = {str(name): row for row, name in enumerate(cast("list[object]", names))}
        layers = LayerMap(
            rows, file.tensors[_FINGERPRINTS].float(), tuple(int(width) for width in cast("list[Any]", widths))
        )
        kind = cast("Kind", about["kind"])
        conserves = bool(int(about.get("conserves", "0")))
        gate = new_gate(kind, layers, int(about["text_width"]), int(about["hidden"]), conserves=conserves)
        weights = {name: value.clone() for name, value in file.tensors.items() if name != _FINGERPRINTS}
        cast("Any", gate).load_state_dict(weights)
    except (KeyError, ValueError, TypeError, RuntimeError) as error:
        raise SettingError(
            f"{display_text(path.name)} holds no gate",
            expected="a file that `loom train gate` wrote",
            found=display_text(str(error), 200),
        ) from error
    gate.requires_grad_(False).eval()
    return GateFile(path.stem, gate, display_text(about["base"]), display_text(about["family"]), about)


def shipped_gates() -> dict[str, Path]:
    """The gates that installed packages bring, by the names of their files."""
    folders: list[Path] = [Path(entry.load()()) for entry in named_entries("folder of gates", GATES).values()]
    return {path.stem: path for folder in folders for path in sorted(folder.glob("*.safetensors"))}


def find_gate(name: str) -> Path:
    """A gate by its name among the shipped ones, or by its path. Raises SettingError."""
    shipped = shipped_gates()
    if name in shipped:
        return shipped[name]
    path = Path(name).expanduser()
    if path.is_file():
        return path
    raise SettingError(
        f"there is no gate {display_text(name)!r}",
        expected=f"auto, none, one of {', '.join(shipped) or 'no shipped ones'}, or the path of a gate file",
        remedy=did_you_mean(name, shipped),
    )


def wrong_base(file: GateFile, path: str) -> LoomError:
    """The error for a gate of another base, which was noticed at the layer `path`."""
    return BaseModelError(
        f"the gate {display_text(file.name)} was trained on another base",
        expected=f"{file.base} ({file.family})",
        found=f"other weights at {path}",
        remedy="Use gate=auto, or train a gate for this base with `loom train gate`.",
    )
