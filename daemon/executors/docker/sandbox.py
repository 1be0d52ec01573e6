"""One attempt's container and its objects: prepare, hold, release, follow, wait, stop, collect, remove.

Every step may be repeated, also by another daemon that has found the container: names, labels and the container's own
log carry all its state. No step depends on a later one. The long ones are in `preparation`, `start` and `ending`.

Durations in ms (medians on two idle cores, Docker 20.10, a job `true` on the default bridge): prepare 37 (create 5,
unpack the workspace 30), hold 130, release 0.3, from there to the known end of the script 3, remove 90 immediately (the
engine then tears down the network) or 5 a little later.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from daemon.executors.base import Checkout, Collected, Dependencies, JobFailed, Outcome, Workspace
from daemon.executors.common.checkout_options import checkout_options
from daemon.executors.common.environment import Environment, Start
from daemon.executors.common.script import lease_line, release_lines, stop_line
from daemon.executors.common.script_limits import is_true, limits_of
from daemon.executors.docker.api_client import EngineError
from daemon.executors.docker.commands import DockerCommand, run_command
from daemon.executors.docker.container import JobContainer
from daemon.executors.docker.ending import await_end
from daemon.executors.docker.files.artifacts import FileCollector, collect_artifacts, collect_description
from daemon.executors.docker.files.job_cache import Found, JobCaches, bases_of
from daemon.executors.docker.files.pages import collect_pages
from daemon.executors.docker.logs import stored
from daemon.executors.docker.logs.attached import AttachedOutput
from daemon.executors.docker.logs.follower import LogFollower
from daemon.executors.docker.preparation import caches_of, prepare
from daemon.executors.docker.start import await_entry, bring_to_gate
from daemon.tar_stream import BadArchive
from protocol.messages import Terminal
from protocol.statuses import FailureReason
from protocol.variables import references

LINGERS = 0.03
"""Seconds from the script's last line to the container's end: mostly a wait in `entry.sh`."""
ANSWERS_WITHIN = 2.0
"""Seconds that a stop waits for an opened gate's answer; without one it kills."""


class DockerSandbox:
    """See `daemon.executors.base.Sandbox`. `warnings` are non-fatal problems, for people."""

    def __init__(self, container: JobContainer) -> None:
        self._container = container
        self._site = container.site
        self._engine = container.engine
        self._assignment = container.assignment
        self._gate = container.gate
        self._files = container.files
        self._checkout: Checkout | None = None
        self._postponed = False
        self._prepared = False  # by this daemon
        self._followed: AttachedOutput | None = None

    @property
    def warnings(self) -> list[str]:
        """See Sandbox."""
        return self._container.warnings

    @property
    def lingers(self) -> float:
        """See Sandbox."""
        return LINGERS

    # prepare, hold, release

    def prepare(self, workspace: Workspace | None) -> None:
        """See Sandbox. An image whose name depends on a dependency's variables is left to `release`."""
        self._site.removals.wait(self._assignment.attempt)
        container = self._container
        with container.failures("the job can't be prepared"):
            options = checkout_options(container.early.values, container.warnings)
            if workspace and options and (options.files or not workspace.is_plain):
                self._checkout = workspace.checkout(options)
            checkout = self._checkout
            ended = [dependency for dependency in self._assignment.dependencies if dependency.satisfied]
            environment = container.environment(ended) if ended else container.early
            to_come = len(self._assignment.dependencies) > len(ended)
            if to_come and references(container.spec.name) - environment.values.keys():
                self._postponed = True
            else:
                prepare(container, checkout, environment)
                self._prepared = True

    def hold(self) -> None:
        """See Sandbox."""
        if not self._postponed:
            with self._container.failures():
                bring_to_gate(self._container, self._container.early)

    def release(self, dependencies: Dependencies) -> None:
        """See Sandbox."""
        container = self._container
        with container.failures("the job can't be prepared"):
            start = Start(datetime.now(UTC), dependencies.slot)
            final = container.final = container.environment(dependencies.states, start)
            if complaint := final.too_long():
                raise JobFailed(FailureReason.SCRIPT_FAILURE, complaint)
            if self._postponed:
                prepare(container, self._checkout, final)
            elif self._has_old_caches(final):
                self._prepare_again(final)
            bring_to_gate(container, final)
            self._add_files(final, dependencies.archives)
            limits = limits_of(final.values)
            self.warnings.extend(limits.warnings)
            lines = release_lines(
                container.early.changes(final),
                self._assignment.lease,
                after_seconds=limits.after or self._site.after_script_timeout,
                after_counts=limits.after_counts,
            )
            self._gate.tell(lines)
            container.released_at = time.monotonic()
            self._site.note_release(container.name, dependencies.slot)

    def _has_old_caches(self, final: Environment) -> bool:
        """Whether a cache in the view was replaced since: a dependency may have done so.

        A daemon that has found the container keeps them: caches have no guarantee, and it can't prepare it again.
        """
        if not self._prepared or not self._container.project.caches:
            return False
        caches = caches_of(self._container)
        return caches is not None and bases_of(caches.find(final)) != self._container.project.caches

    def _prepare_again(self, final: Environment) -> None:
        container = self._container
        self._gate.hang_up()
        with container.network.leaving():
            self._engine.delete(f"/containers/{container.key}")
        self._site.sweeper.discard(self._assignment.attempt)
        self._site.forget(container.name)
        container.renew()
        prepare(container, self._checkout, final)

    def _add_files(self, final: Environment, artifacts: Sequence[Path]) -> None:
        """Files that `prepare` could not know: caches, artifacts, file variables."""
        caches = caches_of(self._container) if not self._container.project.caches else None
        cached = caches.find(final) if caches else []
        if cached or artifacts or self._container.entrypoint:
            await_entry(self._container)
        if cached or artifacts:
            self._lay_in(caches, cached, artifacts)
        if final.files != self._container.early.files:
            self._files.lay_ground(final.files)

    def _lay_in(self, caches: JobCaches | None, cached: Sequence[Found], artifacts: Sequence[Path]) -> None:
        """Unpacks caches, then artifacts over them. A job can do without a cache: a damaged one causes a warning."""
        try:
            self._files.lay_in([*(one.cached.path for one in cached), *artifacts])
        except (BadArchive, OSError) as error:
            sound = caches.sound(cached) if caches else []
            if len(sound) == len(cached):
                raise
            self.warnings.append(f"a cache is skipped: {error}")
            if sound or artifacts:
                self._files.lay_in([*(one.cached.path for one in sound), *artifacts])

    def interrupt(self) -> None:
        """See Sandbox."""
        self._gate.interrupt()

    # while it runs

    @property
    def read_at(self) -> float | None:
        """See Sandbox."""
        return None if self._followed is None else self._followed.read_at

    def follow_log(self, offset: int, sink: Callable[[bytes], None]) -> None:
        """See Sandbox. Raises EngineError, EngineUnavailable."""
        key = self._container.key
        live = self._gate.take_live()
        if live and offset == 0:
            self._followed = live
            try:
                offset, whole = live.follow(sink, lambda: stored.runs(self._engine, key))
            finally:
                self._followed = None
                live.close()
            if whole:
                return
        follower = LogFollower(self._engine, key, offset, sink)
        try:
            if end := follower.follow():
                self._container.ends.put(end)
        finally:
            if follower.lost:
                self.warnings.append("part of its log is lost: it printed more than the engine keeps")

    def wait(self) -> Outcome:
        """See Sandbox. Raises JobFailed if the script did not begin, or if the container is gone."""
        with self._container.failures():
            return await_end(self._container)

    @property
    def after_seconds(self) -> float | None:
        """See Sandbox."""
        return limits_of(self._container.last_environment().values).after

    def prolong(self, seconds: float) -> None:
        """See Sandbox."""
        with self._container.failures():
            try:
                self._gate.tell(lease_line(seconds))
            except EngineError as error:
                if error.status not in (404, 409):  # not found, not running
                    raise

    def stop(self, grace: float, *, canceled: bool = True) -> None:
        """See Sandbox."""
        with self._container.failures():
            try:
                if self._begun():
                    self._gate.tell(stop_line("canceled" if canceled else "failed", grace))
                else:
                    self.kill()
            except EngineError as error:
                if error.status not in (404, 409):  # not found, not running
                    raise

    def _begun(self) -> bool:
        """Whether there is a script to stop. A just released one may take a moment to report."""
        if self._container.released_at is not None and self._gate.answered(ANSWERS_WITHIN):
            return True
        return stored.released_at(self._engine, self._container.key) is not None

    def kill(self) -> None:
        """See Sandbox."""
        self._container.kill()

    # afterwards

    def collect(self, directory: Path, *, succeeded: bool) -> list[Collected]:
        """See Sandbox."""
        job = self._assignment.job
        release = job.release if succeeded else None
        if not job.artifacts and not job.caches and not release:
            return []
        container = self._container
        with container.failures("the job's files can't be stored"):
            expand = container.last_environment().expand
            taker = FileCollector(self._engine, container.key, self._assignment.project_dir, expand)
            names = self._files.known_names
            collected: list[Collected] = []
            if job.artifacts:
                collected = collect_artifacts(job.artifacts, taker, names, directory, succeeded=succeeded)
            if job.pages and succeeded:
                collected += collect_pages(job.pages, taker, directory)
            if release is not None:
                collected += collect_description(release.description, taker, directory)
            if caches := caches_of(container):
                project = container.project
                changes = project.changes(container.key, container.inspect()["Image"]) if project.caches else None
                project.outdated = caches.save(taker, names, succeeded=succeeded, bases=project.caches, written=changes)
            self.warnings.extend(taker.warnings)
            return collected

    def expand(self, text: str) -> str:
        """See Sandbox."""
        return self._container.last_environment().expand(text)

    def service_logs(self) -> dict[str, bytes]:
        """See Sandbox. Raises EngineError, EngineUnavailable."""
        services = self._container.services(self._container.last_environment())
        return services.logs() if services else {}

    @property
    def shows_services(self) -> bool:
        """See Sandbox."""
        return is_true(self._container.last_environment().values.get("CI_DEBUG_SERVICES", ""))

    def keep(self) -> bool:
        """See Sandbox. Raises EngineError, EngineUnavailable."""
        if not stored.runs(self._engine, self._container.key):
            return False
        self._gate.hang_up()
        return True

    def run_command(self, arguments: Sequence[str], terminal: Terminal | None) -> DockerCommand:
        """See Sandbox."""
        return run_command(self._container, arguments, terminal)

    def remove(self) -> None:
        """See Sandbox. Raises EngineError, EngineUnavailable."""
        container, attempt = self._container, self._assignment.attempt
        self._gate.hang_up()
        if container.id is not None:
            with container.network.leaving():
                self._engine.delete(f"/containers/{container.id}")
        if container.id is None or container.found or self._assignment.job.services:
            self._site.sweeper.discard(attempt)
            container.project.release()
        else:
            container.project.remove()
        self._site.forget(container.name)
