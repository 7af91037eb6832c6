"""The kinds of update that a LoRA file may hold: which parts each has, its shape from theirs, and its factors."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from lora_loom.pipelines.adapters.algebra import Product

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class UpdateShape:
    """The weight that an update is for, [out inputs] with a convolution's kernel flattened into `inputs`.

    `kernel` is None where the file does not say. `dim` is the trained rank that alpha is divided by, None for a kind
    without one; `rank` is that of the exact factors.
    """

    out: int
    inputs: int
    kernel: tuple[int, ...] | None
    dim: int | None
    rank: int


@dataclass(frozen=True)
class Kind:
    """A kind of update. `measure` raises ValueError where the parts' shapes do not belong together."""

    name: str
    parts: frozenset[str]
    measure: Callable[[Shapes], UpdateShape]
    multiply: Callable[[Mapping[str, Tensor]], Product]


def supported_kind(parts: Collection[str]) -> Kind | None:
    """The kind that these parts make, None if they make none that is low-rank and additive."""
    present = frozenset(parts)
    kind = next((kind for kind in _KINDS if kind.parts & present), None)
    return kind if kind is not None and _complete(kind.name, present) else None


def why_unsupported(parts: Collection[str]) -> tuple[str, str]:
    """(kind, reason) of parts that `supported_kind` does not know."""
    present = frozenset(parts)
    for kind, signs, reason in _UNSUPPORTED:
        if signs & present:
            return kind, reason
    if any(kind.parts & present for kind in _KINDS):
        return "incomplete", f"only {', '.join(sorted(present))} of the parts of its update are in the file"
    if "magnitude" in present:
        return "dora", "magnitudes without the factors that they belong to"
    return "alpha", "an alpha without weights"


def _complete(kind: str, parts: frozenset[str]) -> bool:
    if kind == "lora":
        return {"down", "up"} <= parts
    if kind == "loha":
        whole = {"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"} <= parts
        return whole and ("hada_t1" in parts) == ("hada_t2" in parts)
    halves = [f"lokr_w{side}" in parts or {f"lokr_w{side}_a", f"lokr_w{side}_b"} <= parts for side in (1, 2)]
    return all(halves) and "lokr_t1" not in parts


def _measure_lora(shapes: Shapes) -> UpdateShape:
    down, up = shapes["down"], shapes["up"]
    _expect(len(down) in (2, 4) and len(up) in (2, 4), "factors of 2 or 4 dimensions", down, up)
    _expect(all(size == 1 for size in up[2:]), "an up factor without a kernel of its own", up)
    if "mid" in shapes:
        mid = shapes["mid"]
        _expect(len(mid) == 4 and mid[1] == down[0] and mid[0] == up[1], "a core between down and up", down, mid, up)
        _expect(all(size == 1 for size in down[2:]), "a down factor without a kernel beside a core", down)
        return _shape(up[0], down[1] * mid[2] * mid[3], mid[2:], down[0], mid[0])
    _expect(down[0] == up[1], "the same rank in down and up", down, up)
    return _shape(up[0], math.prod(down[1:]), down[2:] or None, down[0], down[0])


def _multiply_lora(tensors: Mapping[str, Tensor]) -> Product:
    from lora_loom.pipelines.adapters.algebra import Product, shortest, with_core

    up, down = tensors["up"].flatten(1), tensors["down"].flatten(1)
    if "mid" in tensors:
        return shortest(with_core(tensors["mid"], up, down))
    return shortest(Product(up, down))


def _measure_loha(shapes: Shapes) -> UpdateShape:
    first = _measure_pair(shapes, "hada_w1_a", "hada_w1_b", "hada_t1")
    second = _measure_pair(shapes, "hada_w2_a", "hada_w2_b", "hada_t2")
    same = (first.out, first.inputs, first.kernel) == (second.out, second.inputs, second.kernel)
    _expect(same, "two matrices of one shape", (first.out, first.inputs), (second.out, second.inputs))
    return _shape(first.out, first.inputs, first.kernel, first.dim, first.rank * second.rank)


def _multiply_loha(tensors: Mapping[str, Tensor]) -> Product:
    from lora_loom.pipelines.adapters.algebra import hadamard

    first = _multiply_pair(tensors, "hada_w1_a", "hada_w1_b", "hada_t1")
    return hadamard(first, _multiply_pair(tensors, "hada_w2_a", "hada_w2_b", "hada_t2"))


def _measure_lokr(shapes: Shapes) -> UpdateShape:
    halves = (
        _measure_half(shapes, "lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_t1"),
        _measure_half(shapes, "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2"),
    )
    first, second = halves
    _expect(first.kernel is None, "a first factor without a kernel", (first.out, first.inputs))
    # LyCORIS divides alpha by the rank that its decomposed factors share, and has no use for it where both are full.
    dim = second.dim or first.dim
    return _shape(first.out * second.out, first.inputs * second.inputs, second.kernel, dim, first.rank * second.rank)


def _multiply_lokr(tensors: Mapping[str, Tensor]) -> Product:
    from lora_loom.pipelines.adapters.algebra import dense, kronecker

    halves = [
        dense(tensors[f"lokr_w{side}"].flatten(1))
        if f"lokr_w{side}" in tensors
        else _multiply_pair(tensors, f"lokr_w{side}_a", f"lokr_w{side}_b", f"lokr_t{side}")
        for side in (1, 2)
    ]
    return kronecker(*halves)


def _measure_half(shapes: Shapes, whole: str, up: str, down: str, core: str) -> UpdateShape:
    if whole not in shapes:
        return _measure_pair(shapes, up, down, core)
    shape = shapes[whole]
    _expect(len(shape) in (2, 4), "a factor of 2 or 4 dimensions", shape)
    inputs = math.prod(shape[1:])
    return _shape(shape[0], inputs, shape[2:] or None, None, min(shape[0], inputs))


def _measure_pair(shapes: Shapes, up_name: str, down_name: str, core_name: str) -> UpdateShape:
    """A matrix up @ down, or in Tucker form with a core [p q kh kw] and both factors on their side: [p m], [q n]."""
    up, down = shapes[up_name], shapes[down_name]
    _expect(len(up) == 2 and len(down) == 2, "factors of 2 dimensions", up, down)
    if core_name in shapes:
        core = shapes[core_name]
        _expect(len(core) == 4 and core[:2] == (up[0], down[0]), "a core between both factors", up, core, down)
        return _shape(up[1], down[1] * core[2] * core[3], core[2:], down[0], up[0])
    _expect(up[1] == down[0], "the same rank in both factors", up, down)
    return _shape(up[0], down[1], None, down[0], down[0])


def _multiply_pair(tensors: Mapping[str, Tensor], up_name: str, down_name: str, core_name: str) -> Product:
    from lora_loom.pipelines.adapters.algebra import Product, with_core

    up, down = tensors[up_name], tensors[down_name]
    return with_core(tensors[core_name], up.T.contiguous(), down) if core_name in tensors else Product(up, down)


def _shape(out: int, inputs: int, kernel: tuple[int, ...] | None, dim: int | None, rank: int) -> UpdateShape:
    _expect(min(out, inputs, rank) > 0, "sizes above zero", (out, inputs), (rank,))
    return UpdateShape(out, inputs, kernel, dim, min(rank, out, inputs))


def _expect(holds: bool, what: str, *found: tuple[int, ...]) -> None:
    if not holds:
        raise ValueError(f"expected {what}, found {' and '.join(str(list(shape)) for shape in found)}")


_KINDS = (
    Kind("lora", frozenset({"down", "up", "mid"}), _measure_lora, _multiply_lora),
    Kind(
        "loha",
        frozenset({"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2"}),
        _measure_loha,
        _multiply_loha,
    ),
    Kind(
        "lokr",
        frozenset({"lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t1", "lokr_t2"}),
        _measure_lokr,
        _multiply_lokr,
    ),
)
_UNSUPPORTED: tuple[tuple[str, frozenset[str], str], ...] = (
    ("glora", frozenset({"a1", "a2", "b1", "b2"}), "GLoRA multiplies the base's own weight, which is not an addition"),
    ("ia3", frozenset({"on_input"}), "IA3 rescales activations, which is not an addition"),
    (
        "oft",
        frozenset({"oft_blocks", "oft_diag", "oft_r", "rescale"}),
        "OFT and BOFT rotate the weight, which is not an addition",
    ),
    ("norm", frozenset({"w_norm", "b_norm", "scale"}), "a change of a normalisation layer is not low-rank"),
    ("full", frozenset({"diff", "weight", "set_weight"}), "a full weight or difference is not low-rank"),
    ("embedding", frozenset({"lora_embedding_A", "lora_embedding_B"}), "updates of embeddings are not supported"),
    (
        "bias",
        frozenset({"diff_b", "bias", "up_bias", "bias_indices", "bias_values", "bias_size"}),
        "a bias is not a low-rank update",
    ),
    ("other", frozenset({"reshape_weight", "scalar"}), "only useful with parts that are not in the file"),
)
