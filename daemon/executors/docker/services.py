"""A job's services: sidecar containers on a private network with GitLab's aliases, ready before the job begins.

As in GitLab, job and services share the project's volume and the volumes that the operator has allowed.
"""

from __future__ import annotations

import logging
import posixpath
import re
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from daemon.executors.base import JobFailed
from daemon.executors.common.environment import Environment, too_long
from daemon.executors.docker.api_client import DockerClient, EngineError, labels_of
from daemon.executors.docker.belongings import ATTEMPT, COORDINATOR, WORKER
from daemon.executors.docker.container_spec import host_config
from daemon.executors.docker.images import Image, Images, login_of, name_explained
from daemon.executors.docker.layers.project_directory import ProjectDirectory
from daemon.executors.docker.logs.stored import read_tail
from daemon.executors.policy import Policy
from protocol.backoff import Backoff
from protocol.job_variables import BUILDS_DIR
from protocol.plan import ServiceSpec
from protocol.statuses import FailureReason
from protocol.variables import expand_all

HEALTH_SECONDS = 120.0
"""Time limit in seconds for a service with a health check to become healthy."""
PORT_SECONDS = 30.0
"""Time limit for a service without one to listen on an exposed port; GitLab Runner's, which then only warns."""
SETTLE_SECONDS = 0.2
"""Seconds that a service without a health check must stay alive before it counts as started."""
FIRST_LOOK, LONGEST_LOOK = 0.05, 0.5
"""Seconds between two checks of a service that is not ready."""
LOG_BYTES = 1 << 20
"""Bytes kept of the end of a service's log."""
LAST_WORDS = 2000
"""Bytes of a failed service's log in its message."""

JOB_ALIAS = "build"
CERTS = "/certs"
"""Directory of docker:dind's TLS keys, unless DOCKER_TLS_CERTDIR sets another; `client` holds the job's."""

PORT = re.compile(r":\d+$")

logger = logging.getLogger(__name__)


def default_aliases(name: str) -> list[str]:
    """A service's names from its image: `host:5000/my/db:1` is `host__my__db` and `host-my-db`."""
    repository = name.partition("@")[0]
    head, slash, last = repository.rpartition("/")
    path = head + slash + last.partition(":")[0]
    registry, slash, rest = path.partition("/")
    path = PORT.sub("", registry) + slash + rest
    return list(dict.fromkeys([path.replace("/", "__"), path.replace("/", "-")]))


class Service(msgspec.Struct, frozen=True):
    """One service of a job, with its container."""

    spec: ServiceSpec
    image: str
    aliases: tuple[str, ...]
    container: str

    @property
    def name(self) -> str:
        """The name of its log: the job's own name for it, if any."""
        own = [alias for alias in self.aliases if alias not in default_aliases(self.image)]
        return (own or self.aliases)[0]


def service_container(prefix: str, index: int) -> str:
    """The name of a service's container."""
    return f"{prefix}-service-{index}"


def shared_volumes(prefix: str, environment: Environment, policy: Policy) -> dict[str, str]:
    """The volumes of an attempt with services: mount points by name.

    A Docker engine in a service needs a privileged container, so its client's keys are shared only there.
    """
    places = {"builds": BUILDS_DIR}
    if policy.privileged and (certs := environment.values.get("DOCKER_TLS_CERTDIR", CERTS)).startswith("/"):
        places["certs"] = posixpath.join(certs, "client")
    taken = {volume.split(":")[1] for volume in policy.volumes}
    return {f"{prefix}-{what}": place for what, place in places.items() if place not in taken}


def plan_services(specs: Sequence[ServiceSpec], environment: Environment, prefix: str) -> list[Service]:
    """The services with their names expanded.

    As in GitLab, one whose aliases are all taken by earlier ones is omitted.
    """
    taken: set[str] = set()
    planned: list[Service] = []
    for index, spec in enumerate(specs):
        image = environment.expand(spec.name)
        own = [environment.expand(alias) for alias in spec.aliases]
        free = [alias for alias in dict.fromkeys([*default_aliases(image), *own]) if alias and alias not in taken]
        if free:
            taken.update(free)
            planned.append(Service(spec, image, tuple(free), service_container(prefix, index)))
    return planned


class Services:
    """The services of one attempt. `warnings` are non-fatal problems, for people."""

    def __init__(
        self,
        engine: DockerClient,
        images: Images,
        services: Sequence[Service],
        network: str,
        labels: Mapping[str, str],
        environment: Environment,
        policy: Policy,
        project: ProjectDirectory,
    ) -> None:
        self.services = services
        self.network = network
        self.volumes = shared_volumes(network, environment, policy)
        self.warnings: list[str] = []
        self._engine = engine
        self._images = images
        self._labels = labels
        self._environment = environment
        self._policy = policy
        self._project = project
        self._found: dict[str, Image] = {}

    @property
    def binds(self) -> list[str]:
        """The volumes in the attempt's containers."""
        return [*(f"{name}:{place}" for name, place in self.volumes.items()), *self._project.binds]

    @property
    def job_aliases(self) -> list[str]:
        """The job's aliases for the services: GitLab's, unless a service has them."""
        return [JOB_ALIAS] if all(JOB_ALIAS not in service.aliases for service in self.services) else []

    def start(self) -> None:
        """Creates network and volumes and starts all services, each unless it exists. Raises JobFailed, EngineError."""
        for name in self.volumes:
            self._engine.call("POST", "/volumes/create", body={"Name": name, "Labels": dict(self._labels)})
        try:
            body = {"Name": self.network, "Driver": "bridge", "CheckDuplicate": True, "Labels": dict(self._labels)}
            self._engine.call("POST", "/networks/create", body=body)
        except EngineError as error:
            if error.status != 409:
                raise
            if not self._owned(labels_of(self._engine.call("GET", f"/networks/{self.network}"))):
                message = f"a network named {self.network}, not created by this worker, exists: remove it"
                raise JobFailed(FailureReason.RUNNER_SYSTEM_FAILURE, message) from error
        for service in self.services:
            spec = service.spec
            with name_explained(spec.name, self._environment.values):
                image = self._images.ensure(service.image, spec.pull_policy, spec.platform, login_of(self._environment))
            self._found[service.container] = image
            self._create(service)
            try:
                self._engine.call("POST", f"/containers/{service.container}/start")
            except EngineError as error:
                raise JobFailed(
                    FailureReason.SERVICE_UNHEALTHY, f"service {service.image!r} can't be started: {error.message}"
                ) from error

    def _create(self, service: Service) -> None:
        spec = service.spec
        strings = [f"{key}={value}" for key, value in self._variables(spec).items()]
        if complaint := too_long(strings):
            raise JobFailed(FailureReason.SCRIPT_FAILURE, f"service {service.image!r}: {complaint}")
        body: dict[str, Any] = {
            "Image": service.image,
            "Env": strings,
            "Labels": {
                **self._labels,
                **self._project.labels,
                "longshore.role": "service",
                "longshore.alias": service.aliases[0],
            },
            "HostConfig": {
                **host_config(self._policy, self.binds, self._environment.values),
                "NetworkMode": self.network,
                "LogConfig": {"Type": "local", "Config": {"max-size": "16m"}},
            },
            "NetworkingConfig": {"EndpointsConfig": {self.network: {"Aliases": list(service.aliases)}}},
        }
        if spec.entrypoint is not None:
            body["Entrypoint"] = spec.entrypoint
        if spec.command is not None:
            body["Cmd"] = spec.command
        if spec.user is not None:
            body["User"] = self._environment.expand(spec.user)
        query = {"name": service.container} | ({"platform": spec.platform} if spec.platform else {})
        self._engine.create(query, body, keep=lambda there: True, owned=self._owned)

    def _owned(self, labels: Mapping[str, str]) -> bool:
        """Whether an object with these labels belongs to this job."""
        return all(labels.get(key) == self._labels[key] for key in (COORDINATOR, WORKER, ATTEMPT))

    def _variables(self, spec: ServiceSpec) -> Mapping[str, str]:
        """The job's variables and the service's own, which may refer to them."""
        if not spec.variables:
            return self._environment.values
        return {**self._environment.values, **expand_all([*self._environment.as_raw(), *spec.variables])}

    def await_ready(self) -> None:
        """Waits for all services at once. Raises JobFailed (service_unhealthy)."""
        failures: list[JobFailed] = []

        def watch(service: Service) -> None:
            try:
                self._await(service)
            except JobFailed as error:
                failures.append(error)
            except Exception as error:
                failures.append(JobFailed(FailureReason.RUNNER_SYSTEM_FAILURE, f"service {service.image!r}: {error}"))

        threads = [threading.Thread(target=watch, args=(service,), daemon=True) for service in self.services]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]

    def _await(self, service: Service) -> None:
        image = self._found[service.container]
        start = time.monotonic()
        backoff = Backoff(FIRST_LOOK, LONGEST_LOOK)
        while True:
            try:
                facts = self._engine.call("GET", f"/containers/{service.container}/json")
            except EngineError as error:
                if error.status == 404:
                    raise self._failed(service, "was removed from outside the job") from error
                raise
            state = facts["State"]
            if not state["Running"] and state["ExitCode"] == 0:
                self.warnings.append(f"service {service.image!r} has ended by itself; the job runs anyway")
                return
            if not state["Running"]:
                raise self._failed(service, f"has ended with exit code {state['ExitCode']}")
            health = (state.get("Health") or {}).get("Status")
            waited = time.monotonic() - start
            listens = not image.has_healthcheck and waited > SETTLE_SECONDS and self._listens(facts, image)
            if health == "healthy" or listens:
                return
            if image.has_healthcheck:
                if waited > HEALTH_SECONDS:
                    raise self._failed(service, f"is {health} after {HEALTH_SECONDS:.0f} s")
            elif waited > PORT_SECONDS:
                self.warnings.append(
                    f"service {service.image!r} does not listen on {'/'.join(map(str, image.ports))} "
                    f"after {PORT_SECONDS:.0f} s; the job runs anyway"
                )
                return
            time.sleep(backoff.pause())

    def _listens(self, facts: Mapping[str, Any], image: Image) -> bool:
        """Whether the service has opened a port, or can't be checked (no port is known, the engine is remote)."""
        address = facts["NetworkSettings"]["Networks"].get(self.network, {}).get("IPAddress")
        if not image.ports or not address or not self._engine.endpoint.local:
            return True
        for port in image.ports:
            try:
                socket.create_connection((address, port), timeout=1.0).close()
            except OSError:
                continue
            return True
        return False

    def _failed(self, service: Service, what: str) -> JobFailed:
        try:
            words = read_tail(self._engine, service.container, LAST_WORDS).decode(errors="replace").strip()
        except EngineError:  # it is being removed
            words = ""
        said = f"; its log ends with: {words}" if words else "; its log is empty"
        return JobFailed(FailureReason.SERVICE_UNHEALTHY, f"service {service.image!r} {what}{said}")

    def logs(self) -> dict[str, bytes]:
        """The end of each service's log, by the service's name."""
        found: dict[str, bytes] = {}
        for service in self.services:
            try:
                found[service.name] = read_tail(self._engine, service.container, LOG_BYTES)
            except EngineError as error:
                if error.status not in (404, 409):  # gone, or being removed
                    logger.warning("the log of service %s can't be read: %s", service.container, error.message)
        return found
