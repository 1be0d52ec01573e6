"""Converts one job's checked keywords into the parts of its plan. Pure; reports invalid values."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, cast

from pipeline.keywords.job_parts import REPORTS_NOT_READ
from pipeline.nodes import Map, Seq, Value, shown, text_of
from pipeline.patterns import compile_pattern
from pipeline.problems import Report
from pipeline.units import DAY, bytes_of, seconds_of
from pipeline.variables import variables_of
from protocol.moa.syntax import OPENING
from protocol.plan import (
    ArtifactsSpec,
    CacheSpec,
    ImageSpec,
    Resources,
    RetrySpec,
    SaveWhen,
    ServiceSpec,
)
from protocol.regular_expressions import BadPattern
from protocol.variables import expand

DEFAULT_TIMEOUT = 3600.0
MAX_DELAY = 7 * DAY
"""Longest `start_in`, as in GitLab."""
LINK_TEXT = re.compile(r"\w[-\w ]*", re.ASCII)
"""Valid texts of a link to artifacts."""
PullPolicy = Literal["always", "if-not-present", "never"]


def texts(value: Value) -> list[str]:
    """A string, or a list of them, as a list (numbers become text)."""
    items = value if isinstance(value, Seq) else [value]
    return [text_of(item) for item in items if isinstance(item, str | int | float)]


def text(value: Value, default: str = "") -> str:
    """A scalar as text; `default` for anything else."""
    return text_of(value) if isinstance(value, str | int | float) else default


class Parts:
    """The parts of one job. `variables` are the job's variables known to the compiler."""

    def __init__(self, name: str, job: Map, variables: Mapping[str, str], report: Report) -> None:
        self._name = name
        self._job = job
        self._variables = variables
        self._report = report

    def _problem(self, message: str, key: str, mend: str = "", *, within: Map | None = None) -> None:
        mark = (within if within is not None else self._job).at(key.rpartition(".")[2])
        self._report.problem(message, mark, f"{self._name}.{key}", mend)

    def _inner(self, key: str) -> Map:
        value = self._job.get(key)
        return value if isinstance(value, Map) else Map(self._job.at(key))

    def commands(self, key: str) -> list[str]:
        """A script's commands; an empty string is no command, but overrides one of `default`."""
        return [] if self._job.get(key) == "" else texts(self._job.get(key))

    def hook(self, key: str) -> list[str]:
        """The commands of one of the job's `hooks`."""
        return [command for command in texts(self._inner("hooks").get(key)) if command]

    def image(self) -> ImageSpec | None:
        """The job's image."""
        image = self._job.get("image")
        if not image:
            return None
        if isinstance(image, str):
            return ImageSpec(name=image)
        return ImageSpec(**self._container(self._inner("image")))

    def services(self) -> list[ServiceSpec]:
        """The job's service containers."""
        found: list[ServiceSpec] = []
        services = self._job.get("services")
        for service in services if isinstance(services, Seq) else ():
            if isinstance(service, str) and service:
                found.append(ServiceSpec(name=service))
            elif isinstance(service, Map):
                aliases = [alias for alias in re.split(r"[,\s]+", text(service.get("alias"))) if alias]
                command = texts(service.get("command")) if service.get("command") is not None else None
                found.append(
                    ServiceSpec(
                        **self._container(service),
                        aliases=aliases,
                        command=command,
                        variables=variables_of(service.get("variables")),
                    )
                )
        return found

    def _container(self, spec: Map) -> dict[str, Any]:
        """Fields shared by images and services."""
        docker = spec.get("docker")
        details = docker if isinstance(docker, Map) else Map(spec.mark)
        entrypoint = spec.get("entrypoint")
        return {
            "name": text(spec.get("name")),
            "entrypoint": texts(entrypoint) if entrypoint is not None else None,
            "user": text(details.get("user")) or None,
            "pull_policy": cast("list[PullPolicy]", texts(spec.get("pull_policy"))),
            "platform": text(details.get("platform")) or None,
        }

    def artifacts(self) -> ArtifactsSpec | None:
        """The job's artifacts."""
        artifacts = self._inner("artifacts")
        if not artifacts:
            return None
        reports = artifacts.get("reports")
        report = reports if isinstance(reports, Map) else Map(artifacts.mark)
        coverage = report.get("coverage_report")
        details = coverage if isinstance(coverage, Map) else Map(report.mark)
        covered = {text(details.get("coverage_format")): texts(details.get("path"))}
        return ArtifactsSpec(
            paths=texts(artifacts.get("paths")),
            exclude=texts(artifacts.get("exclude")),
            when=cast(SaveWhen, artifacts.get("when") or "on_success"),
            expire_in=self._expiry(artifacts),
            name=text(artifacts.get("name")),
            untracked=artifacts.get("untracked") is True,
            dotenv=texts(report.get("dotenv")),
            junit=texts(report.get("junit")),
            expose_as=self._link_text(artifacts),
            annotations=texts(report.get("annotations")),
            codequality=texts(report.get("codequality")),
            cobertura=covered.get("cobertura", []),
            jacoco=covered.get("jacoco", []),
            unread={kind: found for kind in REPORTS_NOT_READ if (found := texts(report.get(kind)))},
        )

    def _link_text(self, artifacts: Map) -> str:
        """The text of the link to the artifacts, by GitLab's rules."""
        link = text(artifacts.get("expose_as"))
        if not link:
            return ""
        if not LINK_TEXT.fullmatch(link):
            mend = "use letters, digits, '-', '_' and spaces, starting with a letter, a digit or '_'"
            self._problem(f"{shown(link)} is not a valid link text", "artifacts.expose_as", mend, within=artifacts)
        paths = texts(artifacts.get("paths"))
        if not paths:
            self._problem("needs `paths` to lead to", "artifacts.expose_as", "add `paths`", within=artifacts)
        if any("*" in path for path in paths):
            self._problem("can't contain '*' with `expose_as`", "artifacts.paths", "name the files", within=artifacts)
        return link

    def _expiry(self, artifacts: Map) -> float | None:
        given = text(artifacts.get("expire_in"))
        written = given if OPENING in given else expand(given, self._variables).strip()
        if not written or written == "never":
            return None
        seconds = seconds_of(written)
        if seconds is None:
            self._problem(f"{shown(written)} is not a duration", "artifacts.expire_in", "`2 weeks`", within=artifacts)
        return seconds

    def caches(self, last_change: Callable[[str], str | None]) -> list[CacheSpec]:
        """The job's caches; one without files caches nothing. `last_change` is that of a file (`History`)."""
        cache = self._job.get("cache")
        found: list[CacheSpec] = []
        for entry in cache if isinstance(cache, Seq) else [cache]:
            spec = self._cache(entry, len(found), last_change) if isinstance(entry, Map) else None
            if spec and (spec.paths or spec.untracked):
                found.append(spec)
        return found

    def _cache(self, cache: Map, index: int, last_change: Callable[[str], str | None]) -> CacheSpec:
        key = cache.get("key")
        files: list[str] = []
        prefix, whole = "", text(key)
        if isinstance(key, Map):
            prefix = text(key.get("prefix"))
            files = self._key_files(key, "files")
            commits = self._key_files(key, "files_commits")
            if bool(files) == bool(commits):
                self._problem("needs `files` or `files_commits`, and not both", "cache.key", within=cache)
            elif commits:
                whole = f"{prefix or index}-{self._version(commits, cache, last_change)}"
        if isinstance(key, str) and "/" in key and OPENING not in key:
            self._report.warning("GitLab rejects a key that contains /", cache.at("key"), f"{self._name}.cache.key")
        return CacheSpec(
            key=whole or "default",
            key_files=files,
            key_prefix=prefix if files else "",
            fallback_keys=texts(cache.get("fallback_keys")),
            paths=texts(cache.get("paths")),
            untracked=cache.get("untracked") is True,
            policy=text(cache.get("policy")) or "pull-push",
            when=cast(SaveWhen, cache.get("when") or "on_success"),
        )

    def _key_files(self, key: Map, kind: str) -> list[str]:
        files = [name for name in texts(key.get(kind)) if name]
        if key.get(kind) is not None and not 1 <= len(files) <= 2:
            self._problem(f"takes one or two files, not {len(files)}", f"cache.key.{kind}", within=key)
        return files

    def _version(self, files: Sequence[str], cache: Map, last_change: Callable[[str], str | None]) -> str:
        """Identifies the last changes of these files; `default` if there are none."""
        changes = sorted({change for name in files if (change := last_change(name))})
        if changes:
            return hashlib.sha256("-".join(changes).encode()).hexdigest()
        self._report.warning(
            f"no commit has changed {' or '.join(files)}, so the key is `default`",
            cache.at("key"),
            f"{self._name}.cache.key.files_commits",
        )
        return "default"

    def retry(self) -> RetrySpec:
        """The job's retry policy."""
        retry = self._job.get("retry")
        if isinstance(retry, int):
            return RetrySpec(max=retry)
        details = self._inner("retry")
        most = details.get("max")
        times = most if isinstance(most, int) else 0
        reasons = texts(details.get("when"))
        if "always" in reasons:
            return RetrySpec(max=times)
        return RetrySpec(max=times, when=reasons, exit_codes=exit_codes(details))

    def timeout(self) -> float:
        """The job's timeout."""
        written = text(self._job.get("timeout"))
        if not written:
            return DEFAULT_TIMEOUT
        seconds = seconds_of(written)
        if not seconds:
            self._problem(f"{shown(written)} is not a duration", "timeout", "write something like `1h 30m`")
        return seconds or DEFAULT_TIMEOUT

    def start_in(self, rule: Map | None) -> float:
        """The delay of a delayed job."""
        holder = rule if rule is not None and rule.get("start_in") is not None else self._job
        written = text(holder.get("start_in"))
        seconds = seconds_of(written) if written else None
        if not written:
            self._problem("a delayed job needs `start_in`", "start_in", "write something like `30 minutes`")
        elif seconds is None or not 0 < seconds <= MAX_DELAY:
            self._problem(f"{shown(written)} is not a duration of at most a week", "start_in", within=holder)
        return seconds or 0.0

    def coverage(self) -> str | None:
        """The regular expression that finds the job's coverage in its log."""
        written = text(self._job.get("coverage"))
        if not written:
            return None
        try:
            compile_pattern(written)
        except BadPattern as error:
            self._problem(str(error), "coverage")
        return written

    def resources(self) -> Resources:
        """The limits under `x-longshore`."""
        limits = self._inner("x-longshore")
        cpus = limits.get("cpus")
        return Resources(
            cpus=float(cpus) if isinstance(cpus, int | float) else None,
            memory=self._size(limits, "memory"),
            log_limit=self._size(limits, "log_limit"),
        )

    def _size(self, limits: Map, key: str) -> int | None:
        written = text(limits.get(key))
        if not written:
            return None
        size = bytes_of(written)
        if not size:
            self._problem(
                f"{shown(written)} is not a size", f"x-longshore.{key}", "write something like `512m`", within=limits
            )
        return size


def check_delay(name: str, job: Map, report: Report) -> None:
    """Reports `start_in` without `when: delayed`, and beside `rules`: GitLab refuses both."""
    rules = job.get("rules")
    if job.get("start_in") is not None and isinstance(rules, Seq):
        report.problem(
            "can't be used together with `rules`", job.at("start_in"), f"{name}.start_in", "write it in a rule"
        )
    elif job.get("start_in") is not None and job.get("when") != "delayed":
        report.problem("needs `when: delayed`", job.at("start_in"), f"{name}.start_in")
    for number, rule in enumerate(rules if isinstance(rules, Seq) else ()):
        if not isinstance(rule, Map) or rule.get("start_in") is None:
            continue
        if (rule.get("when") or job.get("when")) != "delayed":
            report.problem("needs `when: delayed`", rule.at("start_in"), f"{name}.rules[{number}].start_in")


def exit_codes(value: Value) -> list[int]:
    """The `exit_codes` of a mapping."""
    codes = value.get("exit_codes") if isinstance(value, Map) else None
    return [code for code in (codes if isinstance(codes, Seq) else [codes]) if isinstance(code, int)]
