"""Provides a job's image on the engine, according to its pull policy, and its properties."""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import msgspec

from daemon.executors.base import JobFailed
from daemon.executors.common.environment import Environment
from daemon.executors.docker.api_client import DockerClient, EngineError
from daemon.executors.policy import Policy
from protocol.statuses import FailureReason
from protocol.variables import expand, references

DEFAULT_POLICY = "if-not-present"
"""GitLab's is `always`; on private machines, locally built images are as common as a registry's."""
LOGIN = "DOCKER_AUTH_CONFIG"
"""A job's variable with logins at registries, in the format of Docker's own configuration file."""
DEPENDENCY_PROXY = "/dependency_proxy/containers/"
"""Part of the name of an image that comes through a GitLab server."""
OF_THE_PROXY = (
    "it comes through the dependency proxy of the GitLab server: `docker login` there on the worker's host, or take it "
    "from Docker Hub with --var CI_DEPENDENCY_PROXY_GROUP_IMAGE_PREFIX=docker.io (or ..._DIRECT_GROUP_IMAGE_PREFIX)"
)
PULL_SILENCE = 300.0
"""Seconds without data from the registry after which a pull fails."""


class Image(msgspec.Struct, frozen=True):
    """An image on the engine. `ports` are its exposed TCP ports."""

    name: str
    id: str
    user: str
    entrypoint: tuple[str, ...]
    ports: tuple[int, ...]
    has_healthcheck: bool


class Images:
    """The images of one engine. Thread-safe; each image has one pull at a time."""

    def __init__(self, engine: DockerClient, policy: Policy) -> None:
        self._engine = engine
        self._policy = policy
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def ensure(self, name: str, policies: Sequence[str], platform: str | None, login: str = "") -> Image:
        """The image, pulled if necessary. The policies are tried in order until one succeeds. `login` is the job's
        own (`login_of`).

        Raises JobFailed with the engine's own message.
        """
        self._policy.check_image(name)
        reasons: list[str] = []
        for policy in policies or [DEFAULT_POLICY]:
            try:
                if policy != "always" and (image := self._inspect(name)):
                    return image
                if policy == "never":
                    reasons.append("not on this worker, and pull_policy: never")
                    continue
                with self._locks[name]:
                    if policy != "always" and (image := self._inspect(name)):
                        return image
                    self._engine.patiently(partial(self._pull, name, platform, login))
                if image := self._inspect(name):
                    return image
                reasons.append("missing after the pull")
            except EngineError as error:
                reasons.append(error.message)
        raise JobFailed(FailureReason.IMAGE_PULL_FAILURE, f"image {name!r}: {'; '.join(dict.fromkeys(reasons))}")

    def _inspect(self, name: str) -> Image | None:
        try:
            facts = self._engine.call("GET", f"/images/{name}/json")
        except EngineError as error:
            if error.status == 404:
                return None
            raise
        config: Mapping[str, Any] = facts.get("Config") or {}
        exposed = (port.partition("/") for port in config.get("ExposedPorts") or {})
        return Image(
            name=name,
            id=facts["Id"],
            user=config.get("User") or "",
            entrypoint=tuple(config.get("Entrypoint") or ()),
            ports=tuple(sorted(int(port) for port, _, kind in exposed if kind == "tcp" and port.isdigit())),
            has_healthcheck=_checks(config.get("Healthcheck")),
        )

    def _pull(self, name: str, platform: str | None, login: str) -> None:
        from docker.utils import parse_repository_tag  # the SDK takes 45 ms to import; few jobs need a pull

        repository, tag = parse_repository_tag(name)
        query = {"fromImage": repository, "tag": tag or "latest"} | ({"platform": platform} if platform else {})
        try:
            with self._engine.lines("/images/create", query, _credentials(repository, login), PULL_SILENCE) as lines:
                for line in lines:
                    if error := json.loads(line).get("error"):
                        raise EngineError(500, str(error))
        except TimeoutError as error:
            raise EngineError(504, f"no data from the registry for {PULL_SILENCE:.0f} s") from error


def unset_in(name: str, values: Mapping[str, str]) -> str:
    """A message about the variables without a value in an image's raw `name`; "" if all have one."""
    unset = sorted(f"${variable}" for variable in references(name) if not values.get(variable))
    return f"{', '.join(unset)} not set; give a value with --var" if unset else ""


def no_image(name: str, values: Mapping[str, str]) -> JobFailed:
    """The failure of a job without an image, or with one that expands to nothing."""
    mend = "set `image:` in it, `default: {image: ...}` for all jobs, or --default-image for the run"
    if unset := unset_in(name, values):
        mend = f"in {name!r}: {unset}, or set --default-image for the run"
    return JobFailed(FailureReason.RUNNER_SYSTEM_FAILURE, f"the job has no image: {mend}")


@contextmanager
def name_explained(name: str, values: Mapping[str, str]) -> Iterator[None]:
    """Adds to an image's failure the variables in its raw `name` without a value, or how to avoid GitLab's proxy."""
    try:
        yield
    except JobFailed as error:
        unset = unset_in(name, values)
        if unset:
            raise JobFailed(error.reason, f"{error.message} (in {name!r}: {unset})") from error
        if DEPENDENCY_PROXY in expand(name, values):
            raise JobFailed(error.reason, f"{error.message} ({OF_THE_PROXY})") from error
        raise


def login_of(environment: Environment) -> str:
    """The content of the job's variable DOCKER_AUTH_CONFIG, which may be one of type file; empty without one."""
    value = environment.values.get(LOGIN, "")
    return environment.files.get(value, value)


def _credentials(repository: str, login: str = "") -> dict[str, str]:
    """The registry's login header: from the job's `login`, else from Docker's own configuration files and credential
    helpers.
    """
    import docker.auth
    from docker.errors import DockerException

    try:
        registry, _ = docker.auth.resolve_repository_name(repository)
        found = _own_login(registry, login) if login else None
        found = found or docker.auth.load_config().resolve_authconfig(registry)
    except DockerException as error:
        raise EngineError(401, f"credentials for {repository!r}: {error}") from error
    return {"X-Registry-Auth": docker.auth.encode_header(found).decode()} if found else {}


def _own_login(registry: str, login: str) -> dict[str, Any] | None:
    """The entry for a registry in a job's own configuration. Only its `auths`: a helper would be a program that the job
    has chosen, on the worker's host. Messages do not quote it: it is a secret.
    """
    import docker.auth
    from docker.errors import InvalidConfigFile

    try:
        auths = json.loads(login)["auths"]
        found: dict[str, Any] | None = docker.auth.load_config(config_dict={"auths": auths}).resolve_authconfig(
            registry
        )
    except (ValueError, TypeError, KeyError, AttributeError, InvalidConfigFile):
        mend = 'it is JSON such as {"auths": {"HOST:PORT": {"auth": "Base64 of USER:PASSWORD"}}}'
        raise EngineError(401, f"the job's variable {LOGIN} can't be used: {mend}") from None
    return found


def _checks(healthcheck: Mapping[str, Any] | None) -> bool:
    test = (healthcheck or {}).get("Test") or []
    return bool(test) and test[0] != "NONE"
