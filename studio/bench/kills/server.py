"""A studio without a page, to be killed: it draws the jobs of a folder until none is left, then it ends.

`python -m lora_loom.studio.bench.kills.server FOLDER BASE JOBS STEPS`; the first one that is started accepts the jobs
and cancels every tenth of them.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

STATE = Path(".loom", "jobs", "jobs.sqlite")  # of the studio's list, inside its output folder
CANCELLED_OF = 10
ACCEPTED = "accepted"  # a file that says that all jobs have been accepted


def request_of(seed: int, base: str, steps: int) -> object:
    """The request of the job with that seed: each has its own, by which its picture is known."""
    from lora_loom.pipelines.request import GenerationRequest

    return GenerationRequest("a red circle", base_model=base, seed=seed, num_inference_steps=steps)


def main(folder: Path, base: str, jobs: int, steps: int) -> None:
    import torch

    from lora_loom.pipelines.request import GenerationRequest
    from lora_loom.studio.jobs.store import JobStore
    from lora_loom.studio.jobs.worker import JobWorker
    from lora_loom.studio.library.adapter_library import AdapterLibrary
    from lora_loom.studio.session import Studio

    torch.set_num_threads(1)
    studio = Studio(base, AdapterLibrary([]), folder, device="cpu")
    _ = studio.pipeline
    store = JobStore(folder / STATE)
    worker = JobWorker(studio, store)
    if not (folder / ACCEPTED).exists():
        for seed in range(jobs):
            request = request_of(seed, base, steps)
            assert isinstance(request, GenerationRequest)
            job = store.add(request)
            if seed % CANCELLED_OF == CANCELLED_OF - 1:
                worker.cancel(job.id)
        (folder / ACCEPTED).touch()
    worker.resume()
    while (latest := store.latest()) is not None and not latest.ended:
        time.sleep(0.05)
    worker.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
