"""The judges of a run, on its device: the development judge, and the sealed one where it is shipped."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from studio.pocket import judge as judges
from studio.pocket.judge import JUDGED, Judge

Verdicts = dict[str, list[list[str]]]  # judge -> per picture the values of JUDGED, in that order


def judges_on(device: str) -> dict[str, Judge]:
    """By name, ready on the device."""
    files: Mapping[str, str] = getattr(judges, "FILES", {"development": "judge.safetensors"})
    found = {name: Path(judges.__file__).parent / file for name, file in files.items()}
    loaded = {name: Judge.load(path) for name, path in found.items() if path.exists()}
    for each in loaded.values():
        getattr(each, "network", None) or each.classifier
    return loaded


def verdicts_of(panel: Mapping[str, Judge], pictures: NDArray[np.uint8]) -> Verdicts:
    """What each judge sees in uint8 [n h w 3]."""
    return {
        name: [[verdict[factor] for factor in JUDGED] for verdict in judge.verdicts(pictures)]
        for name, judge in panel.items()
    }
