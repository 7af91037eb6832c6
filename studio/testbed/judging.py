"""The judges of a run, on its device: the development judge, and the sealed one where it is shipped."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lora_loom.studio.pocket.judge import Judge, judge_files


def judges_on(device: str) -> dict[str, Judge]:
    """By name, ready on the device."""
    panel = {name: Judge.load(path) for name, path in judge_files().items()}
    for each in panel.values():
        each.network.to(device)
    return panel


def verdicts_of(panel: Mapping[str, Judge], pictures: NDArray[np.uint8]) -> dict[str, Any]:
    """What each judge sees in uint8 [n h w 3]: judge -> `factors`, and `values` per picture in that order."""
    held: dict[str, Any] = {}
    for name, judge in panel.items():
        factors = list(judge.spec.classes)
        values = [[verdict[factor] for factor in factors] for verdict in judge.verdicts(pictures)]
        held[name] = {"factors": factors, "values": values}
    return held
