"""The strongest directions of a base's own weights, found once per base and kept.

    W_0 = U_0 S_0 V_0^T, the first K = 64 of it

They are what an intruder is measured against (arXiv:2410.21228), and where its search begins.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from lora_loom.pipelines.atomic_file import atomic_file
from lora_loom.pipelines.errors import OutputError
from lora_loom.pipelines.weight_space.decompose import frobenius, thin_svd

KEPT = 64
SPARE, ITERATIONS = 16, 4  # of the randomised search
SMALL = 256  # matrices of at most so many rows or columns are decomposed whole: as quick, and exact
_PARTS = ("u", "s", "v", "norm")


@dataclass(frozen=True)
class BaseSpectrum:
    """The first K singular vectors and values of one weight [m n], and its Frobenius norm; float32."""

    u: Tensor  # [m K]
    s: Tensor  # [K], falling
    v: Tensor  # [n K]
    norm: float


def weight_of(model: nn.Module, path: str) -> Tensor:
    """The weight of a layer as a matrix [out in] or [out in*kh*kw], float32 on the CPU."""
    module: Any = model.get_submodule(path)
    return cast("Tensor", module.weight).detach().flatten(1).to("cpu", torch.float32)


def base_spectrum(weight: Tensor, kept: int = KEPT) -> BaseSpectrum:
    """The spectrum of one weight; the same weight gives the same."""
    if min(weight.shape) <= SMALL:
        u, s, v = thin_svd(weight)
    else:
        library = cast("Any", torch)
        with library.random.fork_rng(devices=[]):
            library.manual_seed(0)
            u, s, v = library.svd_lowrank(weight, q=kept + SPARE, niter=ITERATIONS)
    return BaseSpectrum(u[:, :kept].contiguous(), s[:kept].clone(), v[:, :kept].contiguous(), frobenius(weight))


class BaseSpectra:
    """The spectra of a base's layers, each found when it is first asked for.

    `models` by component. `file` is where they are kept between starts of the program, in float16; a file that is
    missing or broken only costs the time to find them again.
    """

    def __init__(self, models: Mapping[str, nn.Module], file: Path | None = None) -> None:
        self._models, self._file = models, file
        self._found: dict[str, BaseSpectrum] = _read(file) if file is not None else {}
        self._new = False

    def weight(self, component: str, path: str) -> Tensor:
        """The weight of a layer as a matrix."""
        return weight_of(self._models[component], path)

    def of(self, component: str, path: str) -> BaseSpectrum:
        """The spectrum of a layer."""
        key = f"{component}:{path}"
        if key not in self._found:
            self._found[key], self._new = base_spectrum(self.weight(component, path)), True
        return self._found[key]

    def keep(self) -> None:
        """Write what was found since the last time, if there is a file for it and a disk that takes it."""
        if self._file is None or not self._new:
            return
        from safetensors.torch import save

        tensors = {f"{key}|{part}": tensor for key, each in self._found.items() for part, tensor in _parts(each)}
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with atomic_file(self._file) as file:
                file.write(save(tensors))
        except (OSError, OutputError):
            return  # a cache
        self._new = False


def _parts(each: BaseSpectrum) -> Iterable[tuple[str, Tensor]]:
    values = (each.u.half(), each.s, each.v.half(), torch.tensor([each.norm]))
    return zip(_PARTS, values, strict=True)


def _read(file: Path) -> dict[str, BaseSpectrum]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file  # pyright: ignore[reportUnknownVariableType]

    try:
        tensors = load_file(file)
        keys = {name.rpartition("|")[0] for name in tensors}
        parts = {key: [tensors[f"{key}|{part}"].float() for part in _PARTS] for key in keys}
    except (SafetensorError, OSError, KeyError):
        return {}
    return {key: BaseSpectrum(u, s, v, float(norm)) for key, (u, s, v, norm) in parts.items()}
