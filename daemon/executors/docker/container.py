"""State of one attempt's container, shared by the steps of its sandbox: identity, and this daemon's knowledge of it.

A daemon that has only found the container knows less; each field documents its value then.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any

from daemon.executors.base import JobFailed
from daemon.executors.common.environment import NOT_STARTED, Environment, Start, dotenv_of, job_environment
from daemon.executors.common.script_limits import is_true
from daemon.executors.docker.api_client import GONE, EngineError
from daemon.executors.docker.gate import Gate
from daemon.executors.docker.layers.project_directory import ProjectDirectory
from daemon.executors.docker.logs import stored
from daemon.executors.docker.logs.multiplexed import ScriptEnd
from daemon.executors.docker.networks.lease import NetworkLease
from daemon.executors.docker.services import Services, plan_services
from daemon.executors.docker.shared import SharedResources
from daemon.executors.docker.workspace_files import SandboxFiles
from daemon.tar_stream import BadArchive
from protocol.errors import EngineUnavailable, LongshoreError, reason_of
from protocol.messages import Assignment, Dependency
from protocol.plan import ImageSpec
from protocol.statuses import FailureReason

NO_UMASK = "FF_DISABLE_UMASK_FOR_DOCKER_EXECUTOR"
"""The variable that keeps the repository's file modes; without it everybody may write to the files."""
LAST_WORDS = 2000
"""Bytes of the log in the message about a container whose script did not begin."""


class JobContainer:
    """The container of one attempt. `warnings` are non-fatal problems, for people.

    `found` is the id of a found one: names can change, or belong to another container.
    """

    def __init__(
        self,
        site: SharedResources,
        assignment: Assignment,
        name: str,
        labels: Mapping[str, str],
        found: str | None = None,
    ) -> None:
        self.site = site
        self.engine = site.engine
        self.assignment = assignment
        self.name = name
        self.labels = labels
        self.warnings: list[str] = []
        self.spec = assignment.job.image or ImageSpec(name=assignment.default_image or "")
        self.early = self.environment([])  # without dependencies' variables: the container's own
        self.final: Environment | None = None  # the script's, once released
        self.fresh = False  # created by this daemon and not started yet
        self.entrypoint: Sequence[str] = ()  # once known: from its creation, or before its start
        self.released_at: float | None = None  # monotonic; set by the releasing daemon
        self.killed = False
        self.has_tools = False  # those for people: `longshore-script`
        self.ends: SimpleQueue[ScriptEnd | int | Exception] = SimpleQueue()  # from the log, from the engine
        self.id: str | None = None
        self.found = found is not None
        opened = not is_true(self.early.values.get(NO_UMASK, ""))
        self.files = SandboxFiles(site, assignment, name, opened=opened)
        self.project = ProjectDirectory(site, assignment, name, labels, opened=opened)
        self.network = NetworkLease(site.engine, site.networks, name)
        self.gate = Gate(site.engine, name, self.ends.put)
        if found is not None:
            self.adopt(found)

    def adopt(self, container: str) -> None:
        """Sets the attempt's container, by its id."""
        self.id = self.network.id = self.files.id = self.gate.container = container

    def renew(self) -> None:
        """From now on, the attempt has no container yet: the one that it had is gone."""
        self.id = self.files.id = self.files.owner = None
        self.gate.container = self.name
        self.network = NetworkLease(self.engine, self.site.networks, self.name)

    @property
    def key(self) -> str:
        """The container's name or id for the engine."""
        return self.id or self.name

    # variables

    def environment(self, dependencies: Sequence[Dependency], start: Start = NOT_STARTED) -> Environment:
        """The job's variables, with those from the `dependencies` that have ended."""
        network = self.name if self.assignment.job.services else ""
        site, variables = self.site, dotenv_of(dependencies)
        return job_environment(self.assignment, site.worker, self.spec.name, variables, start, network, site.labels)

    def last_environment(self) -> Environment:
        """The script's environment, as far as known to a daemon that did not release it."""
        if self.final is None:
            start = Start(None, self.site.slot(self.name))
            self.final = self.environment(self.assignment.dependencies, start)
        return self.final

    def services(self, environment: Environment) -> Services | None:
        """The job's services; None if it has none."""
        planned = plan_services(self.assignment.job.services, environment, self.name)
        if not planned:
            return None
        site = self.site
        return Services(
            self.engine, site.images, planned, self.name, self.labels, environment, site.policy, self.project
        )

    # the engine

    def inspect(self) -> Mapping[str, Any]:
        """The engine's description of it. Raises EngineError, EngineUnavailable."""
        facts: Mapping[str, Any] = self.engine.call("GET", f"/containers/{self.key}/json")
        return facts

    def kill(self) -> None:
        """SIGKILL to the whole container; no error if it has ended. Raises JobFailed."""
        self.killed = True
        with self.failures():
            try:
                self.engine.call("POST", f"/containers/{self.key}/kill")
            except EngineError as error:
                if error.status not in (404, 409):
                    raise

    def last_words(self) -> str:
        """The output of a container whose script did not begin, and a possible remedy."""
        said = stored.read_tail(self.engine, self.key, LAST_WORDS).decode(errors="replace").strip()
        words = [f"its output: {said}"] if said else []
        if self.entrypoint:
            words.append(
                f"the image's entrypoint {json.dumps(list(self.entrypoint))} must run its arguments or a shell that "
                'reads its stdin; to bypass it, give the job `image: {name: ..., entrypoint: [""]}`'
            )
        return "; ".join(words) or "it has no output"

    @contextmanager
    def failures(self, problem: str = "") -> Iterator[None]:
        """Turns engine and host errors into the job's result: a system failure. `problem` is what the host prevents."""
        try:
            yield
        except EngineError as error:
            why = "its container was removed from outside the job" if self._is_gone(error) else f"Docker: {error}"
            raise JobFailed(FailureReason.RUNNER_SYSTEM_FAILURE, why) from error
        except OSError as error:
            message = f"{problem}: {reason_of(error)}" if problem else reason_of(error)
            raise JobFailed(FailureReason.RUNNER_SYSTEM_FAILURE, message) from error
        except (EngineUnavailable, BadArchive, *GONE) as error:
            raise JobFailed(FailureReason.RUNNER_SYSTEM_FAILURE, str(error) or repr(error)) from error
        except LongshoreError as error:  # a bad file pattern, an unbounded variable
            raise JobFailed(FailureReason.SCRIPT_FAILURE, str(error)) from error

    def _is_gone(self, error: EngineError) -> bool:
        """Whether an error means that the container is gone, or being removed."""
        named = self.id is not None and error.status == 404 and self.id in error.message
        return named or (error.status == 409 and "marked for removal" in error.message)


def words_of(entrypoint: Sequence[str] | None) -> Sequence[str]:
    """An entrypoint as Docker interprets it: `[""]` is none."""
    return entrypoint if entrypoint and any(entrypoint) else ()
