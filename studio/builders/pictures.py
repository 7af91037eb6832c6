"""Rendered pictures and their captions on disk: drawn once by several processes, in order, and memory-mapped after.

`python -m lora_loom.studio.builders.pictures --work DIR --workers N` draws those of base training ahead of time.
"""

import argparse
import functools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from lora_loom.studio.pocket.world.captions import training_caption
from lora_loom.studio.pocket.world.render import render
from lora_loom.studio.pocket.world.scene import Scene, sample_scene

SIZE = 128  # pixels of the shipped base
BASE_SEED = 1
CHUNK = 250
T = TypeVar("T")


def base_scene(seed: int, index: int, jitter: float = 1.0) -> Scene:
    """Scene `index` of base training; it depends on its arguments alone."""
    return sample_scene(np.random.default_rng((seed, index)), jitter=jitter)


def base_scenes(count: int, seed: int, jitter: float = 1.0) -> list[Scene]:
    return [base_scene(seed, i, jitter) for i in range(count)]


def draw(scenes: Sequence[Scene], size: int) -> NDArray[np.uint8]:
    """The scenes as uint8 [n h w 3]."""
    pictures = np.empty((len(scenes), size, size, 3), np.uint8)
    for i, scene in enumerate(scenes):
        pictures[i] = np.round(render(scene, size).image * 255)
    return pictures


def drawn_once(
    path: Path, count: int, size: int, seed: int, jitter: float = 1.0, workers: int = 1
) -> NDArray[np.uint8]:
    """`draw(base_scenes(...))`, kept in `path`; an interrupted drawing goes on where it stopped."""
    path.parent.mkdir(parents=True, exist_ok=True)
    done_path = path.with_suffix(".done")
    shape = (count, size, size, 3)
    if not path.exists():
        np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape).flush()
    pictures = np.lib.format.open_memmap(path, mode="r+")
    if pictures.shape != shape:
        raise ValueError(
            f"{path} holds pictures of shape {pictures.shape}, expected {shape}: delete it or ask for that"
        )
    done = int(done_path.read_text()) if done_path.exists() else 0
    spans = [range(start, min(start + CHUNK, count)) for start in range(done, count, CHUNK)]
    some = functools.partial(_pictures, seed=seed, jitter=jitter, size=size)
    for span, part in zip(tqdm(spans, desc=path.stem, disable=not spans), in_order(some, spans, workers), strict=True):
        pictures[span.start : span.stop] = part
        done_path.write_text(str(span.stop))
    return pictures


def captions(count: int, seed: int, variants: int, workers: int = 1) -> list[list[str]]:
    """`variants` training captions for each of the first `count` scenes of base training."""
    spans = [range(start, min(start + 4 * CHUNK, count)) for start in range(0, count, 4 * CHUNK)]
    some = functools.partial(_captions, seed=seed, variants=variants)
    return [each for part in in_order(some, spans, workers) for each in part]


def in_order(work: Callable[[range], T], spans: Sequence[range], workers: int) -> Iterator[T]:
    """`work` on every span, by that many processes, the answers in the order of the spans."""
    if workers <= 1 or len(spans) <= 1:
        yield from map(work, spans)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:  # torch's threads do not survive a fork
        yield from pool.map(work, spans)


def _pictures(span: range, *, seed: int, jitter: float, size: int) -> NDArray[np.uint8]:
    return draw([base_scene(seed, i, jitter) for i in span], size)


def _captions(span: range, *, seed: int, variants: int) -> list[list[str]]:
    rngs = [np.random.default_rng((seed, 31, i)) for i in span]
    scenes = [base_scene(seed, i) for i in span]
    return [[training_caption(scene, rng) for _ in range(variants)] for scene, rng in zip(scenes, rngs, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--pictures", type=int, default=72000)
    parser.add_argument("--size", type=int, default=SIZE)
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    drawn_once(
        arguments.work / "base_pictures.npy", arguments.pictures, arguments.size, BASE_SEED, 1.0, arguments.workers
    )


if __name__ == "__main__":
    main()
