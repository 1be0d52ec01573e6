"""Reads a pipeline file with all its includes and merges them into one mapping."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import NamedTuple

import msgspec

from pipeline.includes.entries import entries_of, is_yaml, only_kind
from pipeline.includes.fetching import OtherProjects
from pipeline.includes.remote_files import digest_of
from pipeline.includes.sources import Source
from pipeline.includes.urls import printable_url
from pipeline.inputs import Context, interpolate, resolve_inputs, split_header
from pipeline.keywords import FIELDS
from pipeline.merge import deep_merge
from pipeline.nodes import Map, Mark, Origin, Seq, Value, kind_of, shown, shown_file
from pipeline.patterns import include_pattern
from pipeline.problems import Report, fatal, nearest
from pipeline.rules import Conditions, Known
from pipeline.schema import Check, Fields
from pipeline.units import HOUR, MINUTE, seconds_of
from pipeline.yaml_loader import load
from protocol.errors import LongshoreError, PipelineFileError
from protocol.regular_expressions import BadPattern
from protocol.variables import expand

MAX_INCLUDES = 150
"""Maximum number of included files, as in GitLab."""
MAX_TOTAL_BYTES = 30 << 20
TEMPLATES = "lib/gitlab/ci/templates"
"""Location of `include:template` files in that project."""
TEMPLATE_SUFFIX = ".gitlab-ci.yml"
TEMPLATE_FOLDERS = ("", "Pages/", "Verify/", "autodeploy/", "Security/")
"""Folders in which GitLab looks for a template."""
REMOTE_CACHE_SECONDS = HOUR
"""Time for which `cache: true` keeps a remote file, as in GitLab."""
MIN_CACHE_SECONDS = MINUTE
_COMPONENT = re.compile(r"(?P<host>[^/\s]+)/(?P<project>.+)/(?P<name>[^/@]+)@(?P<ref>[^@]+)\Z")
_KINDS = ("local", "project", "component", "remote", "template")


class _Target(NamedTuple):
    """A file to read."""

    source: Source
    path: str
    component: Mapping[str, str] | None = None

    @property
    def name(self) -> str:
        """The file in messages."""
        return f"{self.source.label}{self.path}"

    def within(self, origin: Origin, mark: Mark) -> Origin:
        """The origin of its content, included from `mark` in `origin`."""
        return Origin(self.name, (*origin.included_from, f"{origin.name}:{mark.line}"))


class Including(msgspec.Struct):
    """State of include resolution. `known` are the variables that exist before the pipeline does."""

    source: Source
    known: Known
    projects: OtherProjects
    conditions: Conditions
    report: Report
    count: int = 0
    total_bytes: int = 0
    chain: list[tuple[str, ...]] = []

    def pipeline(self, data: bytes, name: str, inputs: Map) -> Map:
        """The pipeline file with all includes merged in; the file itself takes precedence."""
        self.projects.record(self.source, name, data)
        return self._merged(data, Origin(name), _Target(self.source, name), inputs)

    def included(self, include: Map, mark: Mark, key: str) -> Map:
        """All that an item of the project's own `include` names, merged; `key` is its place in messages."""
        merged = Map(mark)
        for found in self._one(include, mark, key, mark.origin, self.source):
            merged = deep_merge(merged, found)
        return merged

    def _merged(self, data: bytes, origin: Origin, target: _Target, inputs: Map) -> Map:
        self.total_bytes += len(data)
        if self.total_bytes > MAX_TOTAL_BYTES:
            raise fatal(f"all files together are larger than {MAX_TOTAL_BYTES >> 20} MB", Mark(origin, 0))
        top = Mark(origin, 1)
        before = self.report.found
        spec, content = split_header(load(data, origin, self.report), origin, self.report)
        if spec is not None:
            spec = self._with_included_inputs(spec, origin, target.source)
        given = resolve_inputs(spec, inputs, self.report)
        if spec is not None or target.component is not None:
            if self.report.found > before:  # of this file; one before it may be missing
                raise PipelineFileError(self.report.problems)
            content = interpolate(content, Context(given, target.component, self.known.expanded), top)
        if content is None:
            raise fatal("the file is empty", Mark(origin, 0), mend="write at least one job with a `script`")
        if not isinstance(content, Map):
            raise fatal(f"a pipeline file must be a mapping of jobs, not {kind_of(content)}", top)
        merged = Map(content.mark)
        self.chain.append(_step(target, inputs))
        for included in self._included(content, origin, target.source):
            merged = deep_merge(merged, included)
        self.chain.pop()
        return deep_merge(merged, content.without("include"))

    def _with_included_inputs(self, spec: Map, origin: Origin, source: Source) -> Map:
        """The spec with the inputs of the files that its `include` names.

        Its own inputs take precedence, then those of later files.
        """
        include = spec.get("include")
        if include is None:
            return spec
        found: dict[str, tuple[Value, Mark]] = {}
        for entry, where, key in self._items(include, spec.at("include"), "spec.include"):
            with self.report.catching(where, key):
                found |= self._inputs_of(entry, where, key, origin, source)
        own = spec.get("inputs")
        if isinstance(own, Map):
            found |= {name: (value, where) for name, value, where in own.entries()}
        inputs = Map(spec.mark, [(name, value, where) for name, (value, where) in found.items()])
        return spec.having("inputs", inputs, spec.mark)

    def _inputs_of(
        self, entry: Map, mark: Mark, key: str, origin: Origin, source: Source
    ) -> dict[str, tuple[Value, Mark]]:
        """The declarations of inputs in the files that an item of `spec:include` names."""
        if unfit := [name for name in ("template", "component", "inputs", "rules") if entry.get(name) is not None]:
            raise fatal(
                f"a file of inputs can't be included with `{unfit[0]}`",
                entry.at(unfit[0]),
                f"{key}.{unfit[0]}",
                "name it with `local`, `project` and `file`, or `remote`",
            )
        found: dict[str, tuple[Value, Mark]] = {}
        for target in self._targets(entry, mark, key, source):
            data = self._read(target, mark, key)
            inside = target.within(origin, mark)
            documents = load(data, inside, self.report)
            content = documents[0] if len(documents) == 1 else None
            if not isinstance(content, Map) or set(content) != {"inputs"}:
                raise fatal(
                    "a file that `spec:include` names has one key, `inputs`",
                    Mark(inside, 1),
                    mend="move the jobs to a file that `include` names",
                )
            before = len(self.report.problems)
            Check(self.report, FIELDS).value(content, Fields("spec"), Mark(inside, 1), "")
            inputs = content["inputs"]
            if len(self.report.problems) == before and isinstance(inputs, Map):
                found |= {name: (value, where) for name, value, where in inputs.entries()}
        return found

    def _included(self, content: Map, origin: Origin, source: Source) -> Iterator[Map]:
        include = content.get("include")
        if include is None:
            return
        mark = content.at("include")
        before = len(self.report.problems)
        Check(self.report, FIELDS).value(include, FIELDS["global"]["include"].shape, mark, "include")
        if len(self.report.problems) > before:
            return
        items = list(self._items(include, mark, "include"))
        self._prefetch([entry for entry, _, _ in items], source)
        for entry, where, key in items:
            if self.report.full:
                return
            with self.report.catching(where, key):
                yield from self._one(entry, where, key, origin, source)

    def _items(self, include: Value, mark: Mark, key: str) -> Iterator[tuple[Map, Mark, str]]:
        """The items of an `include` with their places and keys."""
        for number, (entry, where) in enumerate(entries_of(include, mark, self._expanded)):
            yield entry, where, f"{key}[{number}]" if isinstance(include, Seq) else key

    def _prefetch(self, entries: list[Map], source: Source) -> None:
        """Fetches files of an including file's own project together; what fails is reported with its include."""
        named = [entry.get("local") for entry in entries if "rules" not in entry]
        paths = [self._expanded(path).lstrip("/") for path in named if isinstance(path, str)]
        if len(paths) > 1:
            with suppress(LongshoreError):
                source.prefetch(paths)

    def _one(self, entry: Map, mark: Mark, key: str, origin: Origin, source: Source) -> Iterator[Map]:
        rules = entry.get("rules")
        if rules is not None:
            rule = self.conditions.first_match(rules, self.known, f"{key}.rules", source)
            if rule is None or rule[1].get("when") == "never":
                return
        given = entry.get("inputs")
        inputs = given if isinstance(given, Map) else Map(mark)
        targets = self._targets(entry, mark, key, source)
        if len(targets) > 1:
            targets[0].source.prefetch(target.path for target in targets)
        for target in targets:
            yield self._file(target, mark, key, origin, inputs)

    def _targets(self, entry: Map, mark: Mark, key: str, source: Source) -> list[_Target]:
        kind = only_kind(entry, _KINDS, _KINDS[:3], mark, key)
        where = entry.at(kind)
        for keyword in ("integrity", "cache"):
            if kind != "remote" and entry.get(keyword) is not None:
                reason = "it only applies to `include:remote`"
                self.report.without_effect(f"include.{keyword}", reason, entry.at(keyword), f"{key}.{keyword}")
        if kind == "local":
            path = self._expanded(entry["local"])
            found = self._files(path, where, f"{key}.local", source)
            if not found:
                self.report.warning(f"no file matches {shown_file(path)}", where, f"{key}.local")
            return found
        if kind == "project":
            return self._project(entry, where, key)
        if kind == "template":
            return self._template(self._expanded(entry["template"]).lstrip("/"), where, f"{key}.template")
        if kind == "remote":
            return [self._remote(entry, where, key)]
        return [self._component(self._expanded(entry["component"]), where, f"{key}.component")]

    def _expanded(self, value: Value) -> str:
        return expand(str(value), self.known.expanded)

    def _some_files(self, path: str, mark: Mark, key: str, source: Source) -> list[_Target]:
        found = self._files(path, mark, key, source)
        if not found:
            raise fatal(f"no file matches {shown_file(path)}", mark, key)
        return found

    def _files(self, path: str, mark: Mark, key: str, source: Source) -> list[_Target]:
        """The file at a path, which may be missing; with wildcards, all files that match."""
        if path.startswith("./") or ".." in path.split("/"):
            raise fatal(
                f"{shown_file(path)} is relative to the including file",
                mark,
                key,
                "paths start at the top of the repository, without ./ and ..",
            )
        name = path.lstrip("/")
        if not is_yaml(name):
            raise fatal(f"{shown_file(path)} does not end in .yml or .yaml", mark, key)
        if "*" not in name:
            return [_Target(source, name)]
        try:
            pattern = include_pattern(name)
        except BadPattern as error:
            raise fatal(str(error), mark, key) from None
        return [_Target(source, file) for file in source.files if pattern.matches(file)]

    def _project(self, entry: Map, mark: Mark, key: str) -> list[_Target]:
        name = self._expanded(entry["project"])
        file = entry.get("file")
        if file is None:
            raise fatal("names a project and no file", mark, key, "add `file:`")
        ref = entry.get("ref")
        source = self.projects.project(name, self._expanded(ref) if ref is not None else None)
        paths = [self._expanded(item) for item in (file if isinstance(file, Seq) else [file])]
        return [target for path in paths for target in self._some_files(path, entry.at("file"), f"{key}.file", source)]

    def _template(self, name: str, mark: Mark, key: str) -> list[_Target]:
        if not name.endswith(TEMPLATE_SUFFIX):
            raise fatal(f"{shown_file(name)} does not end in {TEMPLATE_SUFFIX}", mark, key)
        templates = self.projects.templates(f"{TEMPLATES}/{name}")
        known = [file for file in templates.files if file.startswith(f"{TEMPLATES}/")]
        templates.prefetch(known)
        places = [f"{TEMPLATES}/{folder}{name}" for folder in TEMPLATE_FOLDERS]
        path = next((place for place in places if place in known), places[0])
        return self._some_files(path, mark, key, templates)

    def _remote(self, entry: Map, mark: Mark, key: str) -> _Target:
        url = self._expanded(entry["remote"])
        bare = url.partition("#")[0]
        if not is_yaml(bare.partition("?")[0]) and not is_yaml(bare):
            raise fatal(f"{printable_url(url)} does not end in .yml or .yaml", mark, f"{key}.remote")
        integrity = str(entry.get("integrity") or "")
        if entry.get("integrity") is not None:
            try:
                digest_of(integrity)
            except LongshoreError as error:
                raise fatal(str(error), entry.at("integrity"), f"{key}.integrity") from None
        source, path = self.projects.remote(url, integrity, _max_age(entry, f"{key}.cache"))
        return _Target(source, path)

    def _component(self, address: str, mark: Mark, key: str) -> _Target:
        match = _COMPONENT.match(address)
        if match is None:
            what = f"{shown_file(address)} is not a component address"
            raise fatal(what, mark, key, "write HOST/GROUP/PROJECT/NAME@REF")
        project, name, ref = match["project"], match["name"], match["ref"]
        variables = self.known.expanded
        commit = variables.get("CI_COMMIT_SHA", "")
        if project == variables.get("CI_PROJECT_PATH") and ref == commit:
            source, version = self.source, ""
        else:
            own_host = variables.get("CI_SERVER_FQDN", "")
            source, version = self.projects.component(match["host"], project, ref, own_host)
            commit = source.provenance.commit or ref
        for path in (f"templates/{name}.yml", f"templates/{name}/template.yml"):
            if source.read(path) is not None:
                return _Target(source, path, {"name": name, "reference": ref, "version": version, "sha": commit})
        raise fatal(f"{project} has neither templates/{name}.yml nor templates/{name}/template.yml", mark, key)

    def _file(self, target: _Target, mark: Mark, key: str, origin: Origin, inputs: Map) -> Map:
        if _step(target, inputs) in self.chain:
            raise fatal(f"{target.name} includes itself", mark, key)
        data = self._read(target, mark, key)
        return self._merged(data, target.within(origin, mark), target, inputs)

    def _read(self, target: _Target, mark: Mark, key: str) -> bytes:
        """An included file's content; counts and records it."""
        self.count += 1
        if self.count > MAX_INCLUDES:
            raise fatal(f"more than {MAX_INCLUDES} files are included", mark, key)
        try:
            data = target.source.read(target.path)
        except LongshoreError as error:
            raise fatal(f"{target.name} {error}", mark, key) from None
        if data is None:
            what = f"there is no file {shown_file(target.name)}"
            raise fatal(what, mark, key, nearest(target.path, target.source.files))
        self.projects.record(target.source, target.path, data)
        return data


def _max_age(entry: Map, key: str) -> float:
    """Seconds for which `include:cache` lets a copy of a remote file serve; 0 without it."""
    value = entry.get("cache")
    if value is None or isinstance(value, bool):
        return REMOTE_CACHE_SECONDS if value else 0.0
    seconds = seconds_of(str(value))
    if seconds is None or seconds < MIN_CACHE_SECONDS:
        raise fatal(f"{shown(value)} is not true, false or a duration of a minute or more", entry.at("cache"), key)
    return seconds


def _step(target: _Target, inputs: Map) -> tuple[str, ...]:
    """What a cycle of includes would repeat; another commit of the same file, or query of a URL, is another file."""
    origin = target.source.provenance
    return target.source.label, origin.lock_key, origin.commit, target.path, repr(inputs)
