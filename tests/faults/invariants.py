"""What has to be true after any faults, looked at from outside: the database, Docker's events, logs, leftovers.

Each check returns what it found wrong, as sentences; an empty list is what one hopes for.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator, Mapping, Set
from contextlib import closing
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import docker

from protocol.client import Client
from protocol.statuses import ENDED, ExecutionStatus, FailureReason
from protocol.views import JobView, RunView
from tests.faults.engine_events import EngineEvents
from tests.faults.pipelines import NOT_MADE, RETRIES, Pipeline
from tests.support.system import leftovers

LOG_PIECE = 1 << 20


@dataclass(slots=True)
class Submitted:
    """A run that a client was told the id of. `touched`: it was canceled, or a container of it was killed."""

    pipeline: Pipeline
    touched: bool = False


@dataclass(slots=True)
class Findings:
    """What was found wrong, and how much was looked at."""

    wrong: list[str] = field(default_factory=list)
    runs: int = 0
    attempts: int = 0
    log_bytes: int = 0


def jobs_of(run: RunView) -> dict[str, JobView]:
    """A run's jobs by name."""
    return {job.name: job for stage in run.stages for job in stage.jobs}


def whole_log(client: Client, run: int, job: str) -> bytes:
    """A log, however large, of a job's current attempt."""
    pieces: list[bytes] = []
    size = 0
    while True:
        answer, data = client.get_log(run, job, offset=size, length=LOG_PIECE)
        pieces.append(bytes(data))
        size += len(data)
        if not data or size >= answer.size:
            return b"".join(pieces)


def check_run(client: Client, run: int, submitted: Submitted, findings: Findings) -> None:
    """Statuses and logs of a run that has ended, against what its pipeline has to come to."""
    view = client.get_run(run)
    findings.runs += 1
    jobs = jobs_of(view)
    complaints = () if "make" not in jobs or jobs["make"].status is ExecutionStatus.SUCCESS else (NOT_MADE,)
    for name, job in jobs.items():
        findings.attempts += job.attempt
        where = f"run {run}, {name}"
        if job.status not in ENDED:
            findings.wrong.append(f"{where}: is {job.status} although its run has ended")
        if not submitted.touched:
            findings.wrong.extend(f"{where}: {problem}" for problem in _status(submitted.pipeline, name, job))
        if name in submitted.pipeline.children:
            check_children(client, view, job, submitted, findings)
            continue
        if job.status is ExecutionStatus.SUCCESS or job.failure_reason is FailureReason.SCRIPT_FAILURE:
            log = whole_log(client, run, name)
            findings.log_bytes += len(log)
            findings.wrong.extend(f"{where}: {problem}" for problem in _log(submitted.pipeline, name, log, complaints))
        told = [line.text for line in client.get_job(run, name).story]
        ends = sum(text.startswith("succeeded on") for text in told)
        if ends != (job.status is ExecutionStatus.SUCCESS):
            findings.wrong.append(f"{where}: it is told {ends} times that it has succeeded: {told}")


def check_children(client: Client, run: RunView, job: JobView, submitted: Submitted, findings: Findings) -> None:
    """The runs that a job has started: at most one for each attempt, whose outcome is the job's if it waited for it."""
    where = f"run {run.id}, {job.name}"
    if len(job.child_runs) > job.attempt or len(set(job.child_runs)) != len(job.child_runs):
        findings.wrong.append(f"{where}: {job.attempt} attempts have started the runs {job.child_runs}")
    if job.status is ExecutionStatus.SUCCESS and not job.child_runs:
        findings.wrong.append(f"{where}: has succeeded without a run")
    for child in job.child_runs:
        check_run(client, child, Submitted(submitted.pipeline.children[job.name], submitted.touched), findings)
    waited = job.name != "free" and job.child_runs and job.status is not ExecutionStatus.CANCELED
    if waited and (status := client.get_run(job.child_runs[-1]).status) is not job.status:
        findings.wrong.append(f"{where}: is {job.status}, its run {job.child_runs[-1]} is {status}")


def _status(pipeline: Pipeline, name: str, job: JobView) -> Iterator[str]:
    if name in pipeline.moving and job.failure_reason is FailureReason.RUNNER_SYSTEM_FAILURE:
        if job.attempt <= RETRIES:
            yield f"failed for its worker's sake after {job.attempt} attempts only"
    elif job.status.value != pipeline.statuses[name]:
        yield f"is {job.status} ({job.failure_reason}: {job.message}), not {pipeline.statuses[name]}"


def _log(pipeline: Pipeline, name: str, log: bytes, complaints: tuple[str, ...]) -> Iterator[str]:
    lines = log.decode().splitlines()
    printed = [line for line in lines if line.startswith("L ")]
    strange = [line for line in lines if not line.startswith(("L ", "$ ")) and line not in complaints]
    if printed != pipeline.printed(name):
        yield f"its log has {len(printed)} lines of {pipeline.lines[name]}, or others"
    if strange:
        yield f"its log has lines that it did not print: {strange[:3]}"


def check_engine(events: EngineEvents, database: Path, killed: Set[str] = frozenset()) -> Iterator[str]:
    """By Docker's own events: no attempt was started twice, no two attempts of a job ran at the same time.

    A container that was `killed` at its gate may be started again: its script has not begun.
    """
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as rows:
        begun = {id for (id,) in rows.execute("SELECT id FROM attempt WHERE started_at IS NOT NULL")}
    for life in events.started():
        if len(life.starts) > 1 and life.attempt not in killed:
            yield f"the container of attempt {life.attempt} was started {len(life.starts)} times"
    for lives in events.attempts_of_jobs().values():
        ran = [life for life in lives if life.attempt in begun]
        for earlier, later in pairwise(ran):
            if later.begin < earlier.end:
                yield (
                    f"attempt {later.attempt} began {later.begin:.3f} while {earlier.attempt} still ran "
                    f"(until {earlier.end:.3f})"
                )


def check_database(database: Path) -> Iterator[str]:
    """The rows make sense, and nothing in them goes on for ever."""
    ended = tuple(sorted(status.value for status in ENDED))
    marks = ",".join("?" * len(ended))
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as rows:
        for (text,) in rows.execute("PRAGMA integrity_check"):
            if text != "ok":
                yield f"the database is damaged: {text}"
        for table in ("run", "stage", "job"):
            count = rows.execute(f"SELECT count(*) FROM {table} WHERE status NOT IN ({marks})", ended).fetchone()[0]
            if count:
                yield f"{count} rows of {table} have not ended"
        for id, status in rows.execute(
            f"SELECT id, status FROM attempt WHERE status NOT IN ({marks}) AND worker != ''", ended
        ):
            yield f"attempt {id} is {status} for ever"
        for parent, count in rows.execute(
            "SELECT token, count(*) FROM run WHERE parent_json IS NOT NULL GROUP BY token HAVING count(*) > 1"
        ):
            yield f"attempt {parent} has started {count} runs"
        for run, text in rows.execute("SELECT id, parent_json FROM run WHERE parent_json IS NOT NULL"):
            parent = json.loads(text)
            told = rows.execute(
                "SELECT child_runs_json FROM job WHERE run_id = ? AND name = ?", (parent["run"], parent["job"])
            ).fetchone()
            if told is None or run not in json.loads(told[0] or "[]"):
                yield f"run {run} is unknown to the job that has started it, {parent['job']} of run {parent['run']}"
        for job, number in rows.execute("SELECT job_id, count(*) - max(number) FROM attempt GROUP BY job_id"):
            if number:
                yield f"job {job} has a gap in its attempts"


def check_leftovers(engine: docker.DockerClient, coordinator: str, folder: Path) -> Iterator[str]:
    """Nothing that was made for a run is left in Docker but complete layers, which the workers below `folder` keep."""
    kept = {json.loads(note.read_text())["volume"] for note in _notes_of_layers(folder)}
    for name in set(leftovers(engine, coordinator)) - kept:
        yield f"left in Docker: {name}"


def _notes_of_layers(folder: Path) -> Iterator[Path]:
    """What workers know of their layers; unlike a glob, bears with directories that a worker removes meanwhile."""
    for directory, _, names in os.walk(folder):
        if Path(directory).parts[-3:-1] == ("docker", "layers"):
            yield from (Path(directory, name) for name in names if name.endswith(".json"))


def as_text(statuses: Mapping[str, JobView]) -> str:
    """A run in one line, for whoever reads a failure."""
    return ", ".join(f"{name} {job.status}" for name, job in statuses.items())
