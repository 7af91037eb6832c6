"""Output deltas: what a pass added to the prediction of the step's first pass, kept for the steps that follow."""

from __future__ import annotations

from collections.abc import Hashable

from torch import Tensor


class OutputDeltas:
    """The difference of passes to the reference they ran beside, by their keys; one run of the scheduler long.

    A key names all that the difference depends on: adapters and gates of both passes, guidance, the shape.
    """

    def __init__(self) -> None:
        self._kept: dict[Hashable, tuple[Tensor, Tensor]] = {}

    def remember(self, key: Hashable, noise_pred: Tensor, reference: Tensor) -> None:
        self._kept[key] = noise_pred, reference  # subtracted when asked for: most passes never are

    def holds(self, key: Hashable) -> bool:
        return key in self._kept

    def recall(self, key: Hashable, reference: Tensor) -> Tensor:
        """The reference [b ...] plus the difference kept; KeyError when there is none."""
        noise_pred, its_reference = self._kept[key]
        return reference + (noise_pred - its_reference)

    def clear(self) -> None:
        self._kept.clear()
