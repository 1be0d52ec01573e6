"""The variables of a job's container and script. Pure: the time is an argument.

In increasing precedence: the worker's own, `predefined`, the coordinator's, the job's, those of
`reports:dotenv` of its dependencies, secrets, those of the run.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

import msgspec

from daemon.executors.base import Slot
from protocol.job_variables import as_path, of_worker, slug, timestamp
from protocol.messages import Assignment, Dependency
from protocol.plan import Variable
from protocol.variables import expand, expand_all

MAX_STRING_BYTES = 128 * 1024 - 1
"""Linux's limit for one string of an environment."""
MAX_ENVIRONMENT_BYTES = 3 << 19
"""Limit of all variables: the rest of Linux's 2 MiB when scripts and workspace are in the environment too."""
POINTER_BYTES = 9
MOST_BYTES_OF_A_CHARACTER = 4
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
"""Architectures that GitLab Runner names differently from Linux."""


class Environment(msgspec.Struct, frozen=True):
    """All variables of a job, expanded. `files` are the contents of file variables, by path."""

    values: Mapping[str, str]
    files: Mapping[str, str]

    def expand(self, text: str) -> str:
        """`text` with the job's variables expanded."""
        return expand(text, self.values)

    def as_raw(self) -> list[Variable]:
        """All variables, marked as not to be expanded again."""
        return [Variable(key=key, value=value, raw=True) for key, value in self.values.items()]

    def changes(self, later: Environment) -> dict[str, str]:
        """New or changed variables in `later`."""
        return {key: value for key, value in later.values.items() if self.values.get(key) != value}

    def too_long(self) -> str | None:
        """The reason why Linux would start no program with the variables, if any."""
        return too_long(f"{key}={value}" for key, value in self.values.items())


def too_long(strings: Iterable[str]) -> str | None:
    """The reason why Linux would start no program with these `KEY=VALUE` strings, if any."""
    sizes = {string: len(string) for string in strings}
    if MOST_BYTES_OF_A_CHARACTER * sum(sizes.values()) > MAX_STRING_BYTES:
        sizes = {string: len(string.encode("utf-8", "surrogateescape")) for string in sizes}
    for string, size in sizes.items():
        if size > MAX_STRING_BYTES:
            return f"variable {string.partition('=')[0]} is longer than Linux's limit of 128 KiB"
    total = sum(sizes.values()) + POINTER_BYTES * len(sizes)
    if total > MAX_ENVIRONMENT_BYTES:
        longest = max(sizes, key=lambda string: sizes[string]).partition("=")[0]
        return (
            f"its variables have {total} bytes together, at most {MAX_ENVIRONMENT_BYTES}: Linux starts no program with "
            f"more (the longest is {longest})"
        )
    return None


def dotenv_of(dependencies: Iterable[Dependency]) -> list[Variable]:
    """The variables from dependencies' dotenv reports; a later dependency's wins. They are not expanded."""
    merged: dict[str, str] = {}
    for dependency in dependencies:
        merged.update(dependency.variables)
    return [Variable(key=key, value=value, raw=True) for key, value in merged.items()]


class Start(msgspec.Struct, frozen=True):
    """A job's start: when its gate opens, and in which slot; None as long as that is unknown."""

    at: datetime | None = None
    slot: Slot | None = None

    def variables(self) -> dict[str, str]:
        """The variables that depend on it."""
        values: dict[str, str] = {}
        if self.at is not None:
            values["CI_JOB_STARTED_AT"] = timestamp(self.at)
            values["CI_JOB_STARTED_AT_SLUG"] = slug(timestamp(self.at))
        if self.slot is not None:
            values["CI_CONCURRENT_ID"] = str(self.slot.number)
            values["CI_CONCURRENT_PROJECT_ID"] = str(self.slot.of_project)
        return values


NOT_STARTED = Start()


def job_environment(
    assignment: Assignment,
    worker: str,
    image: str,
    dotenv: Iterable[Variable] = (),
    start: Start = NOT_STARTED,
    network: str = "",
    labels: Sequence[str] = (),
) -> Environment:
    """A job's variables; before its dependencies have ended, without their `dotenv` and without a start.

    `network` is the name of the job's own network, if it has one; `labels` are the worker's.
    """
    arch = ARCHITECTURES.get(platform.machine(), platform.machine())
    fixed = {"CI_RUNNER_EXECUTABLE_ARCH": f"linux/{arch}", **start.variables()}
    if network:
        fixed["CI_BUILD_NETWORK_NAME"] = network
    own = [
        *of_worker(assignment.job, worker, image, assignment.project_dir, labels),
        *(Variable(key=key, value=value, raw=True) for key, value in fixed.items()),
    ]
    files: dict[str, str] = {}

    def placed(variable: Variable) -> Variable:
        path = as_path(variable, assignment.project_dir)
        if variable.file:
            files[path.value] = variable.value
        return path

    layers = (
        own,
        assignment.predefined,
        assignment.variables,
        assignment.job.variables,
        dotenv,
        assignment.secrets,
        assignment.run_variables,
    )
    values = expand_all(placed(variable) for layer in layers for variable in layer)
    return Environment(values, {path: content for path, content in files.items() if path in values.values()})
