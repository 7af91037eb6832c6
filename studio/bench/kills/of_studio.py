"""SIGKILL to a studio that draws its queue, again and again: what becomes of the jobs that it had accepted."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from lora_loom.pipelines.errors import LoomError
from lora_loom.studio.bench.kills.server import ACCEPTED, STATE
from lora_loom.studio.records.record import read_record
from lora_loom.studio.results import Row

LONGEST_WAIT = 0.4  # seconds between a job being drawn and the kill


def measure(
    folder: Path,
    *,
    kills: int,
    jobs: int,
    base: str = "pocket",
    steps: int = 2,
    seed: int = 0,
    on_kill: Callable[[int], None] = lambda n: None,
) -> Row:
    """Kill the studio `kills` times while it draws, let it finish, and count; `folder` is its output folder."""
    folder.mkdir(parents=True, exist_ok=True)
    rng, done = random.Random(seed), 0
    command = [sys.executable, "-m", "lora_loom.studio.bench.kills.server"]
    while True:
        server = subprocess.Popen([*command, str(folder), base, str(jobs), str(steps)])
        killed = done < kills and _kill_while_drawing(server, folder, rng)
        if not killed:
            if server.wait():
                raise LoomError(
                    "the studio that was to be killed ended by itself", found=f"exit code {server.returncode}"
                )
            break
        done += 1
        on_kill(done)
    return _counted(folder, done, jobs)


def _kill_while_drawing(server: subprocess.Popen[bytes], folder: Path, rng: random.Random) -> bool:
    """Kill the process a moment after it has begun to draw a job; False if it ended before."""
    wait = rng.uniform(0, LONGEST_WAIT)
    while server.poll() is None:
        if (folder / ACCEPTED).exists() and _is_drawing(folder, server.pid):
            time.sleep(wait)
            server.kill()
            return server.wait() != 0
        time.sleep(0.01)
    return False


def _is_drawing(folder: Path, pid: int) -> bool:
    """Whether that process, not one before it, draws a job."""
    rows = _read(folder, "SELECT owner FROM jobs WHERE state = 'running'")
    return any(owner.split("|")[-2] == str(pid) for (owner,) in rows)


def _read(folder: Path, sql: str) -> list[tuple[str, ...]]:
    connection = sqlite3.connect(folder / STATE, timeout=30)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


def _counted(folder: Path, kills: int, jobs: int) -> Row:
    states = Counter(state for (state,) in _read(folder, "SELECT state FROM jobs"))
    of_seed, half_written = Counter[int | None](), len(list(folder.rglob("*.part")))
    for path in folder.glob("*.png"):
        try:
            with Image.open(path) as image:
                image.load()
            of_seed[read_record(path).seed] += 1
        except (OSError, SyntaxError, LoomError):
            half_written += 1
    told = _read(folder, "SELECT outputs FROM jobs WHERE state = 'done'")
    kept = sum(outputs.count(".png") for (outputs,) in told)
    ended = {name: states[name] for name in ("done", "cancelled", "failed", "interrupted")}
    lost = jobs - sum(ended.values()) + max(ended["done"] - len(of_seed), 0)
    twice = sum(count > 1 for count in of_seed.values()) + max(len(of_seed) - kept, 0)
    row: Row = {"what": "a studio killed while it draws its queue", "kills": kills, "accepted": jobs}
    row |= {"drawn": ended["done"], "cancelled": ended["cancelled"], "failed": ended["failed"]}
    row |= {"given_up": ended["interrupted"], "lost": lost, "twice": twice, "half_written": half_written}
    return row | {"holds": not (lost or twice or half_written or ended["interrupted"] or ended["failed"])}
