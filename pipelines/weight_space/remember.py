"""Fused adapters, kept while nothing they were made from changes, so that a second picture costs nothing."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from lora_loom.pipelines.adapters.factors import Adapter

MAX_SETS = 4  # fused sets that are kept; each is as large as its sources together

_lock = threading.Lock()
_sets: OrderedDict[tuple[object, ...], Mapping[str, Adapter]] = OrderedDict()


def remembered(
    recipe: Mapping[str, Any], sources: Mapping[str, Adapter], make: Callable[[], Mapping[str, Adapter]]
) -> Mapping[str, Adapter]:
    """The adapters that `make` made for this recipe (method, settings, hashes, strengths) and these sources, or makes.

    The same objects come back, so a bank that has them placed has nothing to do. Safe from several threads.
    """
    matched = [
        (name, adapter.sha256, *((component, *layers) for component, layers in adapter.components.items()))
        for name, adapter in sources.items()
    ]  # with the layers, as one file fits more of one base than of another
    key = (json.dumps(recipe, sort_keys=True), *matched)
    with _lock:
        if key not in _sets:
            _sets[key] = make()
            while len(_sets) > MAX_SETS:
                _sets.popitem(last=False)
        _sets.move_to_end(key)
        return _sets[key]
