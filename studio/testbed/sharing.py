"""Let several processes run kernels on one NVIDIA GPU at the same time, by CUDA's Multi-Process Service.

Without it their kernels take turns, and small ones leave most of the GPU idle. No setting of the device is changed: the
service is a daemon of this user, which ends with the run.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager

CONTROL = "nvidia-cuda-mps-control"
PROBE = "import torch; print(torch.zeros(1, device='cuda').item())"
PATIENCE = 45  # seconds for the service, and a first process in it, to come up


@contextmanager
def shared_device(wanted: bool) -> Generator[bool]:
    """Start the service for the processes begun inside, if wanted and possible; yields whether it runs.

    What cannot work, a missing daemon or one that no process can use, is told on stderr, and the run goes on without.
    """
    control = shutil.which(CONTROL) or shutil.which(CONTROL, path="/usr/local/nvidia/bin")
    if not wanted or control is None:
        if wanted:
            print(f"{CONTROL} is not installed: processes take turns", file=sys.stderr)
        yield False
        return
    with tempfile.TemporaryDirectory(prefix="mps") as folder:
        places = {"CUDA_MPS_PIPE_DIRECTORY": folder, "CUDA_MPS_LOG_DIRECTORY": folder}
        before = {name: os.environ.get(name) for name in places}
        os.environ.update(places)
        try:
            works = _starts(control)
            if not works:
                _restore(before)
            yield works
        finally:
            _ends(control, {**os.environ, **places})
            _restore(before)


def _starts(control: str) -> bool:
    """Whether the daemon starts and a process can compute by it."""
    try:
        subprocess.run([control, "-d"], timeout=PATIENCE, check=True)
        subprocess.run([sys.executable, "-c", PROBE], timeout=PATIENCE, check=True, capture_output=True)
    except (OSError, subprocess.SubprocessError) as error:
        print(f"the multi-process service does not work here: {error}", file=sys.stderr)
        return False
    return True


def _ends(control: str, environment: dict[str, str]) -> None:
    try:
        subprocess.run([control], input="quit\n", text=True, env=environment, timeout=PATIENCE, check=False)
    except (OSError, subprocess.SubprocessError) as error:  # what the run has drawn is worth more
        print(f"the multi-process service did not end: {error}", file=sys.stderr)


def _restore(before: dict[str, str | None]) -> None:
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
