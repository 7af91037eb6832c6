"""Pictures with a known truth for measuring judges and encoder: fresh and harmed ones, by the name of the shift."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderTiny

from lora_loom.studio.builders.labelled import Labels, Pictures, Pool, labelled, scene_of
from lora_loom.studio.builders.round_trips import round_trip
from lora_loom.studio.builders.sampling import best_device
from lora_loom.studio.builders.wear import blurred
from lora_loom.studio.pocket import base_path
from lora_loom.studio.pocket.world.scene import Scene

FRESH, WIDER = Pool("measured", 4001), Pool("measured_wider", 4002, jitter=(1.5, 1.5))
# strangers by factor: every picture shows something in it that has no name
STRANGE: Mapping[str, Pool] = {
    "subject": Pool("strange_subject", 4010, strange=(1, 0, 0, 0)),
    "colour": Pool("strange_colour", 4011, strange=(0, 1, 0, 0)),
    "background": Pool("strange_background", 4012, strange=(0, 0, 1, 0)),
    "style": Pool("strange_style", 4013, strange=(0, 0, 0, 1)),
}


@dataclass(frozen=True)
class Known:
    """Pictures uint8 [n h w 3] under one shift, class numbers [n factors], and the scenes they were drawn from."""

    shift: str
    pictures: Pictures
    labels: Labels
    scenes: list[Scene]


def known_pictures(work: Path, count: int) -> Iterator[Known]:
    """`count` fresh renders, as many at 1.5 times the spread of pose and blurred; a half of them as round trips."""
    fresh, labels = labelled(work, FRESH, count)
    wider, wider_labels = labelled(work, WIDER, count)
    scenes = [scene_of(FRESH, i)[0] for i in range(count)]
    yield Known("fresh", fresh, labels, scenes)
    yield Known("1.5x jitter", wider, wider_labels, [scene_of(WIDER, i)[0] for i in range(count)])
    yield Known("blur", blurred_pictures(fresh), labels, scenes)
    vae: Any = AutoencoderTiny.from_pretrained(base_path() / "vae", torch_dtype=torch.bfloat16)
    vae = vae.to(best_device(), memory_format=torch.channels_last).eval()
    half = count // 2
    yield Known("round trip", round_trip(vae, fresh[:half]), labels[:half], scenes[:half])


def blurred_pictures(pictures: Pictures) -> Pictures:
    """All of them under the training's blur, with its strength at random and a fixed seed."""
    torch.manual_seed(0)
    x = torch.from_numpy(np.array(pictures)).permute(0, 3, 1, 2).float() / 255
    return (blurred(x, 1.0) * 255).round().byte().permute(0, 2, 3, 1).numpy()
