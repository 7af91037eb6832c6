"""diffusers' LoRA verbs over adapters that lie beside the model: to load, choose, list and forget them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from lora_loom.pipelines.adapters.load import load_adapter
from lora_loom.pipelines.adapters.target import BaseTarget
from lora_loom.pipelines.diffusers_weights import Weight, listed, weighted
from lora_loom.pipelines.errors import AdapterFileError, LoomWarning, RequestError, UnknownAdapterError
from lora_loom.pipelines.hub import chosen_lora, lora_file
from lora_loom.pipelines.plugins import did_you_mean
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
    chosen: bool = True  # by a person, and not by default as the one loaded last
    enabled: bool = True
    bank: AdapterBank | None = None

    @property
    def choices(self) -> list[AdapterChoice]:
        """The active adapters as they are to act; none while they are disabled."""
        return list(self.active.values()) if self.enabled else []


_OF_THE_HUB = ("subfolder", "cache_dir", "force_download", "proxies", "local_files_only", "token", "revision")
_ALWAYS = {"use_safetensors": (None, True), "low_cpu_mem_usage": (None, True, False)}  # of no consequence here


class LoraVerbs:
    """The verbs, as a base of the fusion pipelines. As in diffusers the LoRA loaded last is active, at strength 1."""

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
        hotswap: bool = False,
        *,
        weight_name: str | None = None,
        force: bool = False,
        **options: Any,
    ) -> None:
        """Load a LoRA from a .safetensors file, folder, hub id or dictionary of tensors; it becomes the active one.

        `weight_name` and `subfolder` choose among the files of a folder or hub id, and the options of huggingface_hub
        go on to it. `hotswap` puts it in the place of the loaded LoRA `adapter_name`, as active as that was.
        `self.adapters[name].receipt` says what of it fitted, a LoomWarning that it is not all; `force` loads what fits
        of a file for another base. Raises AdapterFileError for a file that
        cannot be read or trusted, AdapterMatchError for one that is not for this base, RequestError for a name that is
        taken or an option that there is not.
        """
        _check_options(options)
        name = adapter_name or self._new_name()
        if hotswap:
            self._check_loaded([name])
        elif name in self.loaded.adapters:
            raise RequestError(
                f"a LoRA called {name!r} is loaded already",
                expected="a new adapter_name",
                remedy=f"Choose another name, call delete_adapters({name!r}) first, or load it with hotswap=True.",
            )
        source = pretrained_model_name_or_path_or_dict
        if not isinstance(source, Mapping):
            source = _file(Path(source), weight_name, options)
        adapter = load_adapter(source, name=name, target=BaseTarget.from_pipeline(self), force=force)
        if hotswap:
            self._forget(name)
        self.loaded.adapters[name] = adapter
        if hotswap:
            return
        self.loaded.active = {name: AdapterChoice(name)}
        self.loaded.chosen = len(self.loaded.adapters) == 1

    def set_adapters(
        self,
        adapter_names: str | Sequence[str],
        adapter_weights: Weight | Sequence[Weight] = None,
        *,
        controls: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        """Make exactly these LoRAs active, in this order, at these strengths (1 where none is given).

        A strength may be diffusers' dictionary by component and block (`diffusers_weights.weighted`). `controls` say
        more of single ones, in the words of `AdapterChoice`: {"fox": {"blocks": {"style": 0.5}, "curve": [(0, 0), (0.3,
        1)], "region": (0, 0, 0.5, 1), "exempt": True}}; a region is a box, a PIL mask or a `Region`. Raises
        UnknownAdapterError for a name that is not loaded, RequestError when names and strengths do not pair up or a
        weight or control means nothing.
        """
        names = [adapter_names] if isinstance(adapter_names, str) else list(adapter_names)
        self._check_loaded(names)
        if stray := [name for name in controls or {} if name not in names]:
            raise RequestError(
                f"there are controls for {', '.join(stray)}, which is not made active",
                expected=f"some of {', '.join(names)}",
            )
        choices: list[AdapterChoice] = []
        for name, weight in zip(names, listed(names, adapter_weights), strict=True):
            choice = weighted(self, name, self.loaded.adapters[name].denoiser, weight)
            control = _control(name, (controls or {}).get(name, {}))
            if choice.blocks and control.get("blocks"):
                raise RequestError(
                    f"{name} has factors by block both as a weight and as a control", expected="one of the two"
                )
            choices.append(replace(choice, **control))
        self.loaded.active = {choice.name: choice for choice in choices}
        self.loaded.chosen = True

    def get_active_adapters(self) -> list[str]:
        """The names of the active LoRAs, in order; after `disable_lora` they wait for `enable_lora`."""
        return list(self.loaded.active)

    def get_list_adapters(self) -> dict[str, list[str]]:
        """The names of the loaded LoRAs by the component they act on."""
        listed: dict[str, list[str]] = {}
        for name, adapter in self.loaded.adapters.items():
            for component in adapter.components:
                where = denoiser_of(self).attribute if component == "denoiser" else component
                listed.setdefault(where, []).append(name)
        return listed

    def delete_adapters(self, adapter_names: str | Sequence[str]) -> None:
        """Forget these LoRAs; as in diffusers the first one left becomes active when none else is.

        Raises UnknownAdapterError for a name that is not loaded.
        """
        names = [adapter_names] if isinstance(adapter_names, str) else list(adapter_names)
        self._check_loaded(names)
        were_active = bool(self.loaded.active)
        for name in names:
            self._forget(name)
            self.loaded.active.pop(name, None)
        if were_active and not self.loaded.active and self.loaded.adapters:
            first = next(iter(self.loaded.adapters))
            self.loaded.active = {first: AdapterChoice(first)}
            self.loaded.chosen = False

    def unload_lora_weights(self) -> None:
        """Forget all LoRAs."""
        for name in list(self.loaded.adapters):
            self._forget(name)
        self.loaded.active.clear()

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

    def unfuse_lora(self, *args: Any, **kwargs: Any) -> None:
        """Not offered: raises RequestError, as nothing is ever fused into the weights."""
        raise RequestError(
            "a fusion pipeline has nothing to take out of its weights",
            remedy="Call disable_lora() to draw without LoRAs, or unload_lora_weights() to forget them.",
        )

    def set_lora_device(self, *args: Any, **kwargs: Any) -> None:
        """Not offered: raises RequestError, as LoRAs lie where the model is."""
        raise RequestError(
            "the LoRAs of a fusion pipeline lie where its model is",
            remedy="Move the pipeline with to(device); free the memory of a LoRA with delete_adapters(name).",
        )

    def enable_lora_hotswap(self, *args: Any, **kwargs: Any) -> None:
        """Not offered: raises RequestError, as there is nothing to prepare."""
        raise RequestError(
            "a fusion pipeline takes another LoRA of any rank without preparation",
            remedy="Leave this call out; load_lora_weights(..., adapter_name=name, hotswap=True) is enough.",
        )

    def _say_who_draws(self) -> None:
        """Say so where of several LoRAs one draws because it was loaded last, which people take for all of them."""
        if self.loaded.chosen or not self.loaded.choices:
            return
        (active,), every = self.loaded.active, ", ".join(map(repr, self.loaded.adapters))
        warnings.warn(
            f"of the loaded LoRAs only {active} draws, as in diffusers. Call set_adapters([{every}]) to draw with all.",
            LoomWarning,
            stacklevel=3,
        )
        self.loaded.chosen = True  # once is enough

    def _new_name(self) -> str:
        taken = [int(name.removeprefix("default_")) for name in self.loaded.adapters if name[8:].isdecimal()]
        return f"default_{max(taken, default=-1) + 1}"

    def _forget(self, name: str) -> None:
        """Take a LoRA out of memory, active or not."""
        del self.loaded.adapters[name]
        if name in self.bank.adapters:
            self.bank.detach(name)

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


def _check_options(options: Mapping[str, Any]) -> None:
    """Raise RequestError for an option that neither diffusers nor the hub has, or that cannot be met."""
    known = (*_OF_THE_HUB, *_ALWAYS)
    for option, value in options.items():
        if option not in known:
            raise RequestError(
                f"load_lora_weights has no option {option!r}",
                expected=f"adapter_name, hotswap, weight_name, force, {', '.join(known)}",
                found=f"{option}={value!r}"[:100],
                remedy=did_you_mean(option, ("adapter_name", "hotswap", "weight_name", "force", *known)),
            )
        if option in _ALWAYS and value not in _ALWAYS[option]:
            raise RequestError(f"{option}={value!r}", expected="safetensors: other formats run code when they are read")


def _file(path: Path, weight_name: str | None, options: Mapping[str, Any]) -> Path:
    """The one LoRA file that is meant. Raises AdapterFileError."""
    hub = {name: options[name] for name in _OF_THE_HUB if name in options}
    if path.is_file():
        return path
    if path.is_dir():
        folder = path / str(hub.get("subfolder") or "")
        return folder / (weight_name or chosen_lora(str(folder), [each.name for each in folder.glob("*.safetensors")]))
    if path.suffix or len(path.parts) != 2 or path.is_absolute():
        raise AdapterFileError(
            f"there is no LoRA at {path}", path=path, expected="a file, a folder or a hub id owner/name"
        )
    return lora_file(str(path), weight_name, hub)
