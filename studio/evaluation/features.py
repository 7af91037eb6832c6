"""What passes between extractors and metrics: features of texts, and what a result says about features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class TextFeatures:
    """Features [n d] of texts, and which of them [n] were longer than the model reads."""

    features: NDArray[np.float32]
    truncated: NDArray[np.bool_]


@dataclass(frozen=True)
class ExtractorInfo:
    """What a result has to say about the features it is made of; empty for metrics without features."""

    id: str = ""
    resizer: str = ""
    dim: int = 0
    has_text: bool = False
