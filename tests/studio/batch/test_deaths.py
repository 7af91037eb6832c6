"""A picture is given up for kills that only it sees; kills from outside, over whatever is drawn, cost nothing."""

import os
import zlib

import pytest

from lora_loom.studio.batch.deaths import DEATHS_ALONE, DEATHS_TOGETHER, are_to_blame, kills_from_outside
from lora_loom.studio.batch.layouts import layout_of
from lora_loom.studio.batch.layouts.layout import sealed_rows
from lora_loom.studio.batch.lease import Lease, claim
from lora_loom.studio.liveness import ProcessIdentity, this_process

ONE_SHARD = 'prompts = ["one"]\nseeds = [1, 2]\nmethods = ["merge"]\nbatch_size = 8\n'
SINGLY = 'prompts = ["one", "two", "three", "four"]\nseeds = [1]\nbatch_size = 1\n'


@pytest.fixture
def die_over():
    """Leaves a lease as a worker does that is killed over some pictures of shard 0."""
    clock = iter(range(1, 1000))

    def die(batch, *uids, shard=0):
        lease = claim(batch, shard)
        Lease(batch, lease.state).note(drawing=uids, process=ProcessIdentity("", 0, ""))
        os.utime(batch.leases / f"{shard:05d}.{lease.state.epoch:06d}", (next(clock),) * 2)

    return die


def uids_of(batch, shard=0):
    return [picture.uid for picture in batch.shards[shard]]


def failed(batch):
    return [row for row in sealed_rows(batch) if "error" in row]


def blamed(batch, uid, shard=0):
    lease = claim(batch, shard)
    try:
        return are_to_blame(batch, layout_of(batch), lease, (uid,))
    finally:
        lease.release()


def test_a_picture_that_kills_workers_is_given_up_at_last(plan, work, die_over):
    batch = plan(ONE_SHARD)
    uids = uids_of(batch)
    for _ in range(DEATHS_TOGETHER):
        die_over(batch, *uids)
    for _ in range(DEATHS_ALONE):
        die_over(batch, uids[0])
    work(batch)
    (row,) = failed(batch)
    assert (row["uid"], row["error"]["type"], row["attempts"]) == (uids[0], "WorkerDied", DEATHS_ALONE)
    assert len(list(sealed_rows(batch))) == len(batch.pictures)


def test_kills_over_pictures_that_were_drawn_later_came_from_outside(plan, work, die_over):
    batch = plan(SINGLY)
    shards = {picture.uid: picture.shard for picture in batch.pictures}
    begin = zlib.crc32(str(this_process()).encode())  # where a worker of this process begins, the suspect is last
    *others, suspect = sorted(shards, key=lambda uid: (shards[uid] - begin) % len(batch.shards))
    for each in (suspect, others[0], suspect, others[1], suspect, others[2], suspect):
        die_over(batch, each, shard=shards[each])
    assert blamed(batch, suspect, shards[suspect])  # nobody knows yet of the others whose fault it was
    work(batch, stop=lambda: any(layout_of(batch).is_done(each) for each in others))
    drawn = [each for each in others if layout_of(batch).is_done(each)]
    assert drawn
    assert not blamed(batch, suspect, shards[suspect])
    work(batch)
    assert failed(batch) == []


def test_kills_before_the_first_over_a_picture_say_nothing_of_it(plan, work, die_over):
    batch = plan(ONE_SHARD.replace("batch_size = 8", "batch_size = 1"))
    first, second = [picture.uid for picture in batch.pictures][:2]
    shards = {picture.uid: picture.shard for picture in batch.pictures}
    die_over(batch, second, shard=shards[second])
    for _ in range(DEATHS_ALONE):
        die_over(batch, first, shard=shards[first])
    work(batch)
    assert [row["uid"] for row in failed(batch)] == [first]


def test_a_suspect_comes_last_and_after_a_witness(plan, work, flat_studio, die_over):
    text = 'prompts = ["one", "two", "three"]\nlora_sets = [[]]\nseeds = [1]\nbatch_size = 1\npicture_seconds = 0.001\n'
    batch = plan(text + "samples = 1\n[request]\nnum_inference_steps = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]\n")
    shard = next(shard for shard, pictures in batch.shards.items() if len(pictures) > 1)
    suspect = batch.shards[shard][0]
    die_over(batch, suspect.uid, shard=shard)
    drawn = []
    flat_studio.before = lambda requests: drawn.extend(
        (request.prompt, request.num_inference_steps) for request in requests
    )
    work(batch)
    at = drawn.index((suspect.request.prompt, suspect.request.num_inference_steps))
    own = [(each.request.prompt, each.request.num_inference_steps) for each in batch.shards[shard]]
    assert all(drawn.index(each) < at for each in own[1:])
    assert drawn[at - 1] in drawn[: at - 1]  # the witness: drawn before, and once more
    assert len(drawn) == len(batch.pictures) + 1
    assert failed(batch) == []


def test_the_dead_of_a_shard_are_counted_over_all_its_leases(plan, die_over):
    batch = plan(ONE_SHARD)
    uids = uids_of(batch)
    die_over(batch, *uids)
    lease = claim(batch, 0)
    assert lease.deaths == {tuple(uids): 1}
    assert kills_from_outside(batch, layout_of(batch), lease, tuple(uids)) == 0
