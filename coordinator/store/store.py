"""The database's interface: writes a turn in one transaction, restores runs after a restart, answers readers.

Rows are written by prepared bulk upserts, so writing the same turn again after a failure changes nothing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any
from uuid import uuid4

from peewee import (  # type: ignore[attr-defined]  # the stubs lack what every database module of playhouse uses
    Expression,
    Field,
    ForeignKeyField,
    OperationalError,
    PeeweeException,
    __exception_wrapper__,
    fn,
)

from coordinator.engine.effects import Turn
from coordinator.engine.state import EnvironmentState, KeptContainer, RunState, WorkerState
from coordinator.store import environment_rows, listings, rows
from coordinator.store.attempt_tests import newest_results
from coordinator.store.database import Connection
from coordinator.store.models import (
    AccessKey,
    Attempt,
    AttemptTests,
    AuditLine,
    BranchOutcome,
    Channel,
    Delivery,
    Environment,
    Job,
    JoinToken,
    Kept,
    Meta,
    OwnWorkspace,
    Project,
    Run,
    RunPlan,
    RunProjects,
    RunTrigger,
    RunWorkspace,
    Schedule,
    Secret,
    Stage,
    StoryLine,
    Table,
    Worker,
)
from coordinator.store.run_loader import load_runs
from protocol import views
from protocol.errors import LongshoreError
from protocol.messages import RunFilter
from protocol.statuses import ENDED, EnvironmentStatus, ExecutionStatus
from protocol.workspace import GitWorkspace

log = logging.getLogger(__name__)

COORDINATOR_ID = "coordinator_id"
RECONNECT_EVERY = 1.0
"""Seconds between reconnection attempts: each may take a while, and blocks the coordinator's loop."""
CONFIRM_EVERY = 1.0
"""Seconds for which a check of the term remains valid."""
UPDATED: tuple[type[Table], ...] = (
    Run,
    Stage,
    Job,
    Attempt,
    OwnWorkspace,
    Environment,
    Kept,
    Worker,
    AccessKey,
    JoinToken,
    Secret,
    Project,
    RunTrigger,
    Schedule,
    Channel,
    Delivery,
    BranchOutcome,
)
CONSTANT: Mapping[type[Table], Sequence[str]] = {Job: ["name"]}
"""Indexed columns that never change, besides foreign keys."""
WRITTEN_ONCE: tuple[type[Table], ...] = (
    RunPlan,
    RunWorkspace,
    RunProjects,
    AttemptTests,
    StoryLine,
    AuditLine,
    Meta,
)
NONSENSE = (LookupError, ValueError, TypeError)
"""Exceptions raised by converting invalid rows."""


class UnreadableRun(LongshoreError):
    """The rows of one run are invalid. Other runs are not affected."""

    def __init__(self, id: int, error: Exception) -> None:
        why = str(error) or type(error).__name__
        super().__init__(f"run {id} can't be read: its rows in the database are invalid ({why})")


class Store:
    """A coordinator's database, open until `close`. Not thread-safe, but bound to no thread.

    Raises UsageError or DatabaseRefused if it can't be opened or is invalid. Later failures raise peewee's errors, and
    the next call reconnects. Superseded is final: another coordinator has the database.
    """

    def __init__(self, url: str) -> None:
        self._connection = Connection(url)
        self._database = self._connection.database
        self._broken = False
        self._reconnect_at = 0.0
        self._confirmed_at = time.monotonic()
        self._audit: list[rows.Row] = []  # lines, without ids, for the next transaction
        self._queued: dict[type[Table], dict[Any, rows.Row]] = {}  # other rows for it, by primary key
        self._statements = {table: self._insert(table, update=True) for table in UPDATED}
        self._statements |= {table: self._insert(table, update=False) for table in WRITTEN_ONCE}
        try:
            self._last_run = self._newest(Run)
            self._last_story = self._newest(StoryLine)
            self._last_audit = self._newest(AuditLine)
            self.coordinator_id = self._coordinator_id()
        except Exception as error:
            self._connection.close()
            raise self._connection.refusal(error) from error

    def close(self) -> None:
        """Releases the database for another coordinator."""
        self._connection.close()

    def _insert(self, table: type[Table], *, update: bool) -> str:
        """The statement that inserts a row, a tuple in column order. An existing row is updated, or kept as it is."""
        fields = table._meta.sorted_fields
        key = table._meta.get_primary_keys()
        key_names = {field.name for field in key}
        query = table.insert_many([(None,) * len(fields)], fields=fields)
        if update:  # leaving out what never changes avoids index updates and checks
            constant = {*key_names, *CONSTANT.get(table, ())}
            changing = [f for f in fields if f.name not in constant and not isinstance(f, ForeignKeyField)]
            query = query.on_conflict(conflict_target=key, preserve=changing)
        else:
            query = query.on_conflict(action="nothing", conflict_target=key)
        return str(self._database.get_sql_context().sql(query).query()[0])

    def _newest(self, table: type[Table]) -> int:
        return int(self._rows(table.select(fn.MAX(table._meta.primary_key)))[0][0] or 0)

    def _coordinator_id(self) -> str:
        with self._transaction():
            self._write(Meta, [(COORDINATOR_ID, uuid4().hex)])
        return str(self._rows(Meta.select(Meta.value).where(Meta.key == COORDINATOR_ID))[0][0])

    # the connection

    @contextmanager
    def _usable(self) -> Iterator[None]:
        """Reconnects after an earlier failure, at most every RECONNECT_EVERY seconds, and records a new one."""
        if self._broken:
            if time.monotonic() < self._reconnect_at:
                raise OperationalError("the database could not be reached a moment ago")
            self._reconnect_at = time.monotonic() + RECONNECT_EVERY
            self._connection.reconnect()
            self._broken = False
        try:
            yield
        except Exception:
            self._broken = True
            raise

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        now = time.monotonic()
        with self._usable(), self._database.atomic():
            self._connection.check_term()
            self._confirmed_at = now
            yield

    def confirm(self) -> None:
        """Verifies that the database is still ours, if the last check is old. Raises Superseded.

        Keeps a coordinator that was suspended or cut off from acting on stale memory.
        """
        now = time.monotonic()
        if now - self._confirmed_at > CONFIRM_EVERY:
            with self._usable():
                self._connection.check_term()
            self._confirmed_at = now

    def _write(self, table: type[Table], new: Iterable[rows.Row]) -> None:
        if batch := list(new):
            with __exception_wrapper__:  # the driver's cursors raise its own errors
                self._database.cursor().executemany(self._statements[table], batch)

    def _rows(self, query: Any) -> list[rows.Row]:
        with self._usable():
            found: list[rows.Row] = self._database.execute(query).fetchall()
            return found

    # writing

    def write_turn(self, turn: Turn) -> None:
        """Writes all rows of a turn durably, or none. Idempotent."""
        changes = turn.runs or turn.stages or turn.jobs or turn.attempts or turn.workers or turn.stories
        if not (changes or turn.environments or turn.kept or turn.unkept or self._audit or self._queued):
            return
        new_runs = [run for run in turn.runs if run.id > self._last_run]
        first_story = self._last_story + 1
        with self._transaction():
            self._write(Run, map(rows.run_row, turn.runs))
            self._write(RunPlan, map(rows.plan_row, new_runs))
            self._write(RunWorkspace, [rows.workspace_row(run) for run in new_runs if run.workspace])
            self._write(RunProjects, [rows.projects_row(run) for run in new_runs if run.projects])
            self._write(Stage, map(rows.stage_row, turn.stages))
            self._write(Job, map(rows.job_row, turn.jobs))
            self._write(Attempt, map(rows.attempt_row, turn.attempts))
            self._write(OwnWorkspace, map(rows.own_workspace_row, turn.workspaces))
            self._write(AttemptTests, map(rows.tests_row, turn.tests))
            self._write(Environment, map(environment_rows.environment_row, turn.environments))
            self._write(Kept, map(rows.kept_row, turn.kept))
            if turn.unkept:
                self._database.execute(Kept.delete().where(Kept.attempt.in_(turn.unkept)))
            self._write(Worker, map(rows.worker_row, turn.workers))
            self._write(StoryLine, [rows.story_row(id, story) for id, story in enumerate(turn.stories, first_story)])
            for table, queued in self._queued.items():
                self._write(table, queued.values())
            self._write_audit(self._audit)
        self._last_audit += len(self._audit)
        self._audit.clear()
        self._queued.clear()
        self._last_story += len(turn.stories)
        self._last_run = max((run.id for run in new_runs), default=self._last_run)

    def audit(self, line: rows.Row) -> None:
        """Queues an audit line (time, actor, role, action, subject, detail), to be written with the next turn."""
        self._audit.append(line)

    def queue(self, table: type[Table], row: rows.Row) -> None:
        """Queues a row, whose first column is its key, to be written with the next turn. The last of one key counts."""
        self._queued.setdefault(table, {})[row[0]] = row

    def unqueue(self, table: type[Table], key: Any) -> None:
        """Drops a queued row: it was removed at once since."""
        self._queued.get(table, {}).pop(key, None)

    def queued(self, table: type[Table]) -> list[rows.Row]:
        """The rows of a table that are not written yet."""
        return list(self._queued.get(table, {}).values())

    def newest(self, table: type[Table]) -> int:
        """The highest primary key of a table, 0 if it is empty."""
        return self._newest(table)

    def highest(self, column: Field) -> int:
        """The highest value of a column, 0 without rows."""
        return int(self._rows(column.model.select(fn.MAX(column)))[0][0] or 0)

    def prune(self, table: type[Table], key: Field, which: Expression) -> list[Any]:
        """Deletes rows that nobody needs any more, and returns their keys."""
        keys = [row[0] for row in self._rows(table.select(key).where(which))]
        if keys:
            with self._transaction():
                self._database.execute(table.delete().where(which))
        return keys

    def _write_audit(self, lines: Sequence[rows.Row]) -> None:
        self._write(AuditLine, [rows.audit_row(id, line) for id, line in enumerate(lines, self._last_audit + 1)])

    def keep(self, line: rows.Row, *changes: tuple[type[Table], rows.Row]) -> None:
        """Writes rows and their audit line durably at once; for rare changes outside of turns."""
        with self._transaction():
            for table, row in changes:
                self._write(table, [row])
            self._write_audit([line])
        self._last_audit += 1

    def remove(self, line: rows.Row, table: type[Table], which: Expression) -> None:
        """Deletes rows durably, and writes the audit line."""
        with self._transaction():
            self._database.execute(table.delete().where(which))
            self._write_audit([line])
        self._last_audit += 1

    def all(self, query: Any) -> list[rows.Row]:
        """The rows that a query finds; for `history.py`, and the tables of keys, tokens, secrets and the audit."""
        return self._rows(query)

    def remove_run(self, id: int) -> None:
        """Deletes all rows of a run, but not the files that it refers to; and stopped environments without a run."""
        stopped = Environment.status == EnvironmentStatus.STOPPED.value
        with self._transaction():
            self._database.execute(Run.delete().where(Run.id == id))
            self._database.execute(Environment.delete().where(stopped & Environment.run.not_in(Run.select(Run.id))))

    # after a start

    def next_ids(self) -> tuple[int, int]:
        """The ids of the next run and the next job."""
        return self._newest(Run) + 1, self._newest(Job) + 1

    def load_unfinished(self) -> tuple[list[RunState], list[WorkerState]]:
        """The state that the engine restores: unfinished runs, oldest first, and every known worker.

        A run with invalid rows is marked as failed, and a worker with an invalid row forgotten until it says hello; the
        log names each. Raises DatabaseRefused if the database can't be read at all.
        """
        unfinished = Run.status.not_in([status.value for status in ENDED])
        try:
            try:
                runs = load_runs(self._rows, unfinished)
            except NONSENSE:
                runs = self._load_one_by_one(unfinished)
            return runs, list(self._load_workers())
        except PeeweeException as error:
            raise self._connection.refusal(error) from error

    def _load_one_by_one(self, which: Expression) -> list[RunState]:
        """Loads runs one by one, and marks unreadable ones as failed, so that the next start skips them."""
        runs = []
        for (id,) in self._rows(Run.select(Run.id).where(which).order_by(Run.id)):
            try:
                runs += load_runs(self._rows, Run.id == id)
            except NONSENSE as error:
                log.error(
                    "%s; marking it as failed; its attempts at workers will be discarded", UnreadableRun(id, error)
                )
                ended = {Run.status: ExecutionStatus.FAILED.value, Run.finished_at: time.time()}
                with self._transaction():
                    self._database.execute(Run.update(ended).where(Run.id == id))
        return runs

    def _load_workers(self) -> Iterator[WorkerState]:
        for row in self._rows(Worker.select()):
            try:
                yield rows.worker_of(row)
            except NONSENSE as error:
                log.error("worker %s can't be read: its row in the database is invalid (%s)", row[0], error)

    def load_kept(self) -> list[KeptContainer]:
        """All kept containers."""
        return [KeptContainer(*row) for row in self._rows(Kept.select())]

    def load_environments(self) -> list[EnvironmentState]:
        """All environments that are not stopped. One with an invalid row is left out, and named in the log."""
        return list(self._environments(Environment.status != EnvironmentStatus.STOPPED.value))

    def _environments(self, *which: Expression) -> Iterator[EnvironmentState]:
        query = Environment.select().order_by(Environment.deployed_at.desc(), Environment.name)
        for row in self._rows(query.where(*which) if which else query):
            try:
                yield environment_rows.environment_of(row)
            except NONSENSE as error:
                log.error("environment %s can't be read: its row in the database is invalid (%s)", row[1], error)

    def load_run(self, id: int) -> RunState | None:
        """A run, finished or not, as last written. Raises UnreadableRun."""
        try:
            runs = load_runs(self._rows, Run.id == id)
        except NONSENSE as error:
            raise UnreadableRun(id, error) from error
        return runs[0] if runs else None

    # for readers

    def run_by_token(self, token: str) -> int | None:
        """The id of the run submitted with this token."""
        found = self._rows(Run.select(Run.id).where(Run.token == token))
        return int(found[0][0]) if found else None

    def list_runs(self, limit: int, before: int | None = None, only: RunFilter | None = None) -> list[views.RunSummary]:
        """Runs, newest first: see `listings.list_runs`."""
        return listings.list_runs(self._rows, limit, before, only)

    def environment(self, project: str, name: str) -> EnvironmentState | None:
        """An environment, stopped or not; None if there is none, or its row is invalid."""
        return next(self._environments((Environment.project == project) & (Environment.name == name)), None)

    def list_environments(self, project: str | None, limit: int) -> list[EnvironmentState]:
        """All environments, or those of a project, the latest deployment first."""
        which = [] if project is None else [Environment.project == project]
        return list(islice(self._environments(*which), limit))

    def list_releases(self, project: str | None, limit: int) -> list[views.ReleaseView]:
        """The releases of all runs, or of those of a project, newest first."""
        return listings.list_releases(self._rows, project, limit)

    def test_results(
        self, project: str | None, ref: str | None, job: str | None, before: int | None
    ) -> tuple[list[views.AttemptTests], bool]:
        """Results of tests: see `attempt_tests.newest_results`."""
        return newest_results(self._rows, project, ref, job, before)

    def git_workspaces(self, project: str, limit: int) -> list[GitWorkspace]:
        """The newest git workspaces of a project's runs, newest first, without repetitions."""
        return listings.git_workspaces(self._rows, project, limit)

    def story(self, run: int, job: str) -> list[views.StoryLine]:
        """A job's story, oldest first."""
        lines = StoryLine.select().where((StoryLine.run == run) & (StoryLine.job == job)).order_by(StoryLine.id)
        return [rows.story_of(row) for row in self._rows(lines)]
