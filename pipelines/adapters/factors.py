"""A LoRA as exact low-rank factors per module of the base, whatever the file held."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from pipelines.adapters.receipt import Receipt


@dataclass(frozen=True)
class LoraFactors:
    """The update of one weight, delta = up @ down, with alpha / rank already inside `up`.

    `down` is [r in] for a linear layer and [r in kh kw] for a convolution, which runs as that convolution followed by a
    1x1 one; `up` is [out r].
    """

    down: Tensor
    up: Tensor

    def __post_init__(self) -> None:
        if self.up.ndim != 2 or self.down.ndim not in (2, 4) or self.up.shape[1] != self.down.shape[0]:
            raise ValueError(f"up {tuple(self.up.shape)} and down {tuple(self.down.shape)} do not multiply")

    @property
    def rank(self) -> int:
        return self.down.shape[0]

    def scaled(self, factor: float) -> LoraFactors:
        """The update times a factor."""
        return self if factor == 1.0 else LoraFactors(self.down, self.up * factor)

    def delta(self) -> Tensor:
        """The update itself in the shape of the base's weight: [out in] or [out in kh kw]."""
        return (self.up @ self.down.flatten(1)).reshape(-1, *self.down.shape[1:])


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
