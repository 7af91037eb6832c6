"""Whose fault the death of a worker was: that of the pictures it drew, or of something outside that kills workers.

A kill leaves no reason behind, but it leaves whom it hit. A death over pictures that were drawn afterwards came from
outside; then others may have, too, and it takes more of them to hold a picture responsible. So that such proof is
found, pictures over which a worker died are drawn last in their shard, and each further try at one alone comes after
a witness: a picture that is done, drawn once more and thrown away.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from lora_loom.studio.batch.folder import Batch
from lora_loom.studio.batch.layouts.layout import Layout
from lora_loom.studio.batch.lease import Lease, LeaseState, every_state, is_free, last_heard

DEATHS_TOGETHER = 3  # of workers over one batch; then its pictures are drawn one by one
DEATHS_ALONE = 4  # of workers over one picture alone; then it is given up
PROOF = 2  # deaths over a picture that one proven kill from outside outweighs

Uids = tuple[str, ...]


def are_to_blame(batch: Batch, layout: Layout, lease: Lease, uids: Uids) -> bool:
    """Whether workers died over exactly these pictures so often that it is their fault."""
    deaths, enough = lease.deaths[uids], DEATHS_ALONE if len(uids) == 1 else DEATHS_TOGETHER
    return deaths >= enough and deaths - PROOF * kills_from_outside(batch, layout, lease, uids) >= enough


def kills_from_outside(batch: Batch, layout: Layout, lease: Lease, uids: Uids) -> int:
    """How many workers died over other pictures that were drawn afterwards, since the first died over these."""
    own = [last_heard(batch, state) for state in lease.former if state.drawing == uids]
    since = min(own, default=0.0)
    found: Counter[Uids] = Counter(
        state.drawing
        for state in _deaths(batch)
        if not set(state.drawing) & set(uids) and last_heard(batch, state) >= since
    )
    return sum(count for drawing, count in found.items() if all(is_drawn(batch, layout, uid) for uid in drawing))


def is_drawn(batch: Batch, layout: Layout, uid: str) -> bool:
    """Whether the picture is there; in a sealed shard all are that did not fail."""
    if uid not in batch.by_uid or batch.failure(uid).exists():
        return False
    return layout.picture_path(uid).exists() or batch.is_sealed(batch.by_uid[uid].shard)


def _deaths(batch: Batch) -> Iterator[LeaseState]:
    """The leases whose workers died while they drew."""
    return (state for state in every_state(batch) if state.drawing and not state.ended and is_free(batch, state))
