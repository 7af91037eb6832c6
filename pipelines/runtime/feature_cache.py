"""Deep features of passes, kept from the step they ran in full for the steps that replay them."""

from __future__ import annotations

from collections.abc import Generator, Hashable, Sequence
from contextlib import contextmanager

from torch import nn

from lora_loom.pipelines.runtime.shallow import Features, joined, shallow_of, split


class FeatureCache:
    """The features of one run by the keys of their passes, each with the step it was recorded at.

    A key names all that features depend on but the step: adapters by content, gates, guidance and shape. Features older
    than `max_age` steps are not replayed.
    """

    def __init__(self, model: nn.Module, branch: int, max_age: int) -> None:
        self.max_age = max_age
        self._shallow = shallow_of(model, branch)
        self._kept: dict[Hashable, tuple[int, Features]] = {}

    def holds(self, key: Hashable, step: int) -> bool:
        """Whether there are features for this pass that are young enough at this step."""
        return key in self._kept and step - self._kept[key][0] <= self.max_age

    @contextmanager
    def recording(self, keys: Sequence[Hashable], step: int) -> Generator[None]:
        """Keep the features of the passes that run in full as one batch in this context."""
        features: Features = {}
        with self._shallow.recording(features):
            yield
        for key, each in zip(keys, split(features, len(keys)), strict=True):
            self._kept[key] = step, each

    @contextmanager
    def replaying(self, keys: Sequence[Hashable]) -> Generator[None]:
        """Let the passes that run as one batch in this context compute their shallow parts only."""
        with self._shallow.replaying(joined([self._kept[key][1] for key in keys])):
            yield

    def clear(self) -> None:
        self._kept.clear()
