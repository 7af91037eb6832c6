"""What a base model offers to adapters: the linear and convolution layers of denoiser and text encoders, by path."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from lora_loom.pipelines.adapters.base_family import UNKNOWN, family_of_base
from lora_loom.pipelines.adapters.naming.index import NameIndex, index_names
from lora_loom.pipelines.adapters.places import ModuleShape, Place
from lora_loom.pipelines.families import families, of_pipeline, refused
from lora_loom.pipelines.families.family import Family

if TYPE_CHECKING:
    from torch import nn

TEXT_ENCODERS = tuple(sorted({each.component for family in families().values() for each in family.text_encoders}))


@dataclass(frozen=True)
class BaseTarget:
    """The layers of one base by component (`denoiser`, `text_encoder`, ...) and diffusers module path."""

    kind: Family | None
    components: Mapping[str, Mapping[str, ModuleShape]]

    @classmethod
    def from_pipeline(cls, pipe: Any) -> BaseTarget:
        """The layers of a diffusers pipeline; a few milliseconds, no weight is read.

        Raises BaseModelError for a pipeline of no family that Loom runs.
        """
        denoiser = getattr(pipe, "unet", None) or getattr(pipe, "transformer", None)
        found = type(pipe).__name__
        if denoiser is None:
            raise refused("this pipeline", found, of_pipeline(found))
        models = {"denoiser": denoiser, **{name: getattr(pipe, name, None) for name in TEXT_ENCODERS}}
        made = cls.from_modules({name: model for name, model in models.items() if model is not None})
        if made.kind is None or not made.kind.runs:
            known = of_pipeline(found) if made.kind is None else (made.kind,)
            raise refused("this pipeline", f"{found} with a {denoiser.__class__.__name__}", known)
        return made

    @classmethod
    def from_modules(cls, models: Mapping[str, nn.Module]) -> BaseTarget:
        """The layers of the models by component name; models on the meta device do."""
        components = {name: layers_of(model) for name, model in models.items()}
        return cls(family_of(models.get("denoiser"), components), components)

    @property
    def family(self) -> str:
        """The name of the base's family, `unknown` for networks of none."""
        return UNKNOWN if self.kind is None else self.kind.name

    @cached_property
    def indices(self) -> Mapping[str, NameIndex]:
        """Every name that a layer goes by, per component."""
        naming = None if self.kind is None else self.kind.naming
        return {component: index_names(component, modules, naming) for component, modules in self.components.items()}

    def find(self, component: str, name: str, *, underscored: bool) -> tuple[Place, ...]:
        """Where the module of that name is, by exact comparison with the base's own names; empty if there is none."""
        index = self.indices.get(component)
        if index is None:
            return ()
        return (index.underscored if underscored else index.dotted).get(name, ())


def family_of(denoiser: Any, components: Mapping[str, Mapping[str, ModuleShape]]) -> Family | None:
    """By the class of the network, or else of one that it derives from."""
    if denoiser is None:
        return None
    kinds: tuple[type[Any], ...] = getattr(denoiser, "_orig_mod", denoiser).__class__.__mro__
    found = (family_of_base(kind.__name__, components) for kind in kinds)
    return next((family for family in found if family is not None), None)


def layers_of(model: nn.Module) -> dict[str, ModuleShape]:
    """The linear and convolution layers of a model, by path."""
    from torch import nn

    layers: dict[str, ModuleShape] = {}
    named = cast("Iterable[tuple[str, nn.Module]]", model.named_modules())
    for path, module in named:
        if isinstance(module, nn.Linear):  # its features, as quantised layers pack their weight
            layers[path] = ModuleShape("linear", (module.out_features, module.in_features))
        elif isinstance(module, nn.Conv2d) and module.groups == 1:
            layers[path] = ModuleShape("conv", (module.out_channels, module.in_channels, *module.kernel_size))
    return layers
