"""One attempt's container and its objects: prepare, hold, release, follow, wait, stop, collect, remove.

Every step may be repeated, also by another daemon that has found the container: names, labels and the container's own
log carry all its state. No step depends on a later one.

Durations in ms (medians on two idle cores, Docker 20.10, a job `true` on the default bridge): prepare 37 (create 5,
unpack the workspace 30), hold 130, release 0.3, from there to the known end of the script 3, remove 90 immediately (the
engine then tears down the network) or 5 a little later.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any
from uuid import uuid4

import msgspec

from daemon.executors.base import Checkout, CheckoutOptions, Collected, Dependencies, JobFailed, Outcome, Workspace
from daemon.executors.common.archives import BadArchive
from daemon.executors.common.environment import Environment, dotenv_of, job_environment
from daemon.executors.common.script import LEASE_OVER, Scripts, lease_line, release_lines, scripts_of, stop_line
from daemon.executors.common.script_limits import is_true, limits_of
from daemon.executors.docker.api_client import GONE, UP, Created, EngineError, NameTaken, labels_of
from daemon.executors.docker.belongings import ATTEMPT, COORDINATOR, LEASE, NETWORK, ROLE, WORKER
from daemon.executors.docker.container_spec import job_container, start_hint
from daemon.executors.docker.container_user import is_root, owner_of
from daemon.executors.docker.files.artifacts import FileCollector, collect_artifacts
from daemon.executors.docker.files.inline_workspace import packed
from daemon.executors.docker.files.job_cache import JobCaches, file_keys_of
from daemon.executors.docker.gate import LOOK_SECONDS, QUIET_SECONDS, EntryEnded, Gate, NoAnswer, SignsOfLife
from daemon.executors.docker.images import Image, name_explained, no_image
from daemon.executors.docker.layers.project_directory import ProjectDirectory
from daemon.executors.docker.logs import stored
from daemon.executors.docker.logs.follower import LogFollower
from daemon.executors.docker.logs.multiplexed import ScriptEnd
from daemon.executors.docker.networks.lease import NetworkLease
from daemon.executors.docker.services import Services, plan_services
from daemon.executors.docker.shared import SharedResources
from daemon.executors.docker.workspace_files import SandboxFiles
from daemon.runtime.thread_pool import THREADS, Task, run_for
from protocol.clock import reading
from protocol.errors import EngineUnavailable, LongshoreError
from protocol.messages import Assignment, Dependency
from protocol.plan import ImageSpec
from protocol.statuses import FailureReason
from protocol.variables import references

NO_SOURCES = ("none", "empty")
"""Values of GIT_STRATEGY for an empty project directory."""
NO_UMASK = "FF_DISABLE_UMASK_FOR_DOCKER_EXECUTOR"
"""The variable that keeps the repository's file modes; without it everybody may write to the files."""
FILE_KEYS_LABEL = "longshore.cache-keys"
JOB_LABEL = "longshore.job-digest"
LINGERS = 0.03
"""Seconds from the script's last line to the container's end: mostly a wait in `entry.sh`."""
SCRIPT_GRACE = 10.0
"""Seconds from SIGTERM to SIGKILL of a script that has exceeded its own time limit."""
ANSWERS_WITHIN = 2.0
"""Seconds that a stop waits for an opened gate's answer; without one it kills."""
REMOVE_SECONDS = 1.0
"""Seconds that a removal is waited for, many times what it takes without large files."""
LAST_WORDS = 2000
"""Bytes of the log in the message about a container whose script did not begin."""


class DockerSandbox:
    """See `daemon.executors.base.Sandbox`. `warnings` are non-fatal problems, for people.

    `container` is the id of a found one: names can change, or belong to another container.
    """

    def __init__(
        self,
        site: SharedResources,
        assignment: Assignment,
        name: str,
        labels: Mapping[str, str],
        container: str | None = None,
    ) -> None:
        self.warnings: list[str] = []
        self._site = site
        self._engine = site.engine
        self._assignment = assignment
        self._name = name
        self._labels = labels
        self._spec = assignment.job.image or ImageSpec(name=assignment.default_image or "")
        self._early = self._environment([])  # without dependencies' variables: the container's own
        self._final: Environment | None = None
        self._postponed: list[Checkout] | None = None
        self._fresh = False  # created by this daemon and not started yet
        opened = not is_true(self._early.values.get(NO_UMASK, ""))
        self._files = SandboxFiles(site, assignment, name, opened=opened)
        self._project = ProjectDirectory(site, assignment.attempt, name, labels, assignment.project_dir, opened=opened)
        self._joined = NetworkLease(site.engine, site.networks, name)
        self._id: str | None = None
        self._released_at: float | None = None  # monotonic; set by the releasing daemon
        self._killed = False
        self._adopted = container is not None
        self._ends: SimpleQueue[ScriptEnd | int | Exception] = SimpleQueue()  # from the log, from the engine
        self._gate = Gate(site.engine, name, self._ends.put)
        self._entrypoint: Sequence[str] = ()  # once known: from `prepare`, or at the container's start
        if container is not None:
            self._found(container)

    def _found(self, container: str) -> None:
        """Adopts this container."""
        self._id = self._joined.id = self._files.id = self._gate.container = container

    @property
    def _container(self) -> str:
        """The container's name or id for the engine."""
        return self._id or self._name

    def _environment(self, dependencies: Sequence[Dependency], started: datetime | None = None) -> Environment:
        return job_environment(self._assignment, self._site.worker, self._spec.name, dotenv_of(dependencies), started)

    @property
    def lingers(self) -> float:
        """See Sandbox."""
        return LINGERS

    # prepare

    def prepare(self, workspace: Workspace | None) -> None:
        """See Sandbox. An image whose name depends on a dependency's variables is left to `release`."""
        self._site.removals.wait(self._assignment.attempt)
        checkout = workspace.checkout(CheckoutOptions()) if workspace else None
        if self._early.values.get("GIT_STRATEGY") in NO_SOURCES:
            checkout = None
        with self._failures():
            ended = [dependency for dependency in self._assignment.dependencies if dependency.satisfied]
            environment = self._environment(ended) if ended else self._early
            to_come = len(self._assignment.dependencies) > len(ended)
            if to_come and references(self._spec.name) - environment.values.keys():
                self._postponed = [checkout] if checkout else []
            else:
                self._prepare(checkout, environment)

    def _prepare(self, checkout: Checkout | None, known: Environment) -> None:
        """Prepares with image and services as resolved by the `known` variables."""
        name = known.expand(self._spec.name) or self._assignment.default_image
        if not name:
            raise no_image(self._spec.name, known.values)
        with name_explained(self._spec.name, known.values):
            image = self._site.images.ensure(name, self._spec.pull_policy, self._spec.platform)
        self._entrypoint = _words(image.entrypoint if self._spec.entrypoint is None else self._spec.entrypoint)
        user = known.expand(self._spec.user) if self._spec.user else image.user
        self._project.lay_out(checkout, image, user)
        services = self._services(known)
        if services:
            services.start()
        job = self._assignment.job
        trace = is_true(self._early.values.get("CI_DEBUG_TRACE", ""))
        commands = [*job.before_script, *job.script]
        scripts = scripts_of(commands, job.after_script, self._assignment.project_dir, trace=trace)
        files = {**self._early.files, **scripts.files}
        unpackers = self._site.unpackers
        small = None
        copied = checkout if self._project.view is None else None
        if copied and not files and not self._entrypoint and is_root(user):
            small = packed(copied.tar(), opened=self._files.opened)
        brings = small if small and unpackers.can(image) else None
        opened, root = self._files.opened, is_root(user)
        ground = bool(files or services or not root or (opened and self._entrypoint) or self._project.is_operators)
        if self._create(image, checkout, services, scripts, brings, opens=opened and not brings and not ground):
            self._fresh = True
            self._files.owner = owner_of(self._engine, self._container, user)
            if ground:
                self._files.lay_ground(files)
            if copied and not brings:
                self._files.lay_workspace(copied.tar())
                if small:
                    unpackers.learn(image, self._container)
            elif checkout and not copied:
                self._files.note_view(checkout)
        if services:
            services.await_ready()
            self.warnings += services.warnings

    def _services(self, environment: Environment) -> Services | None:
        planned = plan_services(self._assignment.job.services, environment, self._name)
        if not planned:
            return None
        return Services(
            self._engine,
            self._site.images,
            planned,
            self._name,
            self._labels,
            environment,
            self._site.policy,
            self._project,
        )

    def _create(
        self,
        image: Image,
        checkout: Checkout | None,
        services: Services | None,
        scripts: Scripts,
        brings: str | None,
        *,
        opens: bool,
    ) -> bool:
        """Creates the container, unless a started one exists. `brings` is a workspace that it unpacks itself.

        `opens`: it makes the project's directory writable for all its users.

        Returns whether it was created now, so that other files must still be unpacked.
        """
        job = self._assignment.job
        digest = hashlib.sha256(msgspec.json.encode((self._assignment.run, job))).hexdigest()
        labels = {LEASE: "", **self._labels, **self._project.labels, ROLE: "job", JOB_LABEL: digest}  # over the image's
        if job.caches:
            labels[FILE_KEYS_LABEL] = json.dumps(file_keys_of(job.caches, checkout))
        self._files.note(checkout)
        query = {"name": self._name} | ({"platform": self._spec.platform} if self._spec.platform else {})

        def keep(there: Mapping[str, Any]) -> bool:
            """Not another job's, of a recreated coordinator; nor one whose files are unknown."""
            started = there["State"]["Status"] != "created"
            return bool(started and labels_of(there["Config"]).get(JOB_LABEL) == digest)

        own = services is not None or self._spec.platform is not None
        with nullcontext() if own else self._joined.joining(image.id, self._assignment.to_come) as holder:
            labels[NETWORK] = holder.name if holder else ""
            body = job_container(
                self._assignment,
                self._spec,
                self._early,
                network=f"container:{holder.id}" if holder else services.network if services else "bridge",
                labels=labels,
                log_driver=stored.job_log_driver(self._site.max_log_bytes),
                policy=self._site.policy,
                scripts=scripts,
                entrypoint=self._entrypoint,
                binds=services.binds if services else self._project.binds,
                aliases=services.job_aliases if services else (),
                workspace=brings,
                opens=opens,
            )
            body["Image"] = image.name
            created = self._create_apart(query, body, keep)
            self._found(created.id)
            if created.made:
                self._joined.joined()
            return created.made

    def _create_apart(
        self, query: dict[str, str], body: Mapping[str, Any], keep: Callable[[Mapping[str, Any]], bool]
    ) -> Created:
        """Creates it under another name if an unrelated container has this one."""
        owned = partial(_has, self._labels)
        try:
            return self._engine.create(query, body, keep, owned)
        except NameTaken as taken:
            self.warnings.append(taken.message)
            return self._engine.create({**query, "name": f"{self._name}-{uuid4().hex[:8]}"}, body, keep, owned)

    def _inspect(self) -> Mapping[str, Any]:
        facts: Mapping[str, Any] = self._engine.call("GET", f"/containers/{self._container}/json")
        return facts

    # hold, release

    def hold(self) -> None:
        """See Sandbox."""
        if self._postponed is None:
            with self._failures():
                self._bring_to_gate(self._early)

    def _start(self, state: str) -> None:
        try:
            self._gate.attach(state, self._call_start if state != "paused" else lambda: None)
        except EngineError as error:
            message = f"the container can't be started: {error.message}{start_hint(error.message, self._early)}"
            raise JobFailed(FailureReason.RUNNER_SYSTEM_FAILURE, message) from error
        if self._entrypoint:
            self._gate.greet()

    def _call_start(self) -> None:
        path = f"/containers/{self._container}/start"
        try:
            self._engine.call("POST", path)
        except EngineError:
            if not self._joined.revive():
                raise
            self._engine.call("POST", path)

    def release(self, dependencies: Dependencies) -> None:
        """See Sandbox."""
        with self._failures():
            final = self._final = self._environment(dependencies.states, datetime.now(UTC))
            if complaint := final.too_long():
                raise JobFailed(FailureReason.SCRIPT_FAILURE, complaint)
            if self._postponed is not None:
                self._prepare(next(iter(self._postponed), None), final)
            self._bring_to_gate(final)
            caches = self._caches()
            cached = caches.to_lay_in(final) if caches else []
            if cached or dependencies.archives or self._entrypoint:
                self._await_entry()
            if cached or dependencies.archives:
                self._lay_in(caches, cached, dependencies.archives)
            if final.files != self._early.files:
                self._files.lay_ground(final.files)
            limits = limits_of(final.values)
            self.warnings += limits.warnings
            lines = release_lines(
                self._early.changes(final),
                self._assignment.lease,
                after_seconds=limits.after or self._site.after_script_timeout,
                after_counts=limits.after_counts,
            )
            self._gate.tell(lines)
            self._released_at = time.monotonic()
            self._note_release()

    def _lay_in(self, caches: JobCaches | None, cached: Sequence[Path], artifacts: Sequence[Path]) -> None:
        """Unpacks caches, then artifacts over them. A job can do without a cache: a damaged one causes a warning."""
        try:
            self._files.lay_in([*cached, *artifacts])
        except (BadArchive, OSError) as error:
            sound = caches.sound(cached) if caches else []
            if len(sound) == len(cached):
                raise
            self.warnings.append(f"a cache is skipped: {error}")
            if sound or artifacts:
                self._files.lay_in([*sound, *artifacts])

    def _bring_to_gate(self, environment: Environment) -> None:
        """Makes the container wait at its gate, even if it died there with the engine; never once it was past it."""
        if self._gate.attached:
            return
        state = "created"
        if not self._fresh:
            facts = self._inspect()
            state, self._entrypoint = facts["State"]["Status"], _words(facts["Config"]["Entrypoint"])
            self._project.adopt(labels_of(facts["Config"]))
        self._fresh = False
        if state not in ("created", *UP):
            if stored.released_at(self._engine, self._container):
                raise JobFailed(FailureReason.RUNNER_SYSTEM_FAILURE, "its container has already run")
            if services := self._services(environment):
                services.start()
                services.await_ready()
        self._start(state)

    def _await_entry(self) -> None:
        try:
            self._gate.await_entry()
        except EntryEnded:
            code = int(self._inspect()["State"]["ExitCode"])
            raise JobFailed(FailureReason.RUNNER_SYSTEM_FAILURE, self._why_not_begun(code)) from None
        except NoAnswer as error:
            raise self._never_begins(error) from error

    def _never_begins(self, how: NoAnswer) -> JobFailed:
        """The job's failure; kills its container."""
        words = self._last_words()
        self.kill()
        what = f"the job's shell does not start in its container: {how}"
        return JobFailed(FailureReason.RUNNER_SYSTEM_FAILURE, f"{what}; {words}")

    def interrupt(self) -> None:
        """See Sandbox."""
        self._gate.interrupt()

    def _note_release(self) -> None:
        """For another daemon, which must know the job's running time. Without a note the engine's clock is used."""
        with suppress(OSError):
            self._site.directory.mkdir(parents=True, exist_ok=True)
            self._site.release_note(self._name).write_text(reading())

    def _caches(self) -> JobCaches | None:
        specs = self._assignment.job.caches
        if not specs:
            return None
        file_keys = json.loads(labels_of(self._inspect()["Config"])[FILE_KEYS_LABEL])
        return JobCaches(self._site.caches, self._assignment.project, specs, file_keys)

    # while it runs

    def follow_log(self, offset: int, sink: Callable[[bytes], None]) -> None:
        """See Sandbox. Raises EngineError, EngineUnavailable."""
        live = self._gate.take_live()
        if live and offset == 0:
            try:
                offset, whole = live.follow(sink, lambda: stored.runs(self._engine, self._container))
            finally:
                live.close()
            if whole:
                return
        follower = LogFollower(self._engine, self._container, offset, sink)
        try:
            if end := follower.follow():
                self._ends.put(end)
        finally:
            if follower.lost:
                self.warnings.append("part of its log is lost: it printed more than the engine keeps")

    def wait(self) -> Outcome:
        """See Sandbox. Raises JobFailed if the script did not begin, or if the container is gone.

        The last line of the log, if read, gives a script's end some 60 ms before the engine sees the container's end.
        (A daemon that did not release it waits for the latter: it needs the times.)
        """
        THREADS.start(Task(self._await_container, f"wait {self._assignment.attempt}"))
        with self._failures():
            if self._adopted:
                self._project.adopt(labels_of(self._inspect()["Config"]))
            end = self._first_end()
            if isinstance(end, ScriptEnd) and self._released_at is not None:
                return self._outcome(end, time.monotonic() - self._released_at)
            while isinstance(end, ScriptEnd):
                end = self._ends.get()
            if isinstance(end, Exception):
                raise end
            code = end
            ran_for = time.monotonic() - self._released_at if self._released_at is not None else self._ran_for()
            if told := stored.script_end(self._engine, self._container):
                return self._outcome(told, ran_for)
            oom_killed = bool(self._inspect()["State"]["OOMKilled"])
            failure = ""
            if not oom_killed and not self._killed:
                if not stored.released_at(self._engine, self._container):
                    raise JobFailed(FailureReason.RUNNER_SYSTEM_FAILURE, self._why_not_begun(code))
                failure = f"the container was ended from outside the job (exit code {code})"
                if code == LEASE_OVER and self._assignment.lease is not None:
                    failure = f"it ended itself: no contact with its worker for {self._assignment.lease:g} s"
            return Outcome(code, oom_killed=oom_killed, ran_for=ran_for, failure=failure)

    def _outcome(self, end: ScriptEnd, ran_for: float) -> Outcome:
        """The outcome of a complete script. A failure after its network was removed is not the script's, and neither
        is any result after files were.
        """
        failure = "" if self._killed else self._project.damage()
        if end.exit_code != 0 and not self._killed and self._joined.gone():
            failure = f"its network was removed from outside: the container {self._joined.holder} was ended"
        oom_killed = end.out_of_memory and end.exit_code != 0
        return Outcome(end.exit_code, oom_killed=oom_killed, ran_for=ran_for, failure=failure, expired=end.expired)

    def _first_end(self) -> ScriptEnd | int | Exception:
        """The first report of the script's end; stops a script that has exceeded its time limit.

        Raises JobFailed if a gate opened by this daemon does not answer.
        """
        expires = self._expires_at()
        quiet_until = self._released_at + QUIET_SECONDS if self._released_at is not None else None
        signs: SignsOfLife | None = None
        while True:
            moments = [moment for moment in (expires, quiet_until) if moment is not None]
            with suppress(Empty):
                return self._ends.get(timeout=max(0.0, min(moments) - time.monotonic()) if moments else None)
            now = time.monotonic()
            if expires is not None and now >= expires:
                expires = None
                self._gate.tell(stop_line("expired", SCRIPT_GRACE))
            if quiet_until is not None and now >= quiet_until:
                signs = signs or self._gate.signs_of_life()
                quiet_until = None if self._gate.answered() else now + LOOK_SECONDS
                try:
                    signs.check()
                except NoAnswer as error:
                    if quiet_until is not None:
                        raise self._never_begins(error) from error

    def _expires_at(self) -> float | None:
        """End of the script's own time limit (monotonic), if it has one."""
        limit = limits_of(self._last_environment().values).script
        if limit is None:
            return None
        since = self._released_at
        if since is None:
            since = self._site.released_at(self._name)
        return (time.monotonic() if since is None else since) + limit

    @property
    def after_seconds(self) -> float | None:
        """See Sandbox."""
        return limits_of(self._last_environment().values).after

    def _await_container(self) -> None:
        try:
            answer = self._engine.call("POST", f"/containers/{self._container}/wait", timeout=None)
            self._ends.put(int(answer["StatusCode"]))
        except Exception as error:
            self._ends.put(error)

    def _ran_for(self) -> float:
        """By the engine's clock, for a daemon that did not release the job."""
        released = stored.released_at(self._engine, self._container)
        finished = datetime.fromisoformat(self._inspect()["State"]["FinishedAt"])
        return max(0.0, (finished - released).total_seconds()) if released else 0.0

    def _why_not_begun(self, code: int) -> str:
        return f"the container ended before the script began (exit code {code}); {self._last_words()}"

    def _last_words(self) -> str:
        """The output of a container whose script did not begin, and a possible remedy."""
        said = stored.read_tail(self._engine, self._container, LAST_WORDS).decode(errors="replace").strip()
        words = [f"its output: {said}"] if said else []
        if self._entrypoint:
            words.append(
                f"the image's entrypoint {json.dumps(list(self._entrypoint))} must run its arguments or a shell that "
                'reads its stdin; to bypass it, give the job `image: {name: ..., entrypoint: [""]}`'
            )
        return "; ".join(words) or "it has no output"

    def prolong(self, seconds: float) -> None:
        """See Sandbox."""
        with self._failures():
            try:
                self._gate.tell(lease_line(seconds))
            except EngineError as error:
                if error.status not in (404, 409):  # not found, not running
                    raise

    def stop(self, grace: float, *, canceled: bool = True) -> None:
        """See Sandbox."""
        with self._failures():
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
        if self._released_at is not None and self._gate.answered(ANSWERS_WITHIN):
            return True
        return stored.released_at(self._engine, self._container) is not None

    def kill(self) -> None:
        """See Sandbox."""
        self._killed = True
        with self._failures():
            try:
                self._engine.call("POST", f"/containers/{self._container}/kill")
            except EngineError as error:
                if error.status not in (404, 409):
                    raise

    # afterwards

    def collect(self, directory: Path, *, succeeded: bool) -> list[Collected]:
        """See Sandbox."""
        job = self._assignment.job
        if not job.artifacts and not job.caches:
            return []
        with self._failures():
            taker = FileCollector(
                self._engine, self._container, self._assignment.project_dir, self._last_environment().expand
            )
            collected: list[Collected] = []
            if job.artifacts:
                collected = collect_artifacts(
                    job.artifacts, taker, self._files.known_names, directory, succeeded=succeeded
                )
            if caches := self._caches():
                caches.save(taker, self._files.known_names, succeeded=succeeded)
            self.warnings += taker.warnings
            return collected

    def _last_environment(self) -> Environment:
        """The script's environment, as far as known to a daemon that did not release it."""
        if self._final is None:
            self._final = self._environment(self._assignment.dependencies)
        return self._final

    def service_logs(self) -> dict[str, bytes]:
        """See Sandbox. Raises EngineError, EngineUnavailable."""
        services = self._services(self._last_environment())
        return services.logs() if services else {}

    def remove(self) -> None:
        """See Sandbox. Waits for no large files: after REMOVE_SECONDS the engine continues by itself.

        Raises EngineError, EngineUnavailable.
        """
        self._gate.hang_up()
        if self._assignment.job.services:  # much is still to be asked of the engine
            self._remove_all()
        else:
            run_for(self._remove_all, REMOVE_SECONDS)

    def _remove_all(self) -> None:
        with self._site.removals.of(self._assignment.attempt, lambda: True):
            if self._id is not None:
                with self._joined.leaving():
                    self._engine.delete(f"/containers/{self._id}")
            if self._id is None or self._adopted or self._assignment.job.services:
                self._site.sweeper.discard(self._assignment.attempt)
                self._project.release()
            else:
                self._project.remove()
        self._site.forget(self._name)

    def _is_gone(self, error: EngineError) -> bool:
        """Whether an error means that the container is gone, or being removed."""
        named = self._id is not None and error.status == 404 and self._id in error.message
        return named or (error.status == 409 and "marked for removal" in error.message)

    @contextmanager
    def _failures(self) -> Iterator[None]:
        """Turns engine and host errors into the job's result: a system failure."""
        try:
            yield
        except EngineError as error:
            why = "its container was removed from outside the job" if self._is_gone(error) else f"Docker: {error}"
            raise JobFailed(FailureReason.RUNNER_SYSTEM_FAILURE, why) from error
        except (EngineUnavailable, BadArchive, OSError, *GONE) as error:
            raise JobFailed(FailureReason.RUNNER_SYSTEM_FAILURE, str(error) or repr(error)) from error
        except LongshoreError as error:  # a bad file pattern, an unbounded variable
            raise JobFailed(FailureReason.SCRIPT_FAILURE, str(error)) from error


def _has(own: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Whether `labels` belong to the same attempt of the same worker."""
    return all(labels.get(key) == own[key] for key in (COORDINATOR, WORKER, ATTEMPT))


def _words(entrypoint: Sequence[str] | None) -> Sequence[str]:
    """An entrypoint as Docker interprets it: `[""]` is none."""
    return entrypoint if entrypoint and any(entrypoint) else ()
