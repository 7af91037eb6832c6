"""What a base model offers to adapters: the linear and convolution layers of denoiser and text encoders, by path."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from lora_loom.pipelines.adapters.base_family import family_of_base
from lora_loom.pipelines.adapters.naming.index import NameIndex, index_names
from lora_loom.pipelines.adapters.places import ModuleShape, Place

if TYPE_CHECKING:
    from torch import nn

TEXT_ENCODERS = ("text_encoder", "text_encoder_2", "text_encoder_3")


@dataclass(frozen=True)
class BaseTarget:
    """The layers of one base by component (`denoiser`, `text_encoder`, ...) and diffusers module path."""

    family: str
    components: Mapping[str, Mapping[str, ModuleShape]]

    @classmethod
    def from_pipeline(cls, pipe: Any) -> BaseTarget:
        """The layers of a diffusers pipeline; a few milliseconds, no weight is read."""
        denoiser = getattr(pipe, "unet", None) or getattr(pipe, "transformer", None)
        if denoiser is None:
            raise TypeError(f"{type(pipe).__name__} has neither a unet nor a transformer")
        models = {"denoiser": denoiser, **{name: getattr(pipe, name, None) for name in TEXT_ENCODERS}}
        return cls.from_modules({name: model for name, model in models.items() if model is not None})

    @classmethod
    def from_modules(cls, models: Mapping[str, nn.Module]) -> BaseTarget:
        """The layers of the models by component name; models on the meta device do."""
        components = {name: _layers(model) for name, model in models.items()}
        return cls(family_of_base(components), components)

    @cached_property
    def indices(self) -> Mapping[str, NameIndex]:
        """Every name that a layer goes by, per component."""
        return {component: index_names(component, modules) for component, modules in self.components.items()}

    def find(self, component: str, name: str, *, underscored: bool) -> tuple[Place, ...]:
        """Where the module of that name is, by exact comparison with the base's own names; empty if there is none."""
        index = self.indices.get(component)
        if index is None:
            return ()
        return (index.underscored if underscored else index.dotted).get(name, ())

    def t5_component(self) -> str:
        """The text encoder that is a T5: the third of SD3, the second of FLUX."""
        t5 = [name for name in TEXT_ENCODERS if any("SelfAttention" in path for path in self.components.get(name, {}))]
        return t5[0] if t5 else "text_encoder_3"


def _layers(model: nn.Module) -> dict[str, ModuleShape]:
    from torch import nn

    layers: dict[str, ModuleShape] = {}
    named = cast("Iterable[tuple[str, nn.Module]]", model.named_modules())
    for path, module in named:
        if isinstance(module, nn.Linear):  # its features, as quantised layers pack their weight
            layers[path] = ModuleShape("linear", (module.out_features, module.in_features))
        elif isinstance(module, nn.Conv2d) and module.groups == 1:
            layers[path] = ModuleShape("conv", (module.out_channels, module.in_channels, *module.kernel_size))
    return layers
