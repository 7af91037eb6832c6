"""JobStore: the jobs in one SQLite file, readable while a worker writes, and honest about work that died half-way."""

from __future__ import annotations

import itertools
import json
import sqlite3
import threading
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lora_loom.pipelines.checked_json import parse_json, parse_object
from lora_loom.pipelines.errors import LoomError, OutputError
from lora_loom.pipelines.request import GenerationRequest
from lora_loom.studio.jobs.job import ENDED, Job, JobState
from lora_loom.studio.liveness import ProcessIdentity, is_gone, this_process

KEPT_JOBS = 200  # older ones that have ended are forgotten; their pictures stay
SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE NOT NULL, owner TEXT NOT NULL, request TEXT NOT NULL,
    state TEXT NOT NULL, phase TEXT NOT NULL, created_at REAL NOT NULL, started_at REAL, finished_at REAL,
    step INTEGER NOT NULL DEFAULT 0, num_steps INTEGER NOT NULL DEFAULT 0, eta_seconds REAL, seconds_per_step REAL,
    error TEXT NOT NULL DEFAULT '{}', outputs TEXT NOT NULL DEFAULT '[]',
    preview BLOB, preview_serial INTEGER NOT NULL DEFAULT 0, cancel_requested INTEGER NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0, person TEXT NOT NULL DEFAULT ''
)"""
VERSION = 3  # of the table
LATER = {"attempts": "INTEGER NOT NULL DEFAULT 0", "person": "TEXT NOT NULL DEFAULT ''"}  # columns that 1 or 2 lacked
ATTEMPTS = 2  # a job whose process died is tried once more, when the others have been tried as often
PROOF = 2  # more tries for each time that a process died over another job, which was drawn afterwards
FIELDS = (
    "id, request, state, phase, created_at, started_at, finished_at, step, num_steps, eta_seconds, seconds_per_step,"
    " error, outputs, preview_serial, cancel_requested, person"
)
OPEN = f"state NOT IN ({', '.join(repr(state) for state in ENDED)})"


class JobStore:
    """Jobs on disk. Every method is safe to call from any thread; several processes may share one file.

    Opening it takes over what processes that are gone left: what waited waits again. What was being drawn is tried
    once more, after the others, and then counts as interrupted, unless processes died over other jobs that were drawn
    afterwards. A file that is damaged or of a newer Loom is set aside, and `notice` says
    so; pictures are never touched. Raises OutputError where the file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.notice = ""  # what a person should know of how the file was found
        self._lock = threading.RLock()
        self._owner = _text_of(this_process())
        try:
            self._open()
        except _UnusableError as error:
            self._set_aside(str(error))
            self._open()

    def _open(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(self.path, timeout=10, check_same_thread=False, isolation_level=None)
        except (OSError, sqlite3.Error) as error:
            raise _unwritable(self.path, error) from error
        self._connection.row_factory = sqlite3.Row
        try:
            self._prepare()
        except BaseException as error:
            self._connection.close()
            cause = error.__cause__
            if isinstance(cause, sqlite3.DatabaseError) and not isinstance(cause, sqlite3.OperationalError):
                raise _UnusableError("was damaged") from error
            raise

    def _prepare(self) -> None:
        (version,) = self._run("PRAGMA user_version")[0]
        if version > VERSION:
            raise _UnusableError("is of a newer Loom")
        self._run("PRAGMA journal_mode=WAL")
        self._run("PRAGMA synchronous=NORMAL")
        self._run(SCHEMA)
        names = {row["name"] for row in self._run("PRAGMA table_info(jobs)")}
        for name in LATER.keys() - names if names >= {"id", "owner"} else ():
            self._run(f"ALTER TABLE jobs ADD COLUMN {name} {LATER[name]}")
        if missing := sorted({name.strip() for name in FIELDS.split(",")} - names - LATER.keys()):
            raise _UnusableError(f"is of another Loom (it lacks {', '.join(missing)})")
        self._run(f"PRAGMA user_version = {VERSION}")
        self._forget_unreadable()
        self._take_over()

    def _set_aside(self, why: str) -> None:
        taken = (self.path.with_name(f"{self.path.stem}-set-aside-{number}.sqlite") for number in itertools.count(1))
        aside = next(path for path in taken if not path.exists())
        try:
            self.path.rename(aside)
            for ending in ("-wal", "-shm"):
                self.path.with_name(self.path.name + ending).unlink(missing_ok=True)
        except OSError as error:
            raise _unwritable(self.path, error) from error
        self.notice = f"The list of jobs {why}. It was set aside as {aside.name}, a new one was begun, pictures stay."

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def add(self, request: GenerationRequest, person: str = "") -> Job:
        """A new job at the end of the queue, of the person who is logged in under that name."""
        job_id = uuid.uuid4().hex[:16]
        self._run(
            "INSERT INTO jobs (id, owner, request, state, phase, created_at, num_steps, person)"
            " VALUES (?, ?, ?, 'queued', 'waiting', ?, ?, ?)",
            (job_id, self._owner, request.to_json(), time.time(), request.num_inference_steps, person),
        )
        self._run(f"DELETE FROM jobs WHERE NOT ({OPEN}) AND number <= (SELECT MAX(number) FROM jobs) - ?", (KEPT_JOBS,))
        return self._known(job_id)

    def get(self, job_id: str) -> Job | None:
        return self._one("WHERE id = ?", (job_id,))

    def latest(self, person: str | None = None) -> Job | None:
        """The job being drawn, else the next in the queue, else the last that ended; of all people, or of one."""
        own, values = ("1", ()) if person is None else ("person = ?", (person,))
        return (
            self._one(f"WHERE state = 'running' AND {own} ORDER BY number LIMIT 1", values)
            or self._one(f"WHERE state = 'queued' AND {own} ORDER BY attempts, number LIMIT 1", values)
            or self._one(f"WHERE {own} ORDER BY number DESC LIMIT 1", values)
        )

    def ahead(self, job_id: str) -> int:
        """How many jobs come before one that is queued; 0 for any other."""
        rows = self._run(
            "SELECT COUNT(*) AS n FROM jobs AS other, jobs AS own WHERE own.id = ? AND own.state = 'queued' AND"
            " (other.state = 'running' OR other.state = 'queued'"
            " AND (other.attempts, other.number) < (own.attempts, own.number))",
            (job_id,),
        )
        return int(rows[0]["n"])

    def waiting(self) -> int:
        """How many jobs are queued."""
        return int(self._run("SELECT COUNT(*) AS n FROM jobs WHERE state = 'queued'")[0]["n"])

    def preview(self, job_id: str) -> bytes | None:
        """The picture as it stands, encoded as WebP, while the job runs."""
        rows = self._run("SELECT preview FROM jobs WHERE id = ?", (job_id,))
        return rows[0]["preview"] if rows else None

    def take_next(self) -> Job | None:
        """Start the oldest queued job of this process, of those tried least; None if none waits."""
        rows = self._run(
            "UPDATE jobs SET state = 'running', phase = 'loading', started_at = ?, attempts = attempts + 1"
            " WHERE number = (SELECT number FROM jobs WHERE state = 'queued' AND owner = ? ORDER BY attempts, number"
            " LIMIT 1) RETURNING id",
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

    def put_back(self, job_id: str) -> None:
        """Let a job that was being drawn wait again, as if it had never been taken."""
        self._run(
            "UPDATE jobs SET state = 'queued', phase = 'waiting', step = 0, started_at = NULL, eta_seconds = NULL,"
            " preview = NULL, attempts = MAX(attempts - 1, 0) WHERE id = ? AND state = 'running'",
            (job_id,),
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
        dropped = 0
        for row in self._run(f"SELECT {FIELDS} FROM jobs"):
            try:
                _job(row)
            except (LoomError, ValueError, TypeError):
                self._run("DELETE FROM jobs WHERE id = ?", (row["id"],))
                dropped += 1
        if dropped:
            self.notice = f"{dropped} jobs of another Loom were dropped from the list, pictures stay."

    def _take_over(self) -> None:
        """Take the open jobs of processes that have ended; those of another machine are left alone."""
        why = LoomError(
            "this picture was not finished: the studio stopped twice while it was being made",
            remedy="Press Generate to make it again",
        )
        for row in self._run(f"SELECT id, owner, state, attempts, created_at FROM jobs WHERE {OPEN}"):
            if not _is_gone(row["owner"]):
                continue
            spent = row["attempts"] - PROOF * self._kills_from_outside(row["created_at"])
            if row["state"] == "running" and spent >= ATTEMPTS:
                self.finish(row["id"], "interrupted", error=why.to_dict())
                continue
            self._run(
                "UPDATE jobs SET owner = ?, state = 'queued', phase = 'waiting', step = 0, started_at = NULL,"
                " eta_seconds = NULL, preview = NULL WHERE id = ?",
                (self._owner, row["id"]),
            )

    def _kills_from_outside(self, since: float) -> int:
        """How often a process died over a job that was drawn afterwards: that was not the job's fault."""
        rows = self._run(
            "SELECT COALESCE(SUM(attempts - 1), 0) AS n FROM jobs WHERE state = 'done' AND finished_at >= ?", (since,)
        )
        return int(rows[0]["n"])

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
    values["error"] = parse_object(values["error"])
    values["outputs"] = tuple(str(each) for each in parse_json(values["outputs"]))
    values["cancel_requested"] = bool(values["cancel_requested"])
    return Job(**values)


class _UnusableError(Exception):
    """The file is there and is no list of jobs that this Loom can go on with; the text ends the sentence on it."""


def _text_of(process: ProcessIdentity) -> str:
    return f"{process.host}|{process.pid}|{process.started}"


def _is_gone(owner: str) -> bool:
    """Whether the owner of a job is known to have ended; what is not the name of a process has."""
    host, _, rest = owner.rpartition("|")[0].rpartition("|")
    started = owner.rpartition("|")[2]
    if not rest.isdecimal():
        return True
    return is_gone(ProcessIdentity(host, int(rest), started)) is True


def _unwritable(path: Path, error: Exception) -> OutputError:
    return OutputError(
        f"the list of jobs cannot be kept in {path}",
        found=str(error),
        remedy="Free some disk space or choose another output folder",
    )
