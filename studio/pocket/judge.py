"""The pocket judge: which named factors a picture shows, by a small convolutional classifier with an 'other' class.

It is right on pictures of the pocket world and on nothing else. `other` means that the picture shows none of the known
values of a factor; it counts as a failure wherever a value was asked for.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn

from studio.pocket.world.scene import FACTORS, HELD

OTHER = "other"
# the shipped weights are older than the companions: with the next ones "companion" is judged and BEFORE goes
JUDGED = ("subject", "colour", "texture", "accessory", "background", "style")
BEFORE: Mapping[str, tuple[str, ...]] = {"subject": HELD["companion"]}
CLASSES: Mapping[str, tuple[str, ...]] = {f: (*FACTORS[f], *HELD.get(f, ()), *BEFORE.get(f, ()), OTHER) for f in JUDGED}
INPUT_SIZE = 64


class Classifier(nn.Module):
    """Four levels of residual convolutions, mean and maximum over the picture, one linear head a factor."""

    def __init__(self, widths: Sequence[int] = (16, 32, 64, 128)) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, widths[0], 3, padding=1)
        self.levels = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(a, b, 3, stride=2, padding=1),
                nn.BatchNorm2d(b),
                nn.ReLU(),
                nn.Conv2d(b, b, 3, padding=1),
                nn.BatchNorm2d(b),
                nn.ReLU(),
            )
            for a, b in zip(widths, (*widths[1:], widths[-1]), strict=True)
        )
        self.heads = nn.ModuleDict({f: nn.Linear(2 * widths[-1], len(values)) for f, values in CLASSES.items()})

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """x [n 3 64 64] in [-1, 1] -> logits [n classes] by factor."""
        h = F.relu(self.stem(x))
        for level in self.levels:
            h = level(h)
        pooled = torch.cat((h.mean((2, 3)), h.amax((2, 3))), 1)
        return {factor: head(pooled) for factor, head in self.heads.items()}


class Judge:
    """Hard verdicts of a trained classifier."""

    def __init__(self, classifier: Classifier) -> None:
        self.classifier = classifier.eval()

    @classmethod
    def load(cls, path: Path | None = None) -> "Judge":
        """The shipped judge, or the one whose weights are in `path`."""
        path = path or Path(__file__).parent / "judge.safetensors"
        classifier = Classifier()
        classifier.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in load_file(path).items()})
        return cls(classifier)

    @torch.no_grad()
    def verdicts(self, pictures: NDArray[np.uint8]) -> list[dict[str, str]]:
        """uint8 [n h w 3] -> the value (or `other`) of every judged factor, per picture."""
        x = torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1
        if x.shape[-2:] != (INPUT_SIZE, INPUT_SIZE):
            x = F.interpolate(x, (INPUT_SIZE, INPUT_SIZE), mode="bilinear", antialias=True)
        found: list[dict[str, str]] = []
        for part in x.split(64):
            best = {factor: logits.argmax(1).tolist() for factor, logits in self.classifier(part).items()}
            found += [{f: CLASSES[f][best[f][i]] for f in JUDGED} for i in range(len(part))]
        return found


@lru_cache(maxsize=1)
def shipped_judge() -> Judge:
    return Judge.load()
