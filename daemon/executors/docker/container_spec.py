"""Builds the request body that creates a job's container. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from daemon.executors.base import JobFailed
from daemon.executors.common.environment import Environment
from daemon.executors.common.script import Scripts, entry_command, entry_environment
from daemon.executors.common.script_limits import is_true
from daemon.executors.policy import Policy
from protocol.messages import Assignment
from protocol.plan import ImageSpec
from protocol.statuses import FailureReason

NANOS = 1_000_000_000
"""The engine counts CPUs in billionths."""


WITH_INIT = "FF_USE_INIT_WITH_DOCKER_EXECUTOR"
"""The variable that has the engine's own init run as the first process of a job's containers."""


def host_config(policy: Policy, binds: Sequence[str], variables: Mapping[str, str]) -> dict[str, Any]:
    """The part of a job's or service's HostConfig that confines its container; `binds` are its own volumes, `variables`
    those of the job.
    """
    host: dict[str, Any] = {"PidsLimit": policy.pids}
    if is_true(variables.get(WITH_INIT, "")):
        host["Init"] = True
    if policy.privileged:
        host["Privileged"] = True
    elif not policy.new_privileges:
        host["SecurityOpt"] = ["no-new-privileges"]
    if volumes := [*policy.volumes, *binds]:
        host["Binds"] = volumes
    return host


def job_container(
    assignment: Assignment,
    image: ImageSpec,
    environment: Environment,
    *,
    network: str,
    labels: Mapping[str, str],
    log_driver: Mapping[str, object],
    policy: Policy,
    scripts: Scripts,
    entrypoint: Sequence[str],
    binds: Sequence[str] = (),
    aliases: Sequence[str] = (),
    workspace: str | None = None,
    opens: bool = False,
) -> dict[str, Any]:
    """A job's container: held at its gate once started, its stdin open for good.

    The image's entrypoint stays in place unless the job overrides it; it gets our shell as its arguments, as in GitLab.
    `entrypoint` is the resulting one. `binds` are its own volumes, `aliases` its names in `network`. `workspace` is
    one that the container unpacks itself, as text; `opens`: it makes the project's directory writable for all its
    users.
    Raises JobFailed for variables that Linux would not start.
    """
    resources = assignment.job.resources
    if complaint := environment.too_long():
        raise JobFailed(FailureReason.SCRIPT_FAILURE, complaint)
    entry = entry_environment(
        scripts,
        directory=assignment.project_dir,
        workspace=workspace,
        opens=opens,
        stays=assignment.keep is not None,
    )
    host: dict[str, Any] = {
        **host_config(policy, binds, environment.values),
        "NetworkMode": network,
        "LogConfig": dict(log_driver),
    }
    if resources.cpus:
        host["NanoCpus"] = round(resources.cpus * NANOS)
    if resources.memory:
        host |= {"Memory": resources.memory, "MemorySwap": resources.memory}
    body: dict[str, Any] = {
        "Image": environment.expand(image.name),
        "Cmd": entry_command(entrypoint),
        "Env": [f"{key}={value}" for key, value in {**environment.values, **entry}.items()],
        "Labels": dict(labels),
        "WorkingDir": assignment.project_dir,
        "OpenStdin": True,
        "HostConfig": host,
    }
    if aliases:
        body["NetworkingConfig"] = {"EndpointsConfig": {network: {"Aliases": list(aliases)}}}
    if image.entrypoint is not None:
        body["Entrypoint"] = image.entrypoint
    if image.user:
        body["User"] = environment.expand(image.user)
    return body


def start_hint(error: str, environment: Environment) -> str:
    """A hint for an engine's `error` at the start of a job's container; "" if it is unrelated."""
    if '"sh"' not in error:
        return ""
    path = environment.values.get("PATH")
    if path is None:
        return " (a job's image needs a shell)"
    mend = "write `export PATH=...` in `before_script` instead"
    return f" (the job's variable PATH, {path[:200]!r}, replaces the image's and can't refer to it: {mend})"
