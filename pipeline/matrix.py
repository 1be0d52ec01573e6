"""`parallel`: expands a job into its instances, and selects among them. Pure."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pipeline.nodes import Map, Mark, Seq, Value, text_of
from pipeline.problems import fatal, nearest

MAX_JOBS = 200
"""Maximum number of jobs of one `parallel`, as in GitLab."""
MAX_NAME = 2_000
"""Maximum length of a job's name including its matrix values."""
_EXPRESSION = re.compile(r"\$\[\[\s*matrix\.([A-Za-z0-9_-]+)\s*\]\]")


@dataclass(frozen=True, slots=True)
class Instance:
    """An instance of a job. `index` counts from 1; None for a job without `parallel`."""

    name: str
    index: int | None = None
    total: int = 1
    matrix: Mapping[str, str] | None = None


def instances(name: str, job: Map) -> list[Instance]:
    """The instances of `parallel`, named as in GitLab: `test 1/3` and `test: [a, b]`. Raises PipelineFileError."""
    parallel = job.get("parallel")
    if parallel is None:
        return [Instance(name)]
    if isinstance(parallel, int):
        return [Instance(f"{name} {index}/{parallel}", index, parallel) for index in range(1, parallel + 1)]
    matrix = parallel.get("matrix") if isinstance(parallel, Map) else None
    key = f"{name}.parallel.matrix"
    if not isinstance(matrix, Seq) or not matrix:
        raise fatal("is empty", job.at("parallel"), key)
    count = sum(_combinations(entry) for entry in matrix)
    if not 1 <= count <= MAX_JOBS:
        raise fatal(f"yields {count} jobs; the number must be 1 to {MAX_JOBS}", job.at("parallel"), key)
    found = {_matrix_name(name, values): values for entry in matrix for values in _expanded(entry)}
    if any(len(job_name) > MAX_NAME for job_name in found):
        raise fatal(f"its values make a job's name longer than {MAX_NAME} characters", job.at("parallel"), key)
    return [Instance(job_name, index, len(found), found[job_name]) for index, job_name in enumerate(found, 1)]


def selected(matrix: Mapping[str, str], selector: Seq) -> bool:
    """Whether an instance has all the variables of one of the selector's combinations."""
    return any(
        all(matrix.get(name) in _values(value) for name, value in entry.items())
        for entry in selector
        if isinstance(entry, Map)
    )


def unmatched(matrices: Sequence[Mapping[str, str]], selector: Seq) -> dict[str, str] | None:
    """The first of the selector's combinations that no instance has; None if each has one.

    Different combinations have different instances, so the search ends after as many as there are instances.
    """
    for entry in selector:
        for values in _expanded(entry):
            if not any(values.items() <= matrix.items() for matrix in matrices):
                return values
    return None


def uses_expressions(selector: Seq) -> bool:
    """Whether a selector contains `$[[ matrix.NAME ]]`."""
    return any(
        _EXPRESSION.search(text)
        for entry in selector
        if isinstance(entry, Map)
        for value in entry.values()
        for text in _values(value)
    )


def with_expressions(selector: Seq, matrix: Mapping[str, str], mark: Mark, key: str) -> Seq:
    """Replaces `$[[ matrix.NAME ]]` in a selector by the needing job's own values. Raises PipelineFileError."""

    def value_of(match: re.Match[str]) -> str:
        if match[1] not in matrix:
            raise fatal(f"its own matrix has no {match[1]!r}", mark, key, nearest(match[1], matrix))
        return matrix[match[1]]

    changed = Seq(selector.mark)
    for entry, where in selector.entries():
        replaced = Map(where)
        for name, value, place in entry.entries() if isinstance(entry, Map) else ():
            texts = [(_EXPRESSION.sub(value_of, text), place) for text in _values(value)]
            replaced[name] = Seq(place, texts)
            replaced.marks[name] = place
        changed.append(replaced)
        changed.marks.append(where)
    return changed


def _values(value: Value) -> list[str]:
    items = value if isinstance(value, Seq) else [value]
    return [text_of(item) for item in items if item is None or isinstance(item, str | int | float)]


def _combinations(entry: Value) -> int:
    return math.prod(len(_values(value)) for value in entry.values()) if isinstance(entry, Map) and entry else 0


def _expanded(entry: Value) -> Iterator[dict[str, str]]:
    if isinstance(entry, Map) and entry:
        for values in itertools.product(*(dict.fromkeys(_values(value)) for value in entry.values())):
            yield dict(zip(entry, values, strict=True))


def _matrix_name(name: str, values: Mapping[str, str]) -> str:
    return f"{name}: [{' '.join(', '.join(values.values()).splitlines())}]"
