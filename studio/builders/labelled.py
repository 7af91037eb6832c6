"""Pictures with their labels for training judges and the encoder: drawn by many processes, kept on disk.

Picture i depends on (seed, i) alone, so the number of processes changes nothing. A share of the pictures shows
something that no word names, and is labelled `other` in that factor.
"""

import fcntl
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from lora_loom.studio.pocket.judge import CLASSES, JUDGED, OTHER
from lora_loom.studio.pocket.world.creatures import random_creature
from lora_loom.studio.pocket.world.render import render
from lora_loom.studio.pocket.world.scene import COMPANY, FACTORS, HELD, PLACES, Scene, posed
from lora_loom.studio.pocket.world.strangers import strange_background, strange_paint, strange_style

Pictures = NDArray[np.uint8]
Labels = NDArray[np.int64]
VALUES = {f: (*v, *HELD.get(f, ())) for f, v in FACTORS.items()}
CHUNK = 100


@dataclass(frozen=True)
class Pool:
    """What is drawn: `jitter` is the range of pose spreads, `strange` the chance of each kind of stranger.

    `strange` = (subject, colour, background, style); `company` the chance that a companion may stand there.
    """

    name: str
    seed: int
    size: int = 128
    jitter: tuple[float, float] = (1.0, 1.0)
    strange: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    company: float = COMPANY


def any_scene(rng: np.random.Generator, jitter: float, company: float = COMPANY) -> Scene:
    """A scene over all values, those kept for LoRAs too, in any combination."""
    draw: dict[str, Any] = {f: str(v[int(rng.integers(len(v)))]) for f, v in VALUES.items()}
    draw["place"] = str(rng.choice(PLACES, p=(0.7, 0.15, 0.15)))
    draw["companion"] = draw["companion"] if rng.random() < company else "none"
    return posed(Scene(**draw), rng, jitter)


def scene_of(pool: Pool, index: int) -> tuple[Scene, tuple[bool, ...], np.random.Generator]:
    """Scene `index`, which of its (subject, colour, background, style) are strangers, and the generator after it."""
    rng = np.random.default_rng((pool.seed, index))
    scene = any_scene(rng, float(rng.uniform(*pool.jitter)), pool.company)
    return scene, tuple(bool(c) for c in rng.random(4) < np.asarray(pool.strange)), rng


def one_picture(pool: Pool, index: int) -> tuple[Pictures, Labels]:
    scene, (subject, colour, background, style), rng = scene_of(pool, index)
    drawn = render(
        scene,
        pool.size,
        random_creature(rng) if subject else None,
        background=strange_background(rng) if background else None,
        style=strange_style(rng) if style else None,
        paint=strange_paint(rng) if colour else None,
    )
    unknown = {"subject": subject, "colour": colour, "background": background, "style": style}
    labels = [CLASSES[f].index(OTHER if unknown.get(f) else getattr(scene, f)) for f in JUDGED]
    return np.round(drawn.image * 255).astype(np.uint8), np.array(labels, np.int64)


def _draw_chunk(pool: Pool, window: tuple[int, int]) -> tuple[Pictures, Labels]:
    drawn = [one_picture(pool, i) for i in range(*window)]
    return np.stack([p for p, _ in drawn]), np.stack([y for _, y in drawn])


@contextmanager
def processes(workers: int) -> Iterator[Callable[..., Iterable[Any]]]:
    """A `map` in order over `workers` processes; the plain one for a single worker."""
    if workers < 2:
        yield lambda function, items, chunksize=1: map(function, items)
        return
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__])  # torch is imported once, not by every worker
    with ProcessPoolExecutor(workers, mp_context=context) as executor:
        yield executor.map


def labelled(folder: Path, pool: Pool, count: int, workers: int = 1) -> tuple[Pictures, Labels]:
    """uint8 [n h w 3] and class numbers int64 [n factors], the first `count` of the pool, kept in `folder`."""
    where = [folder / f"{pool.name}_{count}_{part}.npy" for part in ("pictures", "labels")]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{pool.name}.lock").open("w") as lock:  # several trainings begin with the same pool
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not all(path.exists() for path in where):
            _draw_pool(where, pool, count, workers)
    return np.load(where[0], mmap_mode="r"), np.load(where[1])


def _draw_pool(where: Sequence[Path], pool: Pool, count: int, workers: int) -> None:
    pictures = np.empty((count, pool.size, pool.size, 3), np.uint8)
    labels = np.empty((count, len(JUDGED)), np.int64)
    starts = range(0, count, CHUNK)
    with processes(workers) as spread:
        chunks = spread(partial(_draw_chunk, pool), [(s, min(s + CHUNK, count)) for s in starts])
        for start, (some, truth) in tqdm(zip(starts, chunks, strict=True), desc=pool.name, total=len(starts)):
            pictures[start : start + CHUNK], labels[start : start + CHUNK] = some, truth
    np.save(where[0], pictures)
    np.save(where[1], labels)  # last: its presence says that both are whole
