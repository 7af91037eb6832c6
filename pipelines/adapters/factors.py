"""A LoRA as exact low-rank factors per module of the base, whatever the file held."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from torch import Tensor

from lora_loom.pipelines.errors import AdapterMatchError

if TYPE_CHECKING:
    from lora_loom.pipelines.adapters.receipt import Receipt


@dataclass(frozen=True)
class Magnitude:
    """What a DoRA (arXiv:2402.09353) makes the norms of the changed weight: W' = m (W + up @ down) / |W + up @ down|.

    Norms are taken for each output, m [out], as PEFT and newer LyCORIS do, or for each input channel, m [in], as older
    LyCORIS files do.
    """

    values: Tensor
    of: Literal["output", "input"] = "output"


@dataclass(frozen=True)
class LoraFactors:
    """The update of one weight, delta = up @ down, with alpha / rank already inside `up`.

    `down` is [r in] for a linear layer and [r in kh kw] for a convolution, which runs as that convolution followed by a
    1x1 one; `up` is [out r]. With a `magnitude` the factors are those of a DoRA, and the update is W' - W instead: of
    full rank, and not known without the base's own weight W.
    """

    down: Tensor
    up: Tensor
    magnitude: Magnitude | None = None

    def __post_init__(self) -> None:
        if self.up.ndim != 2 or self.down.ndim not in (2, 4) or self.up.shape[1] != self.down.shape[0]:
            raise ValueError(f"up {tuple(self.up.shape)} and down {tuple(self.down.shape)} do not multiply")

    @property
    def rank(self) -> int:
        return self.down.shape[0]

    def scaled(self, factor: float) -> LoraFactors:
        """The update times a factor; ValueError for a DoRA, which is not linear in its factors."""
        self._check_additive()
        return self if factor == 1.0 else LoraFactors(self.down, self.up * factor)

    def delta(self) -> Tensor:
        """The update itself in the shape of the base's weight: [out in] or [out in kh kw]; ValueError for a DoRA."""
        self._check_additive()
        return (self.up @ self.down.flatten(1)).reshape(-1, *self.down.shape[1:])

    def _check_additive(self) -> None:
        if self.magnitude is not None:
            raise ValueError("the update of a DoRA is not the product of its factors")


@dataclass(frozen=True)
class Adapter:
    """A LoRA ready for one base: factors by diffusers module path, for the denoiser and for each text encoder.

    `metadata` is the header's text as it stood in the file; show it through `hostile_text.display_text`.
    """

    name: str
    denoiser: Mapping[str, LoraFactors]
    text_encoders: Mapping[str, Mapping[str, LoraFactors]]
    receipt: Receipt
    sha256: str
    metadata: Mapping[str, str]

    @property
    def components(self) -> dict[str, Mapping[str, LoraFactors]]:
        """All factors by component: `denoiser`, `text_encoder`, `text_encoder_2`, ...; empty ones are left out."""
        every = {"denoiser": self.denoiser, **self.text_encoders}
        return {component: factors for component, factors in every.items() if factors}

    @cached_property
    def dora(self) -> tuple[str, ...]:
        """The module paths whose update is a DoRA."""
        layers = (each for factors in self.components.values() for each in factors.items())
        return tuple(path for path, factors in layers if factors.magnitude is not None)

    def check_additive(self) -> None:
        """Raise AdapterMatchError for a DoRA, which nothing that works on factors alone can take."""
        if self.dora:
            raise AdapterMatchError(
                f"{self.name} is a DoRA",
                expected="updates that are the product of their factors",
                found=f"one that rescales the base's own weight in {len(self.dora)} layers",
                remedy="It can draw live, alone or beside other LoRAs, by any method that does not fuse weights first.",
            )
