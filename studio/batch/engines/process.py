"""What every worker process does, whoever started it: one thread of its own, then work until it is told to stop."""

from __future__ import annotations

import warnings
from collections.abc import Callable

from lora_loom.studio.batch.folder import Batch
from lora_loom.studio.batch.worker import Worker, WorkerOptions, open_studio


def work_until(batch: Batch, options: WorkerOptions, stop: Callable[[], bool]) -> None:
    """Be a worker of the batch. Raises the errors of drawing.STOPPING."""
    import torch

    quiet()
    torch.set_num_threads(1)
    with Worker(batch, open_studio(batch, options), options, stop) as worker:
        worker.run()


def quiet() -> None:
    """Only errors from the libraries that load the base: their bars and hints would tear the progress bar apart."""
    from diffusers.utils import logging as of_diffusers
    from transformers.utils import logging as of_transformers

    warnings.filterwarnings("ignore", category=FutureWarning)
    for logging in (of_diffusers, of_transformers):
        logging.set_verbosity_error()
        logging.disable_progress_bar()
