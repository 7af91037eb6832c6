"""A run as jobs: one contestant draws one set, is judged, and leaves one file; what has a file is done."""

import base64
import hashlib
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lora_loom.pipelines.atomic_file import atomic_file
from lora_loom.studio.pocket.judge import Judge
from lora_loom.studio.testbed.ceilings import CEILINGS, through_autoencoder, true_renders
from lora_loom.studio.testbed.cheats import CHEATS
from lora_loom.studio.testbed.contestants import Bench, contestant, takes_part
from lora_loom.studio.testbed.drawing import Drawn, Sampling
from lora_loom.studio.testbed.judging import verdicts_of
from lora_loom.studio.testbed.references import REFERENCES
from lora_loom.studio.testbed.sets import LoraSet, single_sets

ALONE = ("merge", "base")  # who draws the sets of one LoRA: it with its LoRA, and the base without


@dataclass(frozen=True)
class Job:
    """`contestant` draws `asked` from its first `seeds` seeds; `shown` of the pictures are kept for contact sheets."""

    contestant: str
    asked: LoraSet
    seeds: int
    shown: int = 0

    @property
    def file_name(self) -> str:
        return file_name_of(self.contestant, self.asked.name)

    @property
    def error_name(self) -> str:
        return self.file_name.replace(".json", ".error")

    @property
    def needs_peft(self) -> bool:
        return self.contestant in REFERENCES


def file_name_of(contestant: str, asked: str) -> str:
    """The file of the job in which a contestant draws the set of that name."""
    return re.sub(r"[^\w.+@=;:-]", "_", f"{contestant}~{asked}") + ".json"


def jobs_of(
    contestants: Sequence[str],
    sets: Sequence[LoraSet],
    *,
    seeds: int,
    control_sets: int,
    single_scenes: int,
    shown_sets: int,
) -> list[Job]:
    """All jobs: single LoRAs first, then set by set through all sizes, so that a run cut short is still balanced.

    The controls see the first `control_sets` sets of each size, the contestants all.
    """
    jobs = [Job(name, asked, seeds) for asked in single_sets(single_scenes) for name in ALONE]
    controls = [*CEILINGS, *CHEATS, "base", *(f"alone.{i}" for i in range(max((s.k for s in sets), default=0)))]
    rank: dict[int, int] = {}
    ranked: list[tuple[int, LoraSet]] = []
    for asked in sets:
        ranked.append((rank.get(asked.k, 0), asked))
        rank[asked.k] = rank.get(asked.k, 0) + 1
    for index, asked in sorted(ranked, key=lambda each: each[0]):
        names = [*contestants, *(controls if index < control_sets else ())]
        shown = 1 if index < shown_sets else 0
        jobs += [Job(name, asked, seeds, shown) for name in dict.fromkeys(names) if takes_part(name, asked)]
    return jobs


def check(contestants: Iterable[str]) -> None:
    """Raise UnknownMethodError or SettingError for a contestant that does not exist."""
    for name in contestants:
        contestant(name)


def do(job: Job, bench: Bench, panel: Mapping[str, Judge], sampling: Sampling, folder: Path) -> None:
    """Draw, judge, and write the job's file, whole or not at all.

    A failure leaves an error file with its reason instead, and is tried again when the run goes on.
    """
    seeds = job.asked.seeds(job.seeds)
    held: dict[str, Any] = {"contestant": job.contestant, "set": job.asked.name, "k": job.asked.k}
    try:
        drawn = _draw(job, bench, seeds, sampling)
    except Exception as error:  # one method that fails on one set must not end the run
        held["error"] = f"{type(error).__name__}: {error}"
    else:
        held |= {
            "seconds": round(drawn.seconds, 4),
            "passes": dict(drawn.passes),
            "peak_memory_bytes": drawn.peak_memory_bytes,
            "sampling": [sampling.num_inference_steps, sampling.guidance_scale],
            "seeds": seeds,
            "sha256": [hashlib.sha256(picture.tobytes()).hexdigest() for picture in drawn.pictures],
            "verdicts": verdicts_of(panel, drawn.pictures),
            "shown": [_jpeg(picture) for picture in drawn.pictures[: job.shown]],
        }
    (folder / job.error_name).unlink(missing_ok=True)
    with atomic_file(folder / (job.error_name if "error" in held else job.file_name)) as file:
        file.write(json.dumps(held).encode())


def _draw(job: Job, bench: Bench, seeds: Sequence[int], sampling: Sampling) -> Drawn:
    size = bench.pipe.unet.config.sample_size * bench.pipe.vae_scale_factor
    if job.contestant in CHEATS:
        pictures = np.stack([CHEATS[job.contestant](job.asked, seed, size) for seed in seeds])
        return Drawn(pictures, {}, 0.0, 0)
    if job.contestant not in CEILINGS:
        with bench.arithmetic():
            return contestant(job.contestant).draw(bench, job.asked, seeds, sampling)
    pictures = true_renders(job.asked, seeds, size)
    if job.contestant == "round_trip":
        pictures = through_autoencoder(pictures, bench.pipe.vae)
    return Drawn(pictures, {}, 0.0, 0)


def _jpeg(picture: NDArray[np.uint8]) -> str:
    held = io.BytesIO()
    Image.fromarray(picture).save(held, "JPEG", quality=88)
    return base64.b64encode(held.getvalue()).decode()
