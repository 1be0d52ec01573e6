"""Resolves `needs` and `dependencies` to jobs, and rejects those that can never start. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.job_compiler import DeclaredNeed, Job
from pipeline.matrix import selected, unmatched
from pipeline.problems import Report, nearest
from protocol.plan import Need


@dataclass(slots=True)
class Links:
    """One job's dependencies, as names of planned jobs."""

    needs: list[Need] | None = None
    dependencies: list[str] | None = None
    by_entry: dict[str, list[str]] = field(default_factory=dict)
    """The jobs of each entry of `needs`, by its key."""

    def jobs_of(self, need: DeclaredNeed) -> list[str]:
        """The jobs of one entry of `needs`."""
        return self.by_entry.get(need.key, [])


@dataclass(slots=True)
class Linker:
    """Links the jobs of a pipeline to each other."""

    jobs: Sequence[Job]
    stages: Sequence[str]
    report: Report
    invalid: Collection[str] = ()
    """Jobs missing from `jobs` because of another problem with them."""
    _by_name: dict[str, list[Job]] = field(default_factory=dict)
    _order: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._order = {stage: number for number, stage in enumerate(self.stages)}
        for job in self.jobs:
            for name in {job.base, job.name}:
                self._by_name.setdefault(name, []).append(job)

    def link(self) -> dict[str, Links]:
        """The links of every job in the pipeline, by name. Problems go into the report."""
        links: dict[str, Links] = {}
        for job in self.jobs:
            if self.report.full:
                break
            if job.needs and job.dependencies:
                self._check_contained(job)
            linked = Links(dependencies=self._dependencies(job))
            self._link_needs(job, linked)
            if not job.excluded:
                links[job.name] = linked
        self._check_circles(links)
        return links

    def _link_needs(self, job: Job, links: Links) -> None:
        if job.needs is None:
            return
        found: dict[str, Need] = {}
        for need in job.needs:
            names = [needed.name for needed in self._needed(job, need)]
            links.by_entry[need.key] = names
            found |= {name: Need(job=name, artifacts=need.artifacts, optional=need.optional) for name in names}
        links.needs = list(found.values())

    def _needed(self, job: Job, need: DeclaredNeed) -> list[Job]:
        candidates = self._by_name.get(need.job, [])
        if not candidates:
            if not need.optional and need.job not in self.invalid:
                self.report.problem(f"unknown job {need.job!r}", need.mark, need.key, nearest(need.job, self._by_name))
            return []
        if need.selector is not None and any(found.instance.index is not None for found in candidates):
            missing = unmatched([found.instance.matrix or {} for found in candidates], need.selector)
            candidates = [found for found in candidates if selected(found.instance.matrix or {}, need.selector)]
            if missing is not None and not need.optional:
                values = ", ".join(f"{name}: {value}" for name, value in missing.items())
                self.report.problem(f"no job of {need.job!r} has the matrix values {values}", need.mark, need.key)
            if not candidates or (missing is not None and not need.optional):
                return []
        if self._stage(candidates[0]) > self._stage(job):
            self.report.problem(f"{need.job!r} is in a later stage, {candidates[0].stage!r}", need.mark, need.key)
            return []
        present = [found for found in candidates if not found.excluded]
        if not present and not need.optional and not job.excluded:
            self.report.problem(
                f"{need.job!r} is not in this pipeline: {candidates[0].excluded}",
                need.mark,
                need.key,
                "give both the same rules, or set `optional: true`",
            )
        return present

    def _dependencies(self, job: Job) -> list[str] | None:
        if job.dependencies is None:
            return None
        mark, key = job.config.at("dependencies"), f"{job.base}.dependencies"
        found: dict[str, None] = {}
        for name in job.dependencies:
            candidates = self._by_name.get(name, [])
            if not candidates:
                if name not in self.invalid:
                    self.report.problem(f"unknown job {name!r}", mark, key, nearest(name, self._by_name))
            elif self._stage(candidates[0]) > self._stage(job):
                self.report.problem(f"{name!r} is in a later stage, {candidates[0].stage!r}", mark, key)
            found.update({candidate.name: None for candidate in candidates if not candidate.excluded})
        return list(found)

    def _check_contained(self, job: Job) -> None:
        needed = {need.job for need in job.needs or ()}
        missing = [name for name in job.dependencies or () if name not in needed]
        if missing:
            self.report.problem(
                f"{', '.join(map(repr, missing))} must be in `needs` too",
                job.config.at("dependencies"),
                f"{job.base}.dependencies",
            )

    def _stage(self, job: Job) -> int:
        return self._order[job.stage]

    def _check_circles(self, links: Mapping[str, Links]) -> None:
        circle = find_circle({name: [need.job for need in link.needs or ()] for name, link in links.items()})
        if circle:
            job = self._by_name[circle[0]][0]
            what = "the job needs itself" if len(circle) == 1 else f"is circular: {' -> '.join((*circle, circle[0]))}"
            self.report.problem(what, job.config.at("needs"), f"{job.base}.needs")


def find_circle(graph: Mapping[str, Iterable[str]]) -> list[str]:
    """A cycle of names; empty if there is none."""
    done: set[str] = set()
    for start in graph:
        path: list[str] = []
        on_path: dict[str, int] = {}
        stack: list[tuple[str, bool]] = [(start, True)]
        while stack:
            name, entering = stack.pop()
            if not entering:
                path.pop()
                del on_path[name]
                done.add(name)
            elif name in on_path:
                return path[on_path[name] :]
            elif name not in done:
                on_path[name] = len(path)
                path.append(name)
                stack.append((name, False))
                stack.extend((needed, True) for needed in graph.get(name, ()))
    return []
