"""The precondition of every speed: both sides compute the same thing, and the adapters do something."""

from __future__ import annotations

from torch import Tensor

from lora_loom.pipelines.errors import LoomError

TOLERANCE = 1e-5  # largest difference over largest value, float32
SEEN = 1e-2


def distance(ours: Tensor, theirs: Tensor) -> float:
    """max |a - b| / max |b|."""
    return float((ours - theirs).abs().max() / theirs.abs().max())


def require_agreement(ours: Tensor, theirs: Tensor, without: Tensor) -> None:
    """Raises LoomError unless `ours` equals `theirs` and differs from the prediction without adapters."""
    error, effect = distance(ours, theirs), distance(theirs, without)
    if not error <= TOLERANCE:  # NaN is no agreement
        raise LoomError(
            "Loom and PEFT disagree, so their speeds cannot be compared",
            expected=f"a relative difference of at most {TOLERANCE:g}",
            found=f"{error:.3g}",
        )
    if effect < SEEN:
        raise LoomError(
            "the adapters have no effect, so their speed says nothing",
            expected=f"a prediction that differs by at least {SEEN:g}",
            found=f"{effect:.3g}",
        )
