"""Rendered pictures as arrays on disk: drawn once, in order of their index, and memory-mapped afterwards."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from studio.pocket.world.render import render
from studio.pocket.world.scene import Scene, sample_scene


def base_scenes(count: int, seed: int, jitter: float = 1.0) -> list[Scene]:
    """`count` scenes of base training: scene i depends on (seed, i) alone."""
    return [sample_scene(np.random.default_rng((seed, i)), jitter=jitter) for i in range(count)]


def draw(scenes: Sequence[Scene], size: int) -> NDArray[np.uint8]:
    """The scenes as uint8 [n h w 3]."""
    pictures = np.empty((len(scenes), size, size, 3), np.uint8)
    for i, scene in enumerate(scenes):
        pictures[i] = np.round(render(scene, size).image * 255)
    return pictures


def drawn_once(path: Path, count: int, size: int, seed: int, jitter: float = 1.0) -> NDArray[np.uint8]:
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
    for start in tqdm(range(done, count, 500), desc="drawing", disable=done >= count):
        stop = min(start + 500, count)
        scenes = [sample_scene(np.random.default_rng((seed, i)), jitter=jitter) for i in range(start, stop)]
        pictures[start:stop] = draw(scenes, size)
        done_path.write_text(str(stop))
    return pictures
