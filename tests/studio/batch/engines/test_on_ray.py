"""On a Ray cluster of two nodes, and with actors killed while they draw, a batch is the same as on one machine."""

import os
import random
import signal
import threading
from contextlib import suppress

import pytest

from lora_loom.pipelines.errors import ChangedAdapterError
from lora_loom.studio.batch import faults
from lora_loom.studio.batch.audit import audit
from lora_loom.studio.batch.engines.on_ray import run_on_ray
from lora_loom.studio.batch.layouts.layout import sealed_rows
from lora_loom.studio.batch.lease import current, states
from lora_loom.studio.batch.running import run_batch
from lora_loom.studio.batch.worker import Worker, WorkerOptions, open_studio
from lora_loom.studio.liveness import is_gone

pytest.importorskip("ray", reason="Ray is not installed: pip install 'lora-loom[cluster]'")
pytestmark = [pytest.mark.timeout(1800), pytest.mark.filterwarnings("ignore")]  # Ray's own
SUITE = """
samples = 4
prompts = ["a red circle", "a blue star"]
lora_sets = [["fox:1", "ink:0.8"], ["fox:1"], []]
methods = ["merge", "composite"]
batch_size = 2
[request]
num_inference_steps = 3
"""


@pytest.fixture(scope="module")
def two_nodes():
    """One cluster for most tests, since it takes seconds to start: two nodes with room for one worker each."""
    with pytest.MonkeyPatch.context() as patch:
        yield from started_clusters(patch, 1, 1)


@pytest.fixture
def cluster(monkeypatch):
    """Starts a cluster of nodes with so many CPUs each, on this machine, whose actors get the environment of now."""
    yield from started_clusters(monkeypatch)


def started_clusters(monkeypatch, *cpus_of_first):
    import ray
    from ray.cluster_utils import Cluster

    made = []
    monkeypatch.setenv("RAY_worker_niceness", "0")  # its default, 15, starves actors on a busy machine

    def start(*cpus):
        node = {"include_dashboard": False}
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": cpus[0], **node})
        made.append(cluster)
        for each in cpus[1:]:
            cluster.add_node(num_cpus=each)
        cluster.wait_for_nodes()
        monkeypatch.setenv("RAY_ADDRESS", cluster.address)
        return cluster

    if cpus_of_first:
        start(*cpus_of_first)
    yield start
    ray.shutdown()
    for cluster in made:
        cluster.shutdown()


def hashes(batch):
    return {row["uid"]: row["pixels_sha256"] for row in sealed_rows(batch)}


def draw_here(batch):
    """What a worker in this process draws."""
    options = WorkerOptions()
    with Worker(batch, open_studio(batch, options), options, lambda: False) as worker:
        worker.run()
    return hashes(batch)


def run(batch, workers=0, stop=lambda: False):
    run_on_ray(batch, workers, WorkerOptions(), lambda progress: None, stop)


@pytest.mark.long
@pytest.mark.usefixtures("two_nodes")
def test_two_nodes_draw_what_one_machine_draws(plan, tiny_pocket):
    suite = SUITE.replace("samples = 4", "samples = 2")
    expected = draw_here(plan(suite, "local", base=tiny_pocket))
    batch = plan(suite, "ray", base=tiny_pocket)
    run(batch)
    assert audit(batch).passed
    assert hashes(batch) == expected
    assert len({row["worker"] for row in sealed_rows(batch)}) == 2
    run(batch)  # nothing is left to do


@pytest.mark.long
@pytest.mark.usefixtures("two_nodes")
def test_killed_actors_lose_nothing_and_draw_nothing_twice(plan, tiny_pocket):
    kill_actors(plan, tiny_pocket, kills=1, samples=1, workers=2)


@pytest.mark.slow
def test_actors_that_also_die_between_writing_and_naming_a_file(plan, tiny_pocket, cluster, monkeypatch):
    monkeypatch.setenv(faults.VARIABLE, "link:5")  # every actor that lives to see so many files
    cluster(4)
    kill_actors(plan, tiny_pocket, kills=20, samples=6, workers=4)


def kill_actors(plan, tiny_pocket, *, kills, samples, workers):
    """Draw a batch on the cluster while actors are killed; it is whole, and the same as without."""
    suite = SUITE.replace("samples = 4", f"samples = {samples}")
    expected = draw_here(plan(suite, "local", base=tiny_pocket))
    batch, rng = plan(suite, "ray", base=tiny_pocket), random.Random(0)

    def kill():
        killed = 0
        while killed < kills and not stop.wait(rng.uniform(0.1, 0.5)):
            drawing = [lease for lease in current(batch) if lease.drawing and is_gone(lease.process) is False]
            fresh = [
                lease
                for lease in drawing
                if all(former.drawing != lease.drawing for former in states(batch, lease.shard)[:-1])
            ]
            if fresh:
                with suppress(ProcessLookupError):
                    os.kill(rng.choice(fresh).process.pid, signal.SIGKILL)
                    killed += 1

    stop = threading.Event()
    killer = threading.Thread(target=kill)
    killer.start()
    try:
        run(batch, workers)
    finally:
        stop.set()
        killer.join()
    died = [state for shard in batch.shards for state in states(batch, shard) if not state.ended]
    assert len(died) >= kills
    assert audit(batch).passed
    assert hashes(batch) == expected


@pytest.mark.slow
def test_a_drain_and_an_error_reach_the_driver(plan, tiny_pocket, cluster, loras, write_lora):
    cluster(1)
    batch = plan(SUITE, "ray", base=tiny_pocket)
    sent = []

    def show(progress):
        if progress.working and not sent:
            sent.append(signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)

    stopped = run_batch(batch, WorkerOptions(), show, engine="ray")
    assert stopped.signal == signal.SIGTERM
    assert sum(1 for _ in sealed_rows(batch)) + len(list((batch.folder / "images").rglob("*.png"))) > 0
    assert not audit(batch).passed
    assert [lease for lease in current(batch) if not lease.ended] == []

    before = (loras / "fox.safetensors").read_bytes()
    try:
        write_lora(loras / "fox.safetensors", seed=5)
        with pytest.raises(ChangedAdapterError, match="LoRA fox has changed"):
            run(batch)
    finally:
        (loras / "fox.safetensors").write_bytes(before)
    assert list(batch.work.glob("stop.*")) == []
