"""Merges the parts of a pipeline: files, `extends`, `!reference`, `default`. Pure.

Copies only where necessary: unshared parts of two mappings remain the same objects. Values inserted by references are
counted, so that nested references can't grow without bound.
"""

from __future__ import annotations

from pipeline.keywords import NOT_JOBS
from pipeline.keywords.shapes import DEFAULT_KEYS, GLOBAL_DEFAULTS, TRIGGER_KEYS
from pipeline.nodes import Map, Mark, Reference, Seq, Value, kind_of
from pipeline.problems import Report, fatal, nearest
from protocol.errors import PipelineFileError

MAX_EXTENDS = 11
"""Maximum levels of `extends`, as in GitLab."""
MAX_REFERENCES = 10
"""Maximum levels of references to references, as in GitLab."""
MAX_LIST_LEVELS = 10
"""Maximum depth of lists inside lists, as in GitLab."""
MAX_DEPTH = 200
MAX_VALUES = 1_000_000
"""Maximum number of values copied by `extends`, and of values inserted by references."""


class _Budget:
    """Counts values and rejects more than `MAX_VALUES`."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._spent = 0

    def spend(self, values: int, mark: Mark) -> None:
        self._spent += values
        if self._spent > MAX_VALUES:
            raise fatal(f"{self._what} more than {MAX_VALUES} values", mark)


def deep_merge(under: Map, over: Map, budget: _Budget | None = None) -> Map:
    """Merges two mappings recursively; other values of shared keys come from `over`."""
    if budget is not None:
        budget.spend(len(under) + len(over), over.mark)
    merged = Map(over.mark, under.entries())
    for key, value, mark in over.entries():
        below = merged.get(key)
        if isinstance(below, Map) and isinstance(value, Map):
            merged[key] = deep_merge(below, value, budget)
        else:
            merged[key] = value
        merged.marks[key] = mark
    return merged


def extend_jobs(pipeline: Map, report: Report) -> Map:
    """The pipeline with every `extends` resolved and removed."""
    return _Extender(pipeline, report).all()


class _Extender:
    def __init__(self, pipeline: Map, report: Report) -> None:
        self._pipeline = pipeline
        self._report = report
        self._done: dict[str, Map] = {}
        self._budget = _Budget("`extends` copies")

    def all(self) -> Map:
        extended = Map(self._pipeline.mark)
        for name, value, mark in self._pipeline.entries():
            if self._report.full:
                break
            extended[name] = value
            extended.marks[name] = mark
            if isinstance(value, Map) and value.get("extends") is not None and name not in NOT_JOBS:
                try:
                    extended[name] = self._job(name, value, ()).without("extends")
                except PipelineFileError as error:
                    self._report.add(error)
                    extended[name] = value.without("extends")
        return extended

    def _job(self, name: str, job: Map, below: tuple[str, ...]) -> Map:
        if name in self._done:
            return self._done[name]
        mark = job.at("extends")
        if name in below:
            chain = " -> ".join((*below[below.index(name) :], name))
            raise fatal(f"is circular: {chain}", mark, f"{name}.extends")
        if len(below) >= MAX_EXTENDS:
            raise fatal(f"goes through more than {MAX_EXTENDS} levels", mark, f"{name}.extends")
        extended = Map(job.mark)
        for parent in self._parents(name, job):
            value = self._pipeline.get(parent)
            if not isinstance(value, Map) or parent in NOT_JOBS:
                raise fatal(
                    f"unknown job {parent!r} to extend", mark, f"{name}.extends", nearest(parent, self._pipeline)
                )
            extended = deep_merge(extended, self._job(parent, value, (*below, name)), self._budget)
        self._done[name] = deep_merge(extended, job, self._budget)
        return self._done[name]

    def _parents(self, name: str, job: Map) -> list[str]:
        extends = job.get("extends")
        if extends is None:
            return []
        if isinstance(extends, str):
            return [extends]
        if isinstance(extends, Seq) and all(isinstance(parent, str) for parent in extends):
            return [str(parent) for parent in extends]
        raise fatal(
            f"must be a job's name or a list of them, not {kind_of(extends)}", job.at("extends"), f"{name}.extends"
        )


def resolve_references(pipeline: Map, report: Report) -> Map:
    """The pipeline with every `!reference` resolved, and nested lists flattened."""
    resolver = _Resolver(pipeline)
    resolved = Map(pipeline.mark)
    for name, value, mark in pipeline.entries():
        if report.full:
            break
        try:
            resolved[name] = resolver.value(value, mark, name, (), 0, 0)
        except PipelineFileError as error:
            report.add(error)
        else:
            resolved.marks[name] = mark
    return resolved


class _Resolver:
    def __init__(self, pipeline: Map) -> None:
        self._pipeline = pipeline
        self._budget = _Budget("references insert")
        self._settled: set[int] = set()
        """Containers of the pipeline, by identity, without references and nested lists."""

    def value(
        self, value: Value, mark: Mark, key: str, followed: tuple[Reference, ...], depth: int, lists: int
    ) -> Value:
        """A value without references. `followed` led to it; `depth` and `lists` count its enclosing containers."""
        if depth > MAX_DEPTH:
            raise fatal("its references are nested too deeply", mark, key)
        if isinstance(value, Reference):
            return self._reference(value, key, followed, depth, lists)
        if isinstance(value, Map):
            return self._map(value, key, followed, depth)
        if isinstance(value, Seq):
            return self._list(value, key, followed, depth, lists + 1)
        return value

    def _map(self, value: Map, key: str, followed: tuple[Reference, ...], depth: int) -> Map:
        if id(value) in self._settled:
            return value
        self._budget.spend(len(value), value.mark)
        resolved = [
            (inner, self.value(item, where, f"{key}.{inner}" if depth < 4 else key, followed, depth + 1, 0), where)
            for inner, item, where in value.entries()
        ]
        if all(item is value[inner] for inner, item, _ in resolved):
            self._settled.add(id(value))
            return value
        return Map(value.mark, resolved)

    def _list(self, value: Seq, key: str, followed: tuple[Reference, ...], depth: int, lists: int) -> Seq:
        if lists > MAX_LIST_LEVELS:
            raise fatal(f"lists are nested more than {MAX_LIST_LEVELS} deep", value.mark, key)
        if id(value) in self._settled:
            return value
        self._budget.spend(len(value), value.mark)
        flat = Seq(value.mark)
        for item, where in value.entries():
            resolved = self.value(item, where, key, followed, depth + 1, lists)
            for part, place in resolved.entries() if isinstance(resolved, Seq) else [(resolved, where)]:
                if part is None and isinstance(resolved, Seq) and key.endswith(".needs"):
                    continue  # GitLab ignores an empty item of a list in `needs`
                flat.append(part)
                flat.marks.append(place)
        if len(flat) == len(value) and all(new is old for new, old in zip(flat, value, strict=True)):
            self._settled.add(id(value))
            return value
        self._budget.spend(len(flat), value.mark)
        return flat

    def _reference(
        self, reference: Reference, key: str, followed: tuple[Reference, ...], depth: int, lists: int
    ) -> Value:
        if any(reference.path == earlier.path for earlier in followed):
            raise fatal(f"{reference} is circular", reference.mark, key)
        if len(followed) >= MAX_REFERENCES:
            raise fatal(f"{reference} is reached through more than {MAX_REFERENCES} others", reference.mark, key)
        value: Value = self._pipeline
        for number, name in enumerate(reference.path):
            if isinstance(value, Reference):
                value = self._reference(value, key, (*followed, reference), depth + 1, 0)
            found = _part(value, name)
            if found is None:
                known = value if isinstance(value, Map) else ()
                there = ".".join(reference.path[: number + 1])
                raise fatal(f"{reference}: there is no {there!r}", reference.mark, key, nearest(name, known))
            value = found
        return self.value(value, reference.mark, key, (*followed, reference), depth + 1, lists)


def _part(value: Value, name: str) -> Value:
    """A mapping's value by name, or a list's item by number."""
    if isinstance(value, Seq):
        return value[int(name)] if name.isdecimal() and len(name) < 7 and int(name) < len(value) else None
    return value.get(name) if isinstance(value, Map) else None


def flattened(value: Value) -> Value:
    """The value with nested lists flattened, and references left alone."""
    if isinstance(value, Map):
        return Map(value.mark, ((key, flattened(item), mark) for key, item, mark in value.entries()))
    if not isinstance(value, Seq):
        return value
    flat = Seq(value.mark)
    for item, where in value.entries():
        inner = flattened(item)
        for part, place in inner.entries() if isinstance(inner, Seq) else [(inner, where)]:
            flat.append(part)
            flat.marks.append(place)
    return flat


def merge_defaults(pipeline: Map, report: Report) -> Map:
    """The defaults that jobs inherit: `default`, merged with the older global keywords."""
    default = pipeline.get("default")
    merged = default if isinstance(default, Map) else Map(pipeline.at("default"))
    for key in GLOBAL_DEFAULTS:
        value = pipeline.get(key)
        if value is None:
            continue
        if merged.get(key) is not None:
            report.problem(
                "is set both here and under `default`", pipeline.at(key), key, "keep the one under `default`"
            )
        merged = merged.having(key, value, pipeline.at(key))
    return merged


def inherit_defaults(job: Map, default: Map) -> Map:
    """The job with all inheritable keywords that it does not set itself; one with `trigger` inherits only those that
    it may have.
    """
    inherit = job.get("inherit")
    allowed = inherit.get("default") if isinstance(inherit, Map) else True
    if allowed is False:
        return job
    keys = [key for key in DEFAULT_KEYS if allowed in (True, None) or (isinstance(allowed, Seq) and key in allowed)]
    if job.get("trigger") is not None:
        keys = [key for key in keys if key in TRIGGER_KEYS]
    inherited = Map(job.mark, job.entries())
    for key in keys:
        if inherited.get(key) is None and default.get(key) is not None:
            inherited[key] = default[key]
            inherited.marks[key] = default.at(key)
    return inherited
