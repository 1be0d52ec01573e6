"""Evaluates `rules`, `only` and `except`. Knows no plan; queries git for files."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol

from pipeline.expression import BadExpression, parse
from pipeline.includes.fetching import OtherProjects
from pipeline.includes.sources import Source
from pipeline.nodes import Map, Mark, Seq, Value
from pipeline.patterns import bare_pattern, compile_pattern, glob_pattern, is_glob
from pipeline.predefined_variables import EXTERNAL_PULL_REQUEST, MERGE_REQUEST, OF_A_PUSH
from pipeline.problems import Report
from protocol.errors import LongshoreError
from protocol.regular_expressions import BadPattern
from protocol.variables import expand, references

MAX_COMPARISONS = 5_000_000
"""Maximum number of paths times patterns of one rule, which bounds the time."""
SOURCES: Mapping[str, tuple[str, ...]] = {
    "api": ("api",),
    "chat": ("chat",),
    "external": ("external",),
    "external_pull_requests": ("external_pull_request_event",),
    "merge_requests": (MERGE_REQUEST,),
    "pipelines": ("pipeline",),
    "pushes": ("push",),
    "schedules": ("schedule",),
    "triggers": ("trigger",),
    "web": ("web",),
}
"""Keywords of `only` and `except` for a pipeline's source, with the `CI_PIPELINE_SOURCE` of each."""


class Known(NamedTuple):
    """Variables before a run: as `written`, which `if` evaluates, and `expanded`."""

    written: Mapping[str, str]
    expanded: Mapping[str, str]


class History(Protocol):
    """Where a project's changes come from: its repository, or the snapshot of a parent pipeline."""

    def changed_files(self, compare_to: str | None) -> set[str] | None:
        """See `Repository.changed_files`."""

    def last_change(self, path: str) -> str | None:
        """See `Repository.last_change`."""


class Conditions:
    """Evaluates conditions for one project. Problems go into the report; an invalid condition does not hold."""

    def __init__(self, history: History, source: Source, projects: OtherProjects, report: Report) -> None:
        self._history = history
        self._source = source
        self._projects = projects
        self._report = report
        self._existing: dict[Source, set[str]] = {}
        self._changes: dict[str | None, set[str] | None] = {}

    def first_match(self, rules: Value, known: Known, key: str, source: Source | None = None) -> tuple[int, Map] | None:
        """The first matching rule and its number; the syntax of later rules is checked too.

        `source` has the files for `exists`; default: the project.
        """
        found: tuple[int, Map] | None = None
        for number, rule in enumerate(rules if isinstance(rules, Seq) else []):
            if not isinstance(rule, Map):
                continue
            text, place = rule.get("if"), f"{key}[{number}]"
            holds = not isinstance(text, str) or self.expression(text, known.written, rule.at("if"), f"{place}.if")
            if found is None and holds and self._files_hold(rule, known.expanded, place, source or self._source):
                found = number, rule
        return found

    def _files_hold(self, rule: Map, variables: Mapping[str, str], key: str, source: Source) -> bool:
        changes, exists = rule.get("changes"), rule.get("exists")
        if changes is not None and not self._changed(changes, variables, rule.at("changes"), f"{key}.changes"):
            return False
        return exists is None or self._exists(exists, variables, rule.at("exists"), f"{key}.exists", source)

    def expression(self, text: str, variables: Mapping[str, str], mark: Mark, key: str) -> bool:
        """Whether a `rules:if` expression holds."""
        try:
            return parse(text).holds(variables)
        except BadExpression as error:
            self._report.problem(f"{text.strip()[:100]!r} is not a valid expression: {error}", mark, key)
            return False

    def _changed(self, value: Value, variables: Mapping[str, str], mark: Mark, key: str) -> bool:
        compare_to = value.get("compare_to") if isinstance(value, Map) else None
        base = expand(compare_to, variables) if isinstance(compare_to, str) else target_branch(variables)
        if base is None and not is_push_of_a_branch(variables):
            return True
        try:
            if base not in self._changes:
                self._changes[base] = self._history.changed_files(base)
        except LongshoreError as error:
            self._report.problem(str(error), mark, key if compare_to is None else f"{key}.compare_to")
            self._changes[base] = set()
        changed = self._changes[base]
        if changed is None:
            return True
        return self._any_matches(value, changed, variables, mark, key)

    def _exists(self, value: Value, variables: Mapping[str, str], mark: Mark, key: str, source: Source) -> bool:
        try:
            files = self._files_for(value, variables, source)
        except LongshoreError as error:
            self._report.problem(str(error), mark, key)
            return False
        return self._any_matches(value, files, variables, mark, key)

    def _files_for(self, value: Value, variables: Mapping[str, str], source: Source) -> set[str]:
        """Paths of all files and, with a trailing slash, of all directories."""
        project = value.get("project") if isinstance(value, Map) else None
        if not isinstance(project, str):
            if source not in self._existing:
                self._existing[source] = _with_folders(source.files)
            return self._existing[source]
        name = expand(project, variables)
        ref = value.get("ref") if isinstance(value, Map) else None
        other = self._projects.project(name, expand(ref, variables) if isinstance(ref, str) else None)
        self._projects.record(other)
        return _with_folders(other.files)

    def _any_matches(self, value: Value, paths: set[str], variables: Mapping[str, str], mark: Mark, key: str) -> bool:
        """Whether a path matches a list of globs, or a mapping with `paths` and `regexp`."""
        globs = _texts(value.get("paths") if isinstance(value, Map) else value)
        regexp = value.get("regexp") if isinstance(value, Map) else None
        if len(globs) * len(paths) > MAX_COMPARISONS:
            self._report.problem(f"compares {len(globs)} patterns with {len(paths)} files", mark, key)
            return False
        try:
            patterns = [bare_pattern(regexp)] if isinstance(regexp, str) else []
            if any(pattern.found_in(path) for pattern in patterns for path in paths):
                return True
            return any(_means(_expanded(glob, variables), paths) for glob in globs)
        except BadPattern as error:
            self._report.problem(str(error), mark, key)
            return False

    def allowed_by_policies(self, job: Map, known: Known, key: str, *, has_workflow_rules: bool) -> bool:
        """Whether `only` and `except` admit a job without `rules`.

        An `only` without refs applies to branches and tags; so does a missing `only`, unless the workflow has rules.
        """
        only, excluded = job.get("only"), job.get("except")
        included = self._clauses(only, known, job.at("only"), f"{key}.only")
        if (only is None and not has_workflow_rules) or (isinstance(only, Map) and only.get("refs") is None):
            included.append(self._ref_matches(["branches", "tags"], known.written, job.mark, key))
        return all(included) and not any(self._clauses(excluded, known, job.at("except"), f"{key}.except"))

    def _clauses(self, policy: Value, known: Known, mark: Mark, key: str) -> list[bool]:
        if policy is None:
            return []
        if not isinstance(policy, Map):
            return [self._ref_matches(_texts(policy), known.written, mark, key)]
        held: list[bool] = []
        for name, value, where in policy.entries():
            if value is None:
                continue
            if name == "refs":
                held.append(self._ref_matches(_texts(value), known.written, where, key))
            elif name == "variables":
                texts = [self.expression(text, known.written, where, f"{key}.variables") for text in _texts(value)]
                held.append(any(texts))
            elif name == "changes":
                held.append(self._changed(value, known.expanded, where, f"{key}.changes"))
            else:
                held.append(False)
        return held

    def _ref_matches(self, words: list[str], variables: Mapping[str, str], mark: Mark, key: str) -> bool:
        source = variables.get("CI_PIPELINE_SOURCE", "push")
        tag = variables.get("CI_COMMIT_TAG")
        ref = tag or variables.get("CI_COMMIT_REF_NAME") or variables.get("CI_COMMIT_BRANCH") or ""
        merge_request = source == MERGE_REQUEST
        for word in words:
            name, _, path = word.partition("@") if not word.startswith("/") else _split_pattern(word)
            if path and path != variables.get("CI_PROJECT_PATH"):
                continue
            if name == "branches":
                matched = not tag and not merge_request
            elif name == "tags":
                matched = bool(tag)
            elif name in SOURCES:
                matched = source in SOURCES[name]
            elif name.startswith("/"):
                try:
                    matched = not merge_request and compile_pattern(name).found_in(ref)
                except BadPattern as error:
                    self._report.problem(str(error), mark, key)
                    matched = False
            else:
                matched = name == ref and not merge_request
            if matched:
                return True
        return False


def target_branch(variables: Mapping[str, str]) -> str | None:
    """The target branch of a merge or pull request pipeline; None for others."""
    if target := variables.get("CI_MERGE_REQUEST_TARGET_BRANCH_NAME"):
        return target
    if variables.get("CI_PIPELINE_SOURCE") == EXTERNAL_PULL_REQUEST:
        return variables.get("CI_EXTERNAL_PULL_REQUEST_TARGET_BRANCH_NAME") or variables.get("CI_DEFAULT_BRANCH")
    return None


def is_push_of_a_branch(variables: Mapping[str, str]) -> bool:
    """Whether changes can be computed; in other pipelines every path counts as changed, as in GitLab."""
    return not variables.get("CI_COMMIT_TAG") and variables.get("CI_PIPELINE_SOURCE", "push") in OF_A_PUSH


def _split_pattern(word: str) -> tuple[str, str, str]:
    """Splits `/regex/@group/project` into its parts; the expression may contain an @ itself."""
    end = word.rfind("/@")
    return (word, "", "") if end <= 0 else (word[: end + 1], "@", word[end + 2 :])


def _with_folders(files: Iterable[str]) -> set[str]:
    paths = set(files)
    folders = {parent for name in paths if (parent := posixpath.dirname(name))}
    while folders:
        paths |= {f"{folder}/" for folder in folders}
        folders = {parent for folder in folders if (parent := posixpath.dirname(folder))}
    return paths


def _expanded(glob: str, variables: Mapping[str, str]) -> str:
    """The glob with all known variables expanded; any other `$` is part of the path."""
    return expand(glob, variables, keep=references(glob) - variables.keys())


def _means(path: str, known: set[str]) -> bool:
    """Whether a path or glob equals or matches one of the known paths."""
    if not is_glob(path):
        return path in known
    pattern = glob_pattern(path)
    return any(pattern.matches(name) for name in known)


def _texts(value: Value) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [item for item in value if isinstance(item, str)] if isinstance(value, Seq) else []
