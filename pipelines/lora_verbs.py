"""diffusers' LoRA verbs over adapters that lie beside the model: to load, choose, list and forget them."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from lora_loom.pipelines.adapters.load import load_adapter
from lora_loom.pipelines.adapters.target import BaseTarget
from lora_loom.pipelines.errors import AdapterFileError, RequestError, UnknownAdapterError
from lora_loom.pipelines.request import AdapterChoice
from lora_loom.pipelines.requests.checks import known_keys
from lora_loom.pipelines.requests.control import Region
from lora_loom.pipelines.runtime.bank import AdapterBank
from lora_loom.pipelines.runtime.targets import denoiser_of

if TYPE_CHECKING:
    from torch import Tensor

    from lora_loom.pipelines.adapters.factors import Adapter


def _no_adapters() -> dict[str, Adapter]:
    return {}


def _no_choices() -> dict[str, AdapterChoice]:
    return {}


@dataclass
class Loaded:
    """The adapters of one pipeline; `active` are those that take part, in the order they were chosen."""

    adapters: dict[str, Adapter] = field(default_factory=_no_adapters)
    active: dict[str, AdapterChoice] = field(default_factory=_no_choices)
    enabled: bool = True
    bank: AdapterBank | None = None

    @property
    def choices(self) -> list[AdapterChoice]:
        """The active adapters as they are to act; none while they are disabled."""
        return list(self.active.values()) if self.enabled else []


class LoraVerbs:
    """The verbs, as a base of the fusion pipelines. A loaded LoRA is active at strength 1 until `set_adapters`."""

    @property
    def loaded(self) -> Loaded:
        return vars(self).setdefault("_loaded_adapters", Loaded())

    @property
    def adapters(self) -> Mapping[str, Adapter]:
        """Every loaded LoRA by name, active or not."""
        return dict(self.loaded.adapters)

    @property
    def bank(self) -> AdapterBank:
        """Where this pipeline's LoRAs lie ready to run."""
        if self.loaded.bank is None:
            self.loaded.bank = AdapterBank(self)
        return self.loaded.bank

    def load_lora_weights(
        self,
        pretrained_model_name_or_path_or_dict: str | Path | Mapping[str, Tensor],
        adapter_name: str | None = None,
        *,
        weight_name: str | None = None,
        force: bool = False,
        **hub: Any,
    ) -> None:
        """Load a LoRA from a .safetensors file, a folder or hub id with `weight_name`, or a dictionary of tensors.

        `self.adapters[name].receipt` says what of it fitted, a LoomWarning that it is not all; `force` loads what fits
        of a file for another base. Raises AdapterFileError for a file that cannot be read or trusted, AdapterMatchError
        for one that is not for this base, RequestError for a name that is taken.
        """
        name = adapter_name or self._new_name()
        if name in self.loaded.adapters:
            raise RequestError(
                f"a LoRA called {name!r} is loaded already",
                expected="a new adapter_name",
                remedy=f"Choose another name, or call delete_adapters({name!r}) first.",
            )
        source = pretrained_model_name_or_path_or_dict
        if not isinstance(source, Mapping):
            source = _file(Path(source), weight_name, hub)
        self.loaded.adapters[name] = load_adapter(source, name=name, target=BaseTarget.from_pipeline(self), force=force)
        self.loaded.active[name] = AdapterChoice(name)

    def set_adapters(
        self,
        adapter_names: str | Sequence[str],
        adapter_weights: float | Sequence[float | None] | None = None,
        *,
        controls: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        """Make exactly these LoRAs active, in this order, at these strengths (1 where none is given).

        `controls` say more of single ones, in the words of `AdapterChoice`: {"fox": {"blocks": {"style": 0.5},
        "curve": [(0, 0), (0.3, 1)], "region": (0, 0, 0.5, 1), "exempt": True}}; a region is a box, a PIL mask or a
        `Region`. Raises UnknownAdapterError for a name that is not loaded, RequestError when names and strengths do not
        pair up or a control means nothing.
        """
        names = [adapter_names] if isinstance(adapter_names, str) else list(adapter_names)
        weights = list(adapter_weights) if isinstance(adapter_weights, Sequence) else [adapter_weights] * len(names)
        self._check_loaded(names)
        if len(names) != len(weights):
            raise RequestError(
                "names and strengths do not pair up",
                expected=f"{len(names)} strengths for {', '.join(names)}",
                found=str(len(weights)),
            )
        if stray := [name for name in controls or {} if name not in names]:
            raise RequestError(
                f"there are controls for {', '.join(stray)}, which is not made active",
                expected=f"some of {', '.join(names)}",
            )
        choices = [
            AdapterChoice(name, 1.0 if weight is None else weight, **_control(name, (controls or {}).get(name, {})))
            for name, weight in zip(names, weights, strict=True)
        ]
        self.loaded.active = {choice.name: choice for choice in choices}

    def get_active_adapters(self) -> list[str]:
        """The names of the LoRAs that take part, in order."""
        return list(self.loaded.active) if self.loaded.enabled else []

    def get_list_adapters(self) -> dict[str, list[str]]:
        """The names of the loaded LoRAs by the component they act on."""
        listed: dict[str, list[str]] = {}
        for name, adapter in self.loaded.adapters.items():
            for component in adapter.components:
                where = denoiser_of(self).attribute if component == "denoiser" else component
                listed.setdefault(where, []).append(name)
        return listed

    def delete_adapters(self, adapter_names: str | Sequence[str]) -> None:
        """Forget these LoRAs. Raises UnknownAdapterError for a name that is not loaded."""
        names = [adapter_names] if isinstance(adapter_names, str) else list(adapter_names)
        self._check_loaded(names)
        for name in names:
            del self.loaded.adapters[name]
            self.loaded.active.pop(name, None)
            if name in self.bank.adapters:
                self.bank.detach(name)

    def unload_lora_weights(self) -> None:
        """Forget all LoRAs."""
        self.delete_adapters(list(self.loaded.adapters))

    def disable_lora(self) -> None:
        """Draw with the base alone until `enable_lora`."""
        self.loaded.enabled = False

    def enable_lora(self) -> None:
        """Let the active LoRAs take part again."""
        self.loaded.enabled = True

    def fuse_lora(self, *args: Any, **kwargs: Any) -> None:
        """Not offered: raises RequestError, as the weights of a fusion pipeline are never written to."""
        raise RequestError(
            "a fusion pipeline does not write LoRAs into its weights",
            remedy="The live sum of `fusion='merge'` gives the same picture; use the plain diffusers pipeline to fuse.",
        )

    def _new_name(self) -> str:
        taken = [int(name.removeprefix("default_")) for name in self.loaded.adapters if name[8:].isdecimal()]
        return f"default_{max(taken, default=-1) + 1}"

    def _check_loaded(self, names: Sequence[str]) -> None:
        if unknown := [name for name in names if name not in self.loaded.adapters]:
            raise UnknownAdapterError(
                f"no LoRA called {', '.join(map(repr, unknown))} is loaded",
                expected=f"some of {', '.join(self.loaded.adapters) or 'none yet'}",
                remedy="Load it with load_lora_weights(path, adapter_name=...).",
            )


def _control(name: str, control: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of an AdapterChoice besides name and strength."""
    known = known_keys(f"control of {name}", control, ("blocks", "curve", "region", "exempt"), required=())
    region = known.get("region")
    if isinstance(region, list | tuple):
        known["region"] = Region(box=cast("Any", tuple(cast("list[float]", region))))
    elif region is not None and not isinstance(region, Region) and hasattr(region, "convert"):
        known["region"] = Region.painted(region)
    return known


def _file(path: Path, weight_name: str | None, hub: Mapping[str, Any]) -> Path:
    """The one LoRA file that is meant."""
    if path.is_file():
        return path
    if path.is_dir():
        found = [path / weight_name] if weight_name else sorted(path.glob("*.safetensors"))
        if len(found) == 1:
            return found[0]
        raise AdapterFileError(
            f"{path} does not hold one LoRA",
            path=path,
            expected="one .safetensors file, or weight_name to choose among several",
            found=", ".join(each.name for each in found[:5]) or "none",
        )
    if weight_name is None:
        raise AdapterFileError(
            f"there is no LoRA at {path}", path=path, expected="a file, a folder, or a hub id with weight_name"
        )
    hub_client: Any = importlib.import_module("huggingface_hub")
    return Path(hub_client.hf_hub_download(str(path), weight_name, **hub))
