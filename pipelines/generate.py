"""From a request to pictures: the method's plan run on a pipeline, with progress, previews and a way to stop."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lora_loom.pipelines import schedulers
from lora_loom.pipelines.errors import CancelledError, RequestError
from lora_loom.pipelines.fusion_pipeline import FusionPipeline
from lora_loom.pipelines.gating.heat_map import HeatMap
from lora_loom.pipelines.gating.rule import GateRule
from lora_loom.pipelines.measured.influence import Influence, probe_points
from lora_loom.pipelines.picture_size import picture_size
from lora_loom.pipelines.registry import create
from lora_loom.pipelines.request import GenerationRequest
from lora_loom.pipelines.runtime.cancelling import cancellable
from lora_loom.pipelines.runtime.fused import fused
from lora_loom.pipelines.runtime.masks import check_proportions
from lora_loom.pipelines.runtime.targets import denoiser_of

if TYPE_CHECKING:
    from PIL import Image

    from lora_loom.pipelines.adapters.factors import Adapter
    from lora_loom.pipelines.plan import FusionPlan
    from lora_loom.pipelines.runtime.denoiser import PlanRun

PREVIEW_LATENTS = 16  # a preview is decoded from at most this many latent rows and columns
AT_ONCE_ON_ACCELERATOR = 4  # pictures of one request drawn as one batch; on a CPU a batch is no faster


@dataclass(frozen=True)
class StepProgress:
    """One step done: `index` of `num_inference_steps` over all pictures of the request, `seconds` since its start.

    `latents` [b c h w] are those of the pictures being drawn; `preview` makes a picture of the first.
    """

    index: int
    num_inference_steps: int
    seconds: float
    latents: Tensor


@dataclass(frozen=True)
class Generated:
    """The pictures of a request, the seconds they took, the denoiser's passes by kind, and the memory at its peak.

    `peak_memory_bytes` is what was allocated on the accelerator, or the most the process ever held on a CPU.
    `influence` tells what each adapter changed, as far as it was looked at. `cost` is that of a step in full passes, as
    `predicted` and as `spent`, where the method had a budget to keep or reused passes. `gates` are those of a learned
    gate over all pictures, None for a run without one; a map without layers where no gate is known for the base.
    """

    images: list[Image.Image]
    seconds: float
    passes: Mapping[str, int]
    peak_memory_bytes: int
    influence: Mapping[str, Influence] = field(default_factory=dict[str, Influence])
    cost: Mapping[str, float] = field(default_factory=dict[str, float])
    gates: HeatMap | None = None


def generate(
    pipe: Any,
    request: GenerationRequest,
    adapters: Mapping[str, Adapter],
    *,
    on_step: Callable[[StepProgress], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
    influence: bool = True,
) -> Generated:
    """Draw a request on a diffusers pipeline, composing `adapters` (by the names in the request) as its method says.

    Picture k is drawn from its own CPU generator with seed + k, so it does not depend on its neighbours or the device.
    `on_step` hears of every step, and `cancelled` is asked before every block of the models. `influence` probes what
    each adapter changes where the method does not tell by itself, for about a tenth more work. Raises RequestError for
    what this base cannot draw, UnknownMethodError, SettingError, UnknownAdapterError, AdapterMatchError and
    CancelledError.
    """
    plan = create(request.method, request.settings).plan(request.adapters, request.num_inference_steps)
    call = _call_of(pipe, request)
    device = _device_of(pipe)
    at_once = 1 if device.type == "cpu" else AT_ONCE_ON_ACCELERATOR
    batches = [
        range(first, min(first + at_once, request.num_images_per_prompt))
        for first in range(0, request.num_images_per_prompt, at_once)
    ]
    started = time.perf_counter()
    passes: Counter[str] = Counter()
    images: list[Image.Image] = []
    seen: list[Mapping[str, Influence]] = []
    cost: dict[str, float] = {}
    probes = probe_points(request.num_inference_steps, len(request.adapters)) if influence else None
    _reset_peak_memory(device)
    for done, batch in enumerate(batches):

        def step_end(pipe: Any, step: int, timestep: Any, tensors: dict[str, Any], done: int = done) -> dict[str, Any]:
            steps: int = pipe.num_timesteps
            if on_step is not None:
                seconds = time.perf_counter() - started
                latents = _spatial(pipe, tensors["latents"], call)
                on_step(StepProgress(done * steps + step, len(batches) * steps, seconds, latents))
            _stop_if(cancelled)
            return {}

        _stop_if(cancelled)
        seeds = [request.seed + index for index in batch]
        calls = {**call, "num_images_per_prompt": len(batch), "callback_on_step_end": step_end}
        with _drawing(pipe, request, plan, adapters, probes) as run, cancellable(pipe, cancelled):
            images += pipe(**calls, generator=_generators(seeds)).images
        passes += run.passes
        seen.append(run.influence)
        cost = _cost_of(run)
    seconds, memory = time.perf_counter() - started, _peak_memory_bytes(device)
    shares = {name: Influence.mean([each[name] for each in seen]) for name in seen[0]}
    return Generated(images, seconds, dict(passes), memory, shares, cost, _gates_of(plan))


def generate_batch(pipe: Any, requests: Sequence[GenerationRequest], adapters: Mapping[str, Adapter]) -> Generated:
    """Draw requests that differ in prompt, negative prompt and seed only, all as one batch: picture k is of request k.

    Each is drawn from its own CPU generator, so it is the picture that `generate` makes of the request alone, but for
    the last bits, in which a device's arithmetic may depend on the size of a batch. `passes` are those of each picture.
    Raises what `generate` raises, and RequestError for requests that cannot share a batch.
    """
    first = requests[0]
    for request in requests:
        alike = replace(request, prompt=first.prompt, negative_prompt=first.negative_prompt, seed=first.seed)
        if alike != first or request.num_images_per_prompt != 1:
            raise RequestError(
                "these requests cannot be drawn as one batch",
                expected="one picture each, alike in all but prompt, negative prompt and seed",
                found=f"{request.prompt[:40]!r} beside {first.prompt[:40]!r}",
            )
    plan = create(first.method, first.settings).plan(first.adapters, first.num_inference_steps)
    call = _call_of(pipe, first) | {"prompt": [request.prompt for request in requests]}
    negative = [request.negative_prompt for request in requests]
    if any(negative):  # a pipeline may take none at all for something else than an empty one, as some do
        if not all(negative):
            raise RequestError("a batch has a negative prompt for some of its pictures", expected="for all or for none")
        call["negative_prompt"] = negative
    device = _device_of(pipe)
    started = time.perf_counter()
    _reset_peak_memory(device)
    with _drawing(pipe, first, plan, adapters) as run:
        images = pipe(**call, generator=_generators([request.seed for request in requests])).images
    seconds, memory = time.perf_counter() - started, _peak_memory_bytes(device)
    return Generated(images, seconds, dict(run.passes), memory, run.influence, _cost_of(run))


def preview(pipe: Any, latents: Tensor) -> Image.Image:
    """The first picture of latents [b c h w] as it stands, decoded small: pooled to 16 x 16 latents before decoding."""
    vae = pipe.vae
    first = latents[:1].to(vae.device, vae.dtype)
    if max(first.shape[-2:]) > PREVIEW_LATENTS:
        shrink = PREVIEW_LATENTS / max(first.shape[-2:])
        size = [max(round(side * shrink), 1) for side in first.shape[-2:]]
        first = torch.nn.functional.interpolate(first, size=size, mode="area")
    config = vae.config
    first = first / config.scaling_factor + (getattr(config, "shift_factor", None) or 0.0)
    with torch.no_grad():
        decoded: Tensor = vae.decode(first, return_dict=False)[0]
    images: list[Image.Image] = pipe.image_processor.postprocess(torch.nan_to_num(decoded), output_type="pil")
    return images[0]


def _call_of(pipe: Any, request: GenerationRequest) -> dict[str, Any]:
    """The arguments of the pipeline's call.

    Raises RequestError for a size or prompt that the base cannot take, or a mask of other proportions than the picture.
    """
    family = denoiser_of(pipe).family
    call: dict[str, Any] = {
        "prompt": request.prompt,
        "num_inference_steps": request.num_inference_steps,
        "guidance_scale": request.guidance_scale,
        **picture_size(pipe, request.width, request.height, family),
    }
    for choice in request.adapters:
        if choice.region is not None:
            check_proportions(choice.region, call["width"], call["height"])
    if family.guidance.negative_prompt:
        call["negative_prompt"] = request.negative_prompt or None
    elif request.negative_prompt:
        raise RequestError(
            f"a {family.title} base draws without classifier-free guidance and reads no negative prompt",
            found=repr(request.negative_prompt[:80]),
            remedy="Leave the negative prompt empty.",
        )
    return call


def _spatial(pipe: Any, latents: Tensor, call: Mapping[str, Any]) -> Tensor:
    """Latents as [b c h w]: some pipelines carry them as a row of 2 x 2 patches, [b (h w) (c 4)]."""
    if latents.ndim == 4:
        return latents
    return pipe._unpack_latents(latents, call["height"], call["width"], pipe.vae_scale_factor)


def _stop_if(cancelled: Callable[[], bool] | None) -> None:
    if cancelled is not None and cancelled():
        raise CancelledError


@contextmanager
def _drawing(
    pipe: Any,
    request: GenerationRequest,
    plan: FusionPlan,
    adapters: Mapping[str, Adapter],
    probes: int | None = None,
) -> Generator[PlanRun]:
    """The pipeline with the scheduler of the request, inside of the plan."""
    bank = pipe.bank if isinstance(pipe, FusionPipeline) else None
    fusion = fused(pipe, plan, adapters, bank, probes=probes)
    with schedulers.using(pipe, request.scheduler), _hooks_freed(pipe), fusion as run:
        yield run


def _cost_of(run: PlanRun) -> dict[str, float]:
    predicted, spent = run.predicted_cost, run.cost
    return {} if predicted is None or spent is None else {"predicted": predicted, "spent": spent}


def _gates_of(plan: FusionPlan) -> HeatMap | None:
    rule = plan.layer_rule
    return rule.heat_map(plan.adapters) if isinstance(rule, GateRule) and rule.has_map else None


def _generators(seeds: Sequence[int]) -> list[torch.Generator]:
    return [torch.Generator("cpu").manual_seed(seed) for seed in seeds]


@contextmanager
def _hooks_freed(pipe: Any) -> Generator[None]:
    """Send offloaded models home when drawing stops early; a run that ends has done so by itself."""
    try:
        yield
    except BaseException:
        pipe.maybe_free_model_hooks()
        raise


def _device_of(pipe: Any) -> torch.device:
    return pipe._execution_device


def _reset_peak_memory(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def _peak_memory_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ImportError:  # Windows
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
