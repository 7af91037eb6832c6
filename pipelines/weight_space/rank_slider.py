"""A slider on an adapter that turns every rank by its own curve, and is a plain LoRA at any setting.

    dW(s) = B diag(g(s)) A        g(0) = 0, g(1) = 1, each g_r rising and linear between the knots

The mergeable form of LiON-LoRA's linear strength (arXiv:2507.05678): what a token in the network cannot be, a setting
of this slider is, namely a file for any tool. The curves travel in the header of the LoRA that they belong to.
"""

from __future__ import annotations

import base64
import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from lora_loom.pipelines.adapters.factors import Adapter, LoraFactors
from lora_loom.pipelines.adapters.hostile_text import display_text
from lora_loom.pipelines.checked_json import parse_json
from lora_loom.pipelines.errors import AdapterFileError

HEADER_KEY = "loom.rank_slider"
KNOTS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5)
MAX_KNOTS = 64
MAX_GATE = 64.0


@dataclass(frozen=True)
class RankSlider:
    """The curves of the denoiser's layers: by module path, the gate of every rank at every knot [r k].

    Settings below 0 take the curve on the other side, g(-s) = -g(s); beyond the last knot the last piece goes on.
    Text encoders have no curves: they keep to s itself.
    """

    gates: Mapping[str, Tensor]
    knots: tuple[float, ...] = KNOTS

    def at(self, s: float) -> dict[str, Tensor]:
        """The gates [r] of every layer at a setting."""
        low, share = _place(abs(s), self.knots)
        sign = -1.0 if s < 0 else 1.0
        return {path: sign * torch.lerp(of[:, low], of[:, low + 1], share) for path, of in self.gates.items()}

    def applied(self, adapter: Adapter, s: float) -> Adapter:
        """The adapter at a setting, as a plain one to use at strength 1."""
        gates = self.at(s)
        denoiser = {path: _scaled(factors, gates[path]) for path, factors in adapter.denoiser.items()}
        encoders = {
            encoder: {path: each.scaled(s) for path, each in layers.items()}
            for encoder, layers in adapter.text_encoders.items()
        }
        sha256 = f"{adapter.sha256} at {s:g}"
        metadata = {key: value for key, value in adapter.metadata.items() if key != HEADER_KEY}
        return replace(adapter, denoiser=denoiser, text_encoders=encoders, sha256=sha256, metadata=metadata)

    def to_header(self) -> str:
        """The curves as text for the header of the LoRA: float16 values in the order of the paths."""
        values = torch.cat([self.gates[path].flatten() for path in sorted(self.gates)]).half()
        numbers = values.contiguous().view(torch.uint8).numpy().tobytes()
        return json.dumps({"knots": list(self.knots), "gates": base64.b64encode(numbers).decode("ascii")})


def slider_of(adapter: Adapter) -> RankSlider | None:
    """The slider in the header of an adapter, None if there is none; raises AdapterFileError for one that is broken."""
    text = adapter.metadata.get(HEADER_KEY)
    if text is None:
        return None
    try:
        held: Any = parse_json(text)
        knots = tuple(float(knot) for knot in held["knots"])
        values = torch.frombuffer(bytearray(base64.b64decode(held["gates"], validate=True)), dtype=torch.float16)
        return _checked(RankSlider(dict(_split(values.float(), adapter, len(knots))), knots))
    except (ValueError, TypeError, KeyError, RuntimeError, RecursionError) as error:
        raise AdapterFileError(
            f"the slider of {display_text(adapter.name, 80)} cannot be read",
            expected=f"gates of {sum(each.rank for each in adapter.denoiser.values())} ranks at rising knots",
            found=display_text(str(error), 200),
            remedy="Train it again with `loom train slider`, or use the LoRA without it.",
        ) from error


def bent(adapter: Adapter, s: float) -> Adapter:
    """The adapter whose strength s has the effect of its slider at s; the adapter itself where it has no slider.

    Raises AdapterFileError for a slider that is broken.
    """
    slider = slider_of(adapter) if s else None
    if slider is None:
        return adapter
    whole = slider.applied(adapter, s)
    denoiser = {path: each.scaled(1.0 / s) for path, each in whole.denoiser.items()}
    return replace(whole, denoiser=denoiser, text_encoders=adapter.text_encoders)


def _split(values: Tensor, adapter: Adapter, knots: int) -> Iterator[tuple[str, Tensor]]:
    ranks = [adapter.denoiser[path].rank for path in sorted(adapter.denoiser)]
    if values.numel() != sum(ranks) * knots:
        raise ValueError(f"{values.numel()} numbers")
    parts = torch.split(values, [rank * knots for rank in ranks])
    for path, rank, part in zip(sorted(adapter.denoiser), ranks, parts, strict=True):
        yield path, part.view(rank, knots)


def _checked(slider: RankSlider) -> RankSlider:
    knots = slider.knots
    rising = all(a < b for a, b in itertools.pairwise(knots))
    if not (2 <= len(knots) <= MAX_KNOTS and knots[0] == 0.0 and rising):
        raise ValueError(f"knots {knots}"[:100])
    for path, gates in slider.gates.items():
        if not (bool(torch.isfinite(gates).all()) and bool((gates.abs() <= MAX_GATE).all())):
            raise ValueError(f"a gate of {path} is not finite or beyond {MAX_GATE:g}")
    return slider


def _place(s: float, knots: tuple[float, ...]) -> tuple[int, float]:
    """The knot below s and the share of the way to the next, beyond 1 after the last."""
    low = max(k for k, knot in enumerate(knots[:-1]) if knot <= s)
    return low, (s - knots[low]) / (knots[low + 1] - knots[low])


def _scaled(factors: LoraFactors, gates: Tensor) -> LoraFactors:
    return LoraFactors(factors.down, factors.up * gates)
