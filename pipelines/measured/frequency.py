"""Frequency profiles: how much of an adapter's contribution is fine structure, and when in a run it speaks.

Measured once per adapter and base on Delta = eps_adapter - eps_base over a short run of its own, and kept by the
adapter's hash and the base's weights, in memory and as JSON in the cache folder (`LOOM_CACHE`, else the user's).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lora_loom.pipelines.atomic_file import atomic_file
from lora_loom.pipelines.errors import BaseModelError, OutputError
from lora_loom.pipelines.plan import FusionPlan, Pass, Predictions, weighted_mean

if TYPE_CHECKING:
    from torch import Tensor

    from lora_loom.pipelines.adapters.factors import Adapter

CUT = 0.2  # of the largest radius: above it is high frequency (arXiv:2502.04923, there Delta H_0.2)
STEPS = 6
LARGEST_SIDE = 64  # latent pixels of the measuring run: structure is that of a full picture, at a part of the cost
SAMPLED = 16  # numbers of each weight of the base that tell it from another
CLEAR_GAP = 0.1  # in the share of high frequencies, between the two sets

_measured: dict[str, FrequencyProfile] = {}


@dataclass(frozen=True)
class FrequencyProfile:
    """Energy of a contribution over the prediction's own, below and above the cut, at each `progress` of a run.

    `progress` in [0, 1) is the share of the steps that came before, as CMLoRA's schedule counts.
    """

    progress: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]

    @property
    def high_share(self) -> float:
        """Share of the contribution's energy above the cut, over the whole run, in [0, 1]."""
        total = sum(self.low) + sum(self.high)
        return sum(self.high) / total if total else 0.0

    def dominance(self, *, before: float = 1.0, since: float = 0.0) -> float:
        """Mean relative energy of the contribution in that part of the run."""
        steps = zip(self.progress, self.low, self.high, strict=True)
        met = [low + high for progress, low, high in steps if since <= progress < before]
        return sum(met) / len(met) if met else 0.0


@dataclass(frozen=True)
class FrequencySets:
    """Adapters whose contribution is fine structure, and those whose contribution is broad, the dominant ones first."""

    high: tuple[str, ...]
    low: tuple[str, ...]


def sets_of(profiles: Mapping[str, FrequencyProfile], low: Sequence[str] | None, switch_at: float) -> FrequencySets:
    """Split where the shares of high frequencies leave the widest gap, if it is a clear one; `low` overrides the split.

    High ones are ordered by their dominance before the progress `switch_at`, low ones by theirs after it.
    """
    if low is None:
        shares = sorted((profile.high_share, name) for name, profile in profiles.items())
        gaps = [(shares[k + 1][0] - shares[k][0], k) for k in range(len(shares) - 1)]
        gap, at = max(gaps, default=(0.0, 0))
        low = [name for _, name in shares[: at + 1]] if gap >= CLEAR_GAP else []
    early = {name: -profiles[name].dominance(before=switch_at) for name in profiles if name not in low}
    late = {name: -profiles[name].dominance(since=switch_at) for name in profiles if name in low}
    return FrequencySets(*(tuple(sorted(each, key=lambda name, of=each: (of[name], name))) for each in (early, late)))


def bands(deltas: Tensor) -> tuple[Tensor, Tensor]:
    """Energy of [... h w] below and above the cut, by Parseval: each [...], together the sum of squares.

    The radius of a frequency is in cycles per picture, the largest that of a corner, so the cut is right for any size.
    """
    import torch

    h, w = deltas.shape[-2:]
    fft: Any = torch.fft  # not typed
    power: Tensor = fft.fft2(deltas.float()).abs().square() / (h * w)
    rows, columns = (torch.arange(side, device=deltas.device) for side in (h, w))
    rows, columns = torch.minimum(rows, h - rows), torch.minimum(columns, w - columns)  # 0 1 2 ... 2 1
    high = (rows.square()[:, None] + columns.square()).sqrt() >= CUT * (h**2 + w**2) ** 0.5 / 2
    return (power * ~high).sum(dim=(-2, -1)), (power * high).sum(dim=(-2, -1))


def profile_of(pipe: Any, adapter: Adapter) -> FrequencyProfile:
    """The profile of an adapter on this base: the one kept, or measured now by a short run of its own."""
    key = _key(pipe, adapter)
    if key not in _measured:
        _measured[key] = _kept(key) or _keep(key, measure(pipe, adapter))
    return _measured[key]


def measure(pipe: Any, adapter: Adapter) -> FrequencyProfile:
    """Run the base and the adapter side by side, without guidance, from a fixed seed and the adapter's trigger."""
    import torch

    from lora_loom.pipelines.runtime.fused import fused

    found: list[tuple[float, float, float]] = []

    def combine(predictions: Predictions) -> Tensor:
        eps, state = predictions.noise_preds, predictions.state
        at = state.index / state.num_inference_steps
        delta = eps[1] - eps[0]
        if predictions.grid is not None:  # [b (h w) c] -> [b c h w]
            delta = delta.transpose(-1, -2).reshape(len(delta), -1, *predictions.grid)
        own = float(eps[0].float().square().sum())
        low, high = (float(each.sum()) / max(own, 1e-20) for each in bands(delta))
        found.append((at, low, high))
        return weighted_mean(predictions)

    gates = {adapter.name: 1.0}
    passes = (Pass({}, weight=0.0), Pass(gates))
    plan = FusionPlan((adapter.name,), lambda state: passes, ({}, gates), combine)
    own = _text_to_image(pipe)
    attributes: dict[str, Any] = own.__dict__
    bar = attributes.get("_progress_bar_config")
    own.set_progress_bar_config(disable=True)
    try:
        with fused(own, plan, {adapter.name: adapter}):
            own(
                adapter.metadata.get("modelspec.trigger_phrase", ""),
                num_inference_steps=STEPS,
                guidance_scale=_unguided(own),
                output_type="latent",
                generator=torch.Generator("cpu").manual_seed(0),
                **_size(own),
            )
    finally:
        del attributes["_progress_bar_config"]
        if bar is not None:
            attributes["_progress_bar_config"] = bar
    return FrequencyProfile(*zip(*found, strict=True))


def _text_to_image(pipe: Any) -> Any:
    """The pipeline, or one of its models that draws from a prompt alone."""
    if hasattr(pipe, "diffusers_class"):  # a fusion pipeline is one
        return pipe
    from diffusers.pipelines.auto_pipeline import AutoPipelineForText2Image

    kind: Any = AutoPipelineForText2Image
    try:
        return kind.from_pipe(pipe)
    except ValueError as error:
        raise BaseModelError(
            "the LoRAs' frequencies cannot be measured on this pipeline",
            expected="one that diffusers can turn into text to image",
            found=type(pipe).__name__,
            remedy="Choose composite, which needs no order.",
        ) from error


def _size(pipe: Any) -> dict[str, int]:
    from lora_loom.pipelines.runtime.targets import own_latents

    height, width = own_latents(pipe)
    factor: int = pipe.vae_scale_factor
    return {"height": min(height, LARGEST_SIDE) * factor, "width": min(width, LARGEST_SIDE) * factor}


def _unguided(pipe: Any) -> float:
    from lora_loom.pipelines.runtime.targets import denoiser_of

    return denoiser_of(pipe).family.guidance.off


def _key(pipe: Any, adapter: Adapter) -> str:
    from lora_loom.pipelines.runtime.targets import denoiser_of

    model = denoiser_of(pipe).model
    config = json.dumps(dict(getattr(model, "config", {})), sort_keys=True, default=str)
    base = hashlib.sha256(f"{type(model).__name__} {config} {_sampled(model)}".encode()).hexdigest()
    return f"{adapter.sha256[:32]}-{base[:16]}"


def _sampled(model: Any) -> str:
    """A hash of some numbers of every weight: two fine-tunes of one base differ in it, and no file need be read."""
    import torch

    digest = hashlib.sha256()
    by_device: dict[Any, list[Tensor]] = {}
    for name, weight in model.named_parameters():
        digest.update(f"{name} {tuple(weight.shape)}".encode())
        if weight.device.type != "meta":  # offloaded: its name and shape must do
            values = weight.detach().reshape(-1)
            by_device.setdefault(weight.device, []).append(values[:: max(len(values) // SAMPLED, 1)].float())
    for values in by_device.values():
        digest.update(torch.cat(values).cpu().numpy().tobytes())
    return digest.hexdigest()


def cache_folder() -> Path:
    """Where profiles are kept from one start of the program to the next."""
    chosen = os.environ.get("LOOM_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "loom")
    return Path(chosen).expanduser() / "frequency"


def _kept(key: str) -> FrequencyProfile | None:
    try:
        data = json.loads((cache_folder() / f"{key}.json").read_text(encoding="utf-8"))
        columns = [tuple(float(value) for value in data[name]) for name in ("progress", "low", "high")]
    except (OSError, ValueError, KeyError, TypeError):
        return None  # a cache: what is missing or broken is measured again
    return FrequencyProfile(*columns) if len({len(column) for column in columns}) == 1 else None


def _keep(key: str, profile: FrequencyProfile) -> FrequencyProfile:
    try:
        cache_folder().mkdir(parents=True, exist_ok=True)
        with atomic_file(cache_folder() / f"{key}.json") as file:
            file.write(json.dumps(asdict(profile)).encode())
    except (OSError, OutputError):
        pass  # a folder that cannot be written costs one measurement at the next start
    return profile
