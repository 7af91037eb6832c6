"""What every contestant is asked with and answers with: how to sample, and the pictures with what they cost."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Pictures = NDArray[np.uint8]  # [n h w 3]


@dataclass(frozen=True)
class Sampling:
    """How every contestant samples, with the base's own scheduler."""

    num_inference_steps: int = 12
    guidance_scale: float = 3.0


@dataclass(frozen=True)
class Drawn:
    """The pictures of one set, the denoiser passes that each took by kind, and what drawing them cost."""

    pictures: Pictures
    passes: Mapping[str, float]
    seconds: float
    peak_memory_bytes: int
