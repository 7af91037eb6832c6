"""Shards: the units that workers claim, one to three minutes of work each, in which LoRA sets change seldom."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from lora_loom.studio.batch.picture import Picture

SHARD_SECONDS = 120.0
MAX_SHARD = 256  # pictures
AT_LEAST = 16  # shards, where there are enough pictures, so that several workers have something to do


def shard_size(pictures: int, picture_seconds: float, batch_size: int) -> int:
    """How many pictures a shard is to hold: whole batches, within SHARD_SECONDS and MAX_SHARD."""
    by_time = SHARD_SECONDS / picture_seconds
    size = max(int(min(by_time, MAX_SHARD, pictures / AT_LEAST)), 1)
    return max(size // batch_size, 1) * batch_size if batch_size else size


def sharded(pictures: Sequence[Picture], size: int) -> list[Picture]:
    """The pictures in the order they are to be drawn, with their shards.

    Those of one LoRA set follow each other, within it those that share a batch. A set larger than `size` is cut, small
    sets share a shard.
    """
    done: list[Picture] = []
    shard, room = 0, size
    for group in _by_lora_set(pictures):
        if room < size and len(group) > room:
            shard, room = shard + 1, size
        for picture in group:
            if room == 0:
                shard, room = shard + 1, size
            done.append(replace(picture, shard=shard))
            room -= 1
    return done


def batches(pictures: Sequence[Picture], batch_size: int) -> list[list[Picture]]:
    """The batches of a shard's pictures: neighbours that can be drawn together, at most `batch_size`.

    They follow from the plan alone, so that a batch that is drawn again after a death is the same batch.
    """
    found: list[list[Picture]] = []
    for picture in pictures:
        if found and len(found[-1]) < batch_size and found[-1][0].draw_key == picture.draw_key:
            found[-1].append(picture)
        else:
            found.append([picture])
    return found


def _by_lora_set(pictures: Iterable[Picture]) -> list[list[Picture]]:
    groups: dict[tuple[tuple[str, str], ...], dict[str, list[Picture]]] = {}
    for picture in pictures:
        loras = tuple(sorted(picture.adapter_sha256.items()))
        groups.setdefault(loras, {}).setdefault(picture.draw_key, []).append(picture)
    return [[picture for alike in group.values() for picture in alike] for group in groups.values()]
