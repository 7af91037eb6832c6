"""Choosing what computes the denoiser's attention: torch's fused kernel, plain products, xformers and others.

All of them compute softmax(Q K^T / sqrt(d)) V and differ in speed, memory and the last bits. UNets carry attention
processors of their own, which diffusers' `set_attention_backend` passes over without a word; here that is an error.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, cast

from lora_loom.pipelines.errors import RequestError

if TYPE_CHECKING:
    from diffusers.pipelines.pipeline_utils import DiffusionPipeline

FOR_EVERY_BASE = ("default", "sdpa", "eager", "xformers")
BACKENDS = {"sdpa": "native", "eager": "_native_math", "xformers": "xformers"}  # our name: diffusers' name


def use_attention(pipe: DiffusionPipeline, name: str) -> None:
    """Let `name` compute the attention of the pipeline's denoiser.

    `default` leaves it as it is, `sdpa` is torch's scaled_dot_product_attention, `eager` materialises the scores;
    others are diffusers' own backend names. Raises RequestError for one that is unknown or cannot work here, with the
    pipeline unchanged.
    """
    if name == "default":
        return
    if name == "xformers":
        _probe_xformers(pipe)
    unet = getattr(pipe, "unet", None)
    if unet is not None:
        _set_processors(unet, name)
    else:
        _set_backend(cast("Any", pipe).transformer, name)


def _set_processors(unet: Any, name: str) -> None:
    from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0, XFormersAttnProcessor

    kinds: dict[str, type] = {
        "sdpa": AttnProcessor2_0,
        "native": AttnProcessor2_0,
        "eager": AttnProcessor,
        "xformers": XFormersAttnProcessor,
    }
    if name not in kinds:
        raise RequestError(f"attention {name} does not fit this base", expected=f"one of {', '.join(FOR_EVERY_BASE)}")
    processors: dict[str, object] = unet.attn_processors
    special = sorted({type(each).__name__ for each in processors.values() if type(each) not in kinds.values()})
    if special:
        raise RequestError(
            f"attention {name} cannot replace this base's own", found=", ".join(special), remedy="Leave it at default"
        )
    unet.set_attn_processor({path: kinds[name]() for path in processors})


def _set_backend(transformer: Any, name: str) -> None:
    from diffusers.models.attention_dispatch import AttentionBackendName

    backend = BACKENDS.get(name, name)
    known = sorted(entry.value for entry in AttentionBackendName)
    if backend not in known:
        names = (*FOR_EVERY_BASE, *(entry for entry in known if not entry.startswith("_")))
        raise RequestError(f"there is no attention called {name}", expected=f"one of {', '.join(dict.fromkeys(names))}")
    try:
        transformer.set_attention_backend(backend)
    except (ImportError, RuntimeError, ValueError, OSError) as error:
        raise _unusable(name, error) from error


def _probe_xformers(pipe: DiffusionPipeline) -> None:
    """Run one tiny attention, since wheels for another torch import well enough and only fail when called."""
    import torch

    try:
        xformers = importlib.import_module("xformers.ops")
        query = torch.zeros(1, 8, 1, 32, device=pipe.device, dtype=cast("Any", pipe).dtype)
        xformers.memory_efficient_attention(query, query, query)
    except Exception as error:  # whatever an extension built for another torch may raise
        raise _unusable("xformers", error) from error


def _unusable(name: str, error: Exception) -> RequestError:
    first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return RequestError(
        f"attention {name} cannot be used here",
        expected="an installed package that fits this torch and device",
        found=first_line[:300],
        remedy="Use sdpa, which is part of torch and about as fast",
    )
