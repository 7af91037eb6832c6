"""The pocket judges: which named factors a picture shows, by small classifiers with an 'other' class per factor.

They are right on pictures of the pocket world and on nothing else. `other` means that the picture shows none of the
known values of a factor; it counts as a failure wherever a value was asked for. The development judge is for tuning;
the sealed one, of another architecture, seed and renderer parameters, is for published tables alone.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from lora_loom.studio.pocket.classifiers import ARCHITECTURES
from lora_loom.studio.pocket.world.scene import FACTORS, HELD

OTHER = "other"
JUDGED = ("subject", "colour", "texture", "accessory", "background", "style", "companion")
CLASSES: Mapping[str, tuple[str, ...]] = {f: (*FACTORS[f], *HELD.get(f, ()), OTHER) for f in JUDGED}
FILES = {"development": "judge.safetensors", "sealed": "sealed_judge.safetensors"}
BATCH = 32
# a file from before files described themselves is older than the companions, whose held values were subjects
UNDESCRIBED = {
    f: (*FACTORS[f], *HELD.get(f, ()), *(HELD["companion"] if f == "subject" else ()), OTHER) for f in JUDGED[:-1]
}


@dataclass(frozen=True)
class JudgeSpec:
    """What a judge's file says of itself: its network, the side of its input in pixels, a temperature per factor."""

    architecture: str = "convolutions"
    settings: Mapping[str, Any] = field(default_factory=dict)
    input_size: int = 64
    temperatures: Mapping[str, float] = field(default_factory=dict)
    classes: Mapping[str, Sequence[str]] = field(default_factory=lambda: dict(CLASSES))

    def network(self) -> nn.Module:
        return ARCHITECTURES[self.architecture]({f: len(v) for f, v in self.classes.items()}, **self.settings)


def resized(x: Tensor, size: int) -> Tensor:
    """[n 3 h w] -> [n 3 size size], antialiased when it shrinks."""
    if x.shape[-2:] == (size, size):
        return x
    return F.interpolate(x, (size, size), mode="bilinear", antialias=True)


class Judge:
    """Hard verdicts of a trained classifier, and its calibrated probabilities."""

    def __init__(self, network: nn.Module, spec: JudgeSpec) -> None:
        self.network, self.spec = network.eval(), spec

    @classmethod
    def load(cls, path: Path | None = None) -> "Judge":
        """The shipped development judge, or the one in `path`, with the classes that its file names."""
        path = path or Path(__file__).parent / FILES["development"]
        with safe_open(path, "pt") as file:
            held = (file.metadata() or {}).get("judge")
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        spec = JudgeSpec(**json.loads(held)) if held else JudgeSpec(classes=UNDESCRIBED)
        network = spec.network()
        network.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in weights.items()})
        return cls(network, spec)

    def save(self, path: Path) -> None:
        """Write weights in half precision and the spec beside them in the same file."""
        state = {k: v.cpu().contiguous() for k, v in self.network.state_dict().items()}
        weights = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
        save_file(weights, path, {"judge": json.dumps(asdict(self.spec))})

    @torch.no_grad()
    def logits(self, pictures: NDArray[np.uint8]) -> dict[str, Tensor]:
        """uint8 [n h w 3] -> float32 [n classes] by factor, before any temperature."""
        device = next(self.network.parameters()).device
        parts = []
        for start in range(0, len(pictures), BATCH):
            x = torch.from_numpy(np.array(pictures[start : start + BATCH])).to(device).permute(0, 3, 1, 2)
            parts.append(self.network(resized(x.float() / 127.5 - 1, self.spec.input_size)))
        return {f: torch.cat([part[f] for part in parts]).float().cpu() for f in self.spec.classes}

    def verdicts(self, pictures: NDArray[np.uint8]) -> list[dict[str, str]]:
        """uint8 [n h w 3] -> the value (or `other`) of every judged factor, per picture.

        A factor that the judge was never taught is `other`.
        """
        if not len(pictures):
            return []
        best = {factor: logits.argmax(1).tolist() for factor, logits in self.logits(pictures).items()}
        known: dict[str, list[str]] = {f: [str(self.spec.classes[f][k]) for k in best[f]] for f in best}
        return [{f: known[f][i] if f in known else OTHER for f in JUDGED} for i in range(len(pictures))]

    def probabilities(self, pictures: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """uint8 [n h w 3] -> [n classes] by factor in the order of `spec.classes`, at the calibrated temperature.

        For ranking and calibration; headlines count hard verdicts.
        """
        return {
            f: torch.softmax(logits / self.spec.temperatures.get(f, 1.0), 1).numpy()
            for f, logits in self.logits(pictures).items()
        }


@lru_cache(maxsize=1)
def shipped_judge() -> Judge:
    """The development judge: for tuning, early stopping, weight search."""
    return Judge.load()


@lru_cache(maxsize=1)
def sealed_judge() -> Judge:
    """The sealed judge: for published tables, never for a decision that changes what is published."""
    return Judge.load(Path(__file__).parent / FILES["sealed"])


def judge_files() -> dict[str, Path]:
    """The files of the judges that are shipped, by name."""
    found = {name: Path(__file__).parent / file for name, file in FILES.items()}
    return {name: path for name, path in found.items() if path.exists()}
