"""Decides by `rules`, `only` and `except` whether something is in a pipeline. Knows no plan; asks git for files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from coordinator.pipelinefile.expression import BadExpression, parse
from coordinator.pipelinefile.patterns import BadPattern, bare_pattern, compile_pattern, glob_pattern, is_glob
from coordinator.pipelinefile.report import Report, nearest
from coordinator.pipelinefile.repository import Repository
from coordinator.pipelinefile.sources import WorkTree, source_of
from coordinator.pipelinefile.tree import Map, Mark, Seq, Value
from protocol.errors import LongshoreError
from protocol.variables import expand

MAX_COMPARISONS = 5_000_000
"""Paths times patterns of one rule; beyond that nobody waits for the answer."""
SOURCES: Mapping[str, tuple[str, ...]] = {
    "api": ("api",),
    "chat": ("chat",),
    "external": ("external",),
    "external_pull_requests": ("external_pull_request_event",),
    "merge_requests": ("merge_request_event",),
    "pipelines": ("pipeline",),
    "pushes": ("push",),
    "schedules": ("schedule",),
    "triggers": ("trigger",),
    "web": ("web",),
}
"""Words of `only` and `except` for where a pipeline comes from, and `CI_PIPELINE_SOURCE` for each."""


class Conditions:
    """Evaluates conditions for one project. Problems go into the report, and what is wrong does not hold."""

    def __init__(self, repository: Repository, projects: Mapping[str, Path], report: Report) -> None:
        self._repository = repository
        self._projects = projects
        self._report = report
        self._changes: dict[str | None, set[str] | None] = {}

    def first_match(self, rules: Value, variables: Mapping[str, str], key: str) -> tuple[int, Map] | None:
        """The first rule that holds, with its number; every rule's syntax is checked, also below it."""
        found: tuple[int, Map] | None = None
        for number, rule in enumerate(rules if isinstance(rules, Seq) else []):
            if isinstance(rule, Map) and self.holds(rule, variables, f"{key}[{number}]") and found is None:
                found = number, rule
        return found

    def holds(self, rule: Map, variables: Mapping[str, str], key: str) -> bool:
        """Whether `if`, `changes` and `exists` of a rule all hold; what is absent does."""
        text = rule.get("if")
        if isinstance(text, str) and not self.expression(text, variables, rule.at("if"), f"{key}.if"):
            return False
        for name, condition in (("changes", self._changed), ("exists", self._exists)):
            value = rule.get(name)
            if value is not None and not condition(value, variables, rule.at(name), f"{key}.{name}"):
                return False
        return True

    def expression(self, text: str, variables: Mapping[str, str], mark: Mark, key: str) -> bool:
        """Whether a `rules:if` expression holds."""
        try:
            return parse(text).holds(variables)
        except BadExpression as error:
            self._report.problem(f"{text.strip()[:100]!r} is no valid expression: it {error}", mark, key)
            return False

    def _changed(self, value: Value, variables: Mapping[str, str], mark: Mark, key: str) -> bool:
        compare_to = value.get("compare_to") if isinstance(value, Map) else None
        base = expand(compare_to, variables) if isinstance(compare_to, str) else None
        try:
            if base not in self._changes:
                self._changes[base] = self._repository.changed_files(base)
        except LongshoreError as error:
            self._report.problem(str(error), mark, f"{key}.compare_to")
            self._changes[base] = set()
        changed = self._changes[base]
        if changed is None:
            return True
        return self._any_matches(value, changed, variables, mark, key)

    def _exists(self, value: Value, variables: Mapping[str, str], mark: Mark, key: str) -> bool:
        try:
            files = self._files_for(value, variables)
        except LongshoreError as error:
            self._report.problem(str(error), mark, key)
            return False
        return self._any_matches(value, files, variables, mark, key)

    def _files_for(self, value: Value, variables: Mapping[str, str]) -> Iterable[str]:
        project = value.get("project") if isinstance(value, Map) else None
        if not isinstance(project, str):
            return WorkTree(self._repository).files
        name = expand(project, variables)
        ref = value.get("ref") if isinstance(value, Map) else None
        return source_of(
            mapped_project(name, self._projects), expand(ref, variables) if isinstance(ref, str) else None, name
        ).files

    def _any_matches(
        self, value: Value, paths: Iterable[str], variables: Mapping[str, str], mark: Mark, key: str
    ) -> bool:
        """Whether one of the paths is meant by a list of globs, or a mapping with `paths` and `regexp`."""
        globs = _texts(value.get("paths") if isinstance(value, Map) else value)
        regexp = value.get("regexp") if isinstance(value, Map) else None
        known = set(paths)
        if len(globs) * len(known) > MAX_COMPARISONS:
            self._report.problem(f"compares {len(globs)} patterns with {len(known)} files", mark, key)
            return False
        try:
            patterns = [bare_pattern(regexp)] if isinstance(regexp, str) else []
            if any(pattern.found_in(path) for pattern in patterns for path in known):
                return True
            return any(_means(expand(glob, variables).removeprefix("./"), known) for glob in globs)
        except BadPattern as error:
            self._report.problem(str(error), mark, key)
            return False

    def allowed_by_policies(self, job: Map, variables: Mapping[str, str], key: str) -> bool:
        """Whether `only` and `except` let a job without `rules` in; without them, branches and tags do."""
        only, excluded = job.get("only"), job.get("except")
        if only is None:
            included = self._ref_matches(["branches", "tags"], variables, job.mark, key)
        else:
            included = all(self._clauses(only, variables, job.at("only"), f"{key}.only"))
        return included and not any(self._clauses(excluded, variables, job.at("except"), f"{key}.except"))

    def _clauses(self, policy: Value, variables: Mapping[str, str], mark: Mark, key: str) -> list[bool]:
        if policy is None:
            return []
        if not isinstance(policy, Map):
            return [self._ref_matches(_texts(policy), variables, mark, key)]
        held: list[bool] = []
        for name, value, where in policy.entries():
            if value is None:
                continue
            if name == "refs":
                held.append(self._ref_matches(_texts(value), variables, where, key))
            elif name == "variables":
                texts = [self.expression(text, variables, where, f"{key}.variables") for text in _texts(value)]
                held.append(any(texts))
            elif name == "changes":
                held.append(self._changed(value, variables, where, f"{key}.changes"))
            else:
                held.append(False)
        return held

    def _ref_matches(self, words: list[str], variables: Mapping[str, str], mark: Mark, key: str) -> bool:
        source = variables.get("CI_PIPELINE_SOURCE", "push")
        tag = variables.get("CI_COMMIT_TAG")
        ref = tag or variables.get("CI_COMMIT_REF_NAME") or variables.get("CI_COMMIT_BRANCH") or ""
        merge_request = source == "merge_request_event"
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


def mapped_project(name: str, projects: Mapping[str, Path]) -> Path:
    """The directory that the user keeps a project in. Raises LongshoreError naming the option that says so."""
    if name not in projects:
        hint = nearest(name, projects)
        raise LongshoreError(
            f"project {name!r} is not known on this machine; name its directory: --project {name}=DIR"
            + (f" ({hint})" if hint else "")
        )
    return projects[name]


def _split_pattern(word: str) -> tuple[str, str, str]:
    """`/regex/@group/project` in its parts; the expression may hold an @ itself."""
    end = word.rfind("/@")
    return (word, "", "") if end <= 0 else (word[: end + 1], "@", word[end + 2 :])


def _means(path: str, known: set[str]) -> bool:
    """Whether a path or glob is, or matches, one of the known paths."""
    if not is_glob(path):
        return path in known
    pattern = glob_pattern(path)
    return any(pattern.matches(name) for name in known)


def _texts(value: Value) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [item for item in value if isinstance(item, str)] if isinstance(value, Seq) else []
