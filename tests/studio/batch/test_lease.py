"""One worker holds a shard; death, silence and release pass it on, and who comes later fences off who came before."""

import os
import subprocess
import sys
import time

import pytest

from lora_loom.studio.batch import lease as lease_module
from lora_loom.studio.batch.lease import LEASE_SECONDS, Lease, claim, current, is_free, states
from lora_loom.studio.liveness import ProcessIdentity, is_gone, this_process


@pytest.fixture
def batch(plan):
    return plan()


def held_by(batch, shard, process, **changes):
    """A lease as another process would have left it."""
    lease = claim(batch, shard)
    Lease(batch, lease.state).note(process=process, **changes)
    return lease


@pytest.fixture
def dead():
    """A process that has ended."""
    code = "from lora_loom.studio.liveness import this_process as t"
    code += "; p = t(); print(p.host, p.pid, p.started, sep='|')"
    host, pid, started = subprocess.check_output([sys.executable, "-c", code], text=True).strip().split("|")
    return ProcessIdentity(host, int(pid), started)


def test_one_holds_it_until_it_is_released(batch):
    lease = claim(batch, 0)
    assert lease.state.epoch == 1
    assert claim(batch, 0) is None
    assert claim(batch, 1) is not None
    assert not lease.fenced
    lease.release()
    second = claim(batch, 0)
    assert second.state.epoch == 2
    assert lease.fenced
    assert not second.fenced


def test_the_dead_are_found_at_once_and_what_they_drew_is_known(batch, dead):
    assert is_gone(dead) is True
    assert is_gone(this_process()) is False
    held_by(batch, 0, dead, drawing=("a", "b"))
    lease = claim(batch, 0)
    assert lease.deaths == {("a", "b"): 1}
    lease.release()
    assert claim(batch, 0).deaths == {("a", "b"): 1}


def test_a_process_of_the_same_number_is_another(batch):
    me = this_process()
    assert is_gone(ProcessIdentity(me.host, me.pid, "1")) is True
    assert is_gone(ProcessIdentity("another machine", me.pid, me.started)) is None


def test_a_zombie_is_gone():
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    deadline = time.monotonic() + 20
    identity = ProcessIdentity(this_process().host, child.pid, "1")
    while time.monotonic() < deadline and os.path.exists(f"/proc/{child.pid}"):
        with open(f"/proc/{child.pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
        if fields[0] == "Z":
            identity = ProcessIdentity(this_process().host, child.pid, fields[19])
            break
        time.sleep(0.01)
    assert is_gone(identity) is True
    child.wait()


def test_on_another_machine_silence_counts(batch):
    far = ProcessIdentity("another machine", 1, "1")
    held_by(batch, 0, far, drawing=("a",))
    path = batch.leases / "00000.000001"
    assert claim(batch, 0) is None
    os.utime(path, (0, time.time() - LEASE_SECONDS + 5))
    assert claim(batch, 0) is None
    os.utime(path, (0, time.time() - LEASE_SECONDS - 5))
    assert claim(batch, 0).state.epoch == 2


def test_a_heartbeat_keeps_it(batch, monkeypatch):
    monkeypatch.setattr(lease_module, "HEARTBEAT_SECONDS", 0.01)
    lease = claim(batch, 0)
    path = batch.leases / "00000.000001"
    os.utime(path, (0, 0))
    heart = lease_module.Heartbeat()
    heart.lease = lease
    heart.start()
    deadline = time.monotonic() + 10
    while path.stat().st_mtime == 0 and time.monotonic() < deadline:
        time.sleep(0.01)
    heart.stop()
    heart.join()
    assert time.time() - path.stat().st_mtime < 60


def test_only_one_of_many_gets_a_free_shard(batch):
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(16) as pool:
        leases = list(pool.map(lambda _: claim(batch, 0), range(64)))
    assert sum(lease is not None for lease in leases) == 1


def test_a_lease_file_without_content_is_free(batch):
    claim(batch, 0)
    (batch.leases / "00000.000001").write_bytes(b"")
    assert is_free(batch, states(batch, 0)[0])
    assert claim(batch, 0).state.epoch == 2


def test_a_sealed_shard_cannot_be_claimed_and_fences_its_holder(batch):
    lease = claim(batch, 0)
    batch.sealed.mkdir(parents=True)
    batch.sealed_shard(0).touch()
    assert lease.fenced
    assert claim(batch, 0) is None
    assert list(current(batch)) == []
