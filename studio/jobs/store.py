"""JobStore: the jobs in one SQLite file, readable while a worker writes, and honest about work that died half-way."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lora_loom.pipelines.errors import LoomError, OutputError
from lora_loom.pipelines.request import GenerationRequest
from lora_loom.studio.jobs.job import ENDED, Job, JobState

KEPT_JOBS = 200  # older ones that have ended are forgotten; their pictures stay
SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE NOT NULL, owner TEXT NOT NULL, request TEXT NOT NULL,
    state TEXT NOT NULL, phase TEXT NOT NULL, created_at REAL NOT NULL, started_at REAL, finished_at REAL,
    step INTEGER NOT NULL DEFAULT 0, num_steps INTEGER NOT NULL DEFAULT 0, eta_seconds REAL, seconds_per_step REAL,
    error TEXT NOT NULL DEFAULT '{}', outputs TEXT NOT NULL DEFAULT '[]',
    preview BLOB, preview_serial INTEGER NOT NULL DEFAULT 0, cancel_requested INTEGER NOT NULL DEFAULT 0
)"""
FIELDS = (
    "id, request, state, phase, created_at, started_at, finished_at, step, num_steps, eta_seconds, seconds_per_step,"
    " error, outputs, preview_serial, cancel_requested"
)
OPEN = f"state NOT IN ({', '.join(repr(state) for state in ENDED)})"


class JobStore:
    """Jobs on disk. Every method is safe to call from any thread; several processes may share one file.

    Opening it marks the jobs of processes that are gone as interrupted. Raises OutputError where the file cannot be
    written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._owner = _this_process()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, timeout=10, check_same_thread=False, isolation_level=None)
        except (OSError, sqlite3.Error) as error:
            raise _unwritable(path, error) from error
        self._connection.row_factory = sqlite3.Row
        try:
            self._run("PRAGMA journal_mode=WAL")
            self._run("PRAGMA synchronous=NORMAL")
            self._run(SCHEMA)
            self._forget_unreadable()
            self._mark_interrupted()
        except OutputError:
            self._connection.close()
            raise

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def add(self, request: GenerationRequest) -> Job:
        """A new job at the end of the queue."""
        job_id = uuid.uuid4().hex[:16]
        self._run(
            "INSERT INTO jobs (id, owner, request, state, phase, created_at, num_steps) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (job_id, self._owner, request.to_json(), "queued", "waiting", time.time(), request.num_inference_steps),
        )
        self._run(f"DELETE FROM jobs WHERE NOT ({OPEN}) AND number <= (SELECT MAX(number) FROM jobs) - ?", (KEPT_JOBS,))
        return self._known(job_id)

    def get(self, job_id: str) -> Job | None:
        return self._one("WHERE id = ?", (job_id,))

    def latest(self) -> Job | None:
        """The job to show: the one being drawn, else the next in the queue, else the last that ended."""
        return (
            self._one("WHERE state = 'running' ORDER BY number LIMIT 1")
            or self._one("WHERE state = 'queued' ORDER BY number LIMIT 1")
            or self._one("ORDER BY number DESC LIMIT 1")
        )

    def waiting(self) -> int:
        """How many jobs are queued."""
        return int(self._run("SELECT COUNT(*) AS n FROM jobs WHERE state = 'queued'")[0]["n"])

    def preview(self, job_id: str) -> bytes | None:
        """The picture as it stands, encoded as WebP, while the job runs."""
        rows = self._run("SELECT preview FROM jobs WHERE id = ?", (job_id,))
        return rows[0]["preview"] if rows else None

    def take_next(self) -> Job | None:
        """Start the oldest queued job of this process; None if none waits."""
        rows = self._run(
            "UPDATE jobs SET state = 'running', phase = 'loading', started_at = ? WHERE number ="
            " (SELECT MIN(number) FROM jobs WHERE state = 'queued' AND owner = ?) RETURNING id",
            (time.time(), self._owner),
        )
        return self._known(rows[0]["id"]) if rows else None

    def update(self, job_id: str, **values: Any) -> None:
        """Write columns of a job that has not ended; a new `preview` raises its serial."""
        assignments = [f"{name} = ?" for name in values]
        if values.get("preview") is not None:
            assignments.append("preview_serial = preview_serial + 1")
        self._run(f"UPDATE jobs SET {', '.join(assignments)} WHERE id = ? AND {OPEN}", (*values.values(), job_id))

    def finish(
        self,
        job_id: str,
        state: JobState,
        *,
        outputs: tuple[str, ...] = (),
        error: Mapping[str, str] | None = None,
    ) -> None:
        """End a job in one of the states of `ENDED`; its preview is dropped."""
        self.update(
            job_id,
            state=state,
            phase="finished",
            finished_at=time.time(),
            eta_seconds=None,
            outputs=json.dumps(outputs),
            error=json.dumps(dict(error or {})),
            preview=None,
        )

    def request_cancel(self, job_id: str) -> Job | None:
        """Ask a job to stop and return it, None if unknown: a queued one ends at once, a running one within a step."""
        self._run(f"UPDATE jobs SET cancel_requested = 1 WHERE id = ? AND {OPEN}", (job_id,))
        # In one statement, since the worker may take the job at this moment.
        self._run(
            "UPDATE jobs SET state = 'cancelled', phase = 'finished', finished_at = ?"
            " WHERE id = ? AND state = 'queued'",
            (time.time(), job_id),
        )
        return self.get(job_id)

    def cancel_requested(self, job_id: str) -> bool:
        rows = self._run("SELECT cancel_requested FROM jobs WHERE id = ?", (job_id,))
        return bool(rows) and bool(rows[0]["cancel_requested"])

    def _forget_unreadable(self) -> None:
        """Drop jobs whose request this version of Loom does not know how to read."""
        for row in self._run("SELECT id, request FROM jobs"):
            try:
                GenerationRequest.from_json(row["request"])
            except LoomError:
                self._run("DELETE FROM jobs WHERE id = ?", (row["id"],))

    def _mark_interrupted(self) -> None:
        why = LoomError(
            "this picture was not finished: the studio stopped while it was being made",
            remedy="Press Generate to make it again",
        )
        for row in self._run(f"SELECT id, owner FROM jobs WHERE {OPEN}"):
            if not _is_alive(row["owner"]):
                self.finish(row["id"], "interrupted", error=why.to_dict())

    def _known(self, job_id: str) -> Job:
        job = self.get(job_id)
        assert job is not None
        return job

    def _one(self, where: str, values: tuple[Any, ...] = ()) -> Job | None:
        rows = self._run(f"SELECT {FIELDS} FROM jobs {where}", values)
        return _job(rows[0]) if rows else None

    def _run(self, sql: str, values: tuple[Any, ...] = ()) -> list[sqlite3.Row]:
        """The rows of one statement; raises OutputError for what the file or the disk refuses."""
        try:
            with self._lock:
                return self._connection.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise _unwritable(self.path, error) from error


def _job(row: sqlite3.Row) -> Job:
    values = dict(row)
    values["request"] = GenerationRequest.from_json(values["request"])
    values["error"] = json.loads(values["error"])
    values["outputs"] = tuple(json.loads(values["outputs"]))
    values["cancel_requested"] = bool(values["cancel_requested"])
    return Job(**values)


def _this_process() -> str:
    """This process and its start time, since a process number alone is used again after a restart."""
    return f"{os.getpid()}:{_start_time(os.getpid())}"


def _is_alive(owner: str) -> bool:
    pid, _, started = owner.partition(":")
    now = _start_time(int(pid))
    return now is not None and abs(now - float(started)) < 5  # a clock set right moves start times a little


def _start_time(pid: int) -> float | None:
    import psutil  # comes with accelerate

    try:
        return psutil.Process(pid).create_time()
    except psutil.Error:
        return None


def _unwritable(path: Path, error: Exception) -> OutputError:
    return OutputError(
        f"the list of jobs cannot be kept in {path}",
        found=str(error),
        remedy="Free some disk space or choose another output folder",
    )
