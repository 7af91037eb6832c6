"""Measuring what an adapter does at which strength: the same prompts and seeds, drawn at strengths from none to much.

Without a judge, the effect of a strength is how far the pictures have gone the way to those of strength 1:

    y(w) = sum_k <z_k(w) - z_k(0), z_k(1) - z_k(0)> / sum_k |z_k(1) - z_k(0)|^2        z_k the latents of picture k

With an `attribute` it is the mean over the pictures of what that says of each, such as a judge's probability.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor

from lora_loom.pipelines.methods.merge import Merge
from lora_loom.pipelines.request import AdapterChoice
from lora_loom.pipelines.runtime.bank import AdapterBank
from lora_loom.pipelines.runtime.fused import fused

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lora_loom.pipelines.adapters.factors import Adapter

Attribute: TypeAlias = "Callable[[NDArray[Any]], Sequence[float]]"  # pictures uint8 [n h w 3] -> one value each

STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5)
AT_ONCE = 8  # pictures drawn as one batch


@dataclass(frozen=True)
class Response:
    """What was measured of every picture: `parts` [strengths][n], and what makes a whole of them, `wholes` [n].

    The effect at a strength is the sum of its parts over that of the wholes, for all pictures or some.
    """

    strengths: tuple[float, ...]
    parts: tuple[tuple[float, ...], ...]
    wholes: tuple[float, ...]

    def effects(self, pictures: Sequence[int] | None = None) -> list[float]:
        """The effect at each strength, over these pictures (None: all; a picture may come several times)."""
        chosen = range(len(self.wholes)) if pictures is None else pictures
        whole = sum(self.wholes[k] for k in chosen)
        return [sum(of[k] for k in chosen) / whole if whole else 0.0 for of in self.parts]


def measured_response(
    pipe: Any,
    adapter: Adapter,
    prompts: Sequence[str],
    strengths: Sequence[float] = STRENGTHS,
    *,
    attribute: Attribute | None = None,
    num_inference_steps: int = 20,
    guidance_scale: float = 3.0,
    first_seed: int = 0,
    on_strength: Callable[[float], None] | None = None,
) -> Response:
    """Draw the prompts at each strength and measure; picture k is drawn from seed `first_seed` + k.

    `on_strength` hears when a strength is done.
    """
    draw = _Drawing(pipe, adapter, prompts, num_inference_steps, guidance_scale, first_seed)
    start, way = (draw(0.0), draw(1.0) - draw(0.0)) if attribute is None else (torch.empty(0), torch.empty(0))
    parts: list[tuple[float, ...]] = []
    for strength in strengths:
        latents = draw(strength)
        parts.append(_dots(latents - start, way) if attribute is None else tuple(attribute(draw.pictures(latents))))
        if on_strength is not None:
            on_strength(strength)
    return Response(tuple(strengths), tuple(parts), _dots(way, way) if attribute is None else (1.0,) * len(prompts))


def _dots(first: Tensor, second: Tensor) -> tuple[float, ...]:
    """The inner product of each picture [n ...] with its own of the other."""
    return tuple(float(each) for each in (first * second).flatten(1).sum(dim=1))


class _Drawing:
    """Draws the same pictures at any strength; keeps the latents of what was drawn."""

    def __init__(
        self, pipe: Any, adapter: Adapter, prompts: Sequence[str], steps: int, guidance: float, first_seed: int
    ) -> None:
        self._pipe, self._adapter, self._prompts = pipe, adapter, list(prompts)
        self._steps = steps
        self._call: dict[str, Any] = {"num_inference_steps": steps, "guidance_scale": guidance}
        self._first_seed = first_seed
        self._bank = AdapterBank(pipe)
        self._drawn: dict[float, Tensor] = {}

    def __call__(self, strength: float) -> Tensor:
        """Latents [n ...] in float32 on the CPU."""
        if strength not in self._drawn:
            plan = Merge().plan([AdapterChoice("calibrated", strength)], self._steps)
            parts: list[Tensor] = []
            with fused(self._pipe, plan, {"calibrated": self._adapter}, self._bank):
                for start in range(0, len(self._prompts), AT_ONCE):
                    prompts = self._prompts[start : start + AT_ONCE]
                    seeds = range(self._first_seed + start, self._first_seed + start + len(prompts))
                    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
                    parts.append(
                        self._pipe(prompt=prompts, generator=generators, output_type="latent", **self._call)
                        .images.float()
                        .cpu()
                    )
            self._drawn[strength] = torch.cat(parts)
        return self._drawn[strength]

    @torch.no_grad()
    def pictures(self, latents: Tensor) -> NDArray[Any]:
        """uint8 [n h w 3]."""
        vae = self._pipe.vae
        latents = latents.to(vae.device, vae.dtype) / vae.config.scaling_factor
        latents += getattr(vae.config, "shift_factor", None) or 0.0
        starts = range(0, len(latents), AT_ONCE)
        parts = [vae.decode(latents[k : k + AT_ONCE], return_dict=False)[0].float().cpu() for k in starts]
        shown = self._pipe.image_processor.postprocess(torch.cat(parts), output_type="np")
        return (shown * 255).round().astype("uint8")
