"""Whatever a pipeline file holds, compiling it gives a plan or an error that names the file: nothing else, and soon."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline import Repository, compile_pipeline
from pipeline.expression import BadExpression, parse
from pipeline.keywords import FIELDS
from pipeline.keywords.shapes import RETRY_REASONS
from pipeline.patterns import glob_pattern
from pipeline.units import bytes_of, seconds_of
from protocol.errors import PipelineFileError
from protocol.plan import Plan
from protocol.regular_expressions import BadPattern

EXAMPLES = int(os.environ.get("LONGSHORE_FUZZ_EXAMPLES", "60"))
"""Examples per test; a long run sets more."""
SEEDS = Path(__file__).with_name("seeds")
SOON = 5.0
"""Seconds of CPU time that an example may take."""
fuzz = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))


@contextlib.contextmanager
def soon() -> Iterator[None]:
    """What happens within is over soon, however busy the machine is."""
    began = time.process_time()
    yield
    assert time.process_time() - began < SOON


@pytest.fixture(scope="module")
def repository() -> Iterator[Repository]:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "included.yml").write_text(
            "spec:\n  inputs:\n    x: {default: y}\n---\n.i:\n  script: [$[[ inputs.x ]]]\n"
        )
        yield Repository(Path(folder))


def compiled(repository: Repository, data: bytes) -> Plan | PipelineFileError:
    path = repository.root / ".gitlab-ci.yml"
    path.write_bytes(data)
    try:
        with soon():
            return compile_pipeline(path, repository=repository).plan
    except PipelineFileError as error:
        refused = error
    assert refused.problems
    assert all(problem.message for problem in refused.problems)
    return refused


words = st.sampled_from(
    [
        *(key for fields in FIELDS.values() for key in fields),
        *RETRY_REASONS,
        "build", "test", ".hidden", "job", "other job", "job 1/2", "job: [a]", ".pre", "never", "manual", "delayed",
        "on_success", "1h", "$CI_COMMIT_BRANCH", "${X}", "$$X", "/^a.*/", "$A == 'a' && $B =~ /b/", "**/*.py", "<<",
        "included.yml", "/included.yml", "*.yml", "$[[ inputs.x ]]", "$[[ matrix.A ]]", "string", "array", "group/name",
    ]
)  # fmt: skip
scalars = st.one_of(
    words, st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=8), st.dates()
)


def trees(keys: Any) -> Any:
    return st.recursive(
        scalars,
        lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(keys, inner, max_size=5)),
        max_leaves=12,
    )


def of_keywords(path: str, depth: int = 3) -> Any:
    """Mappings whose keys are those that a keyword's table has, with values that are right now and then."""
    inner = [
        of_keywords(deeper, depth - 1)
        for deeper in FIELDS
        if depth and deeper.startswith(f"{path}.") and deeper.count(".") == path.count(".") + 1
    ]
    values = st.one_of(scalars, st.lists(scalars, max_size=3), trees(words), *inner)
    return st.dictionaries(st.sampled_from(sorted(FIELDS[path])), values, max_size=5)


jobs = st.one_of(
    of_keywords("job"),
    of_keywords("job").map(lambda job: {"script": ["true"], **job}),
    of_keywords("rule").map(lambda rule: {"script": ["true"], "rules": [rule]}),
    of_keywords("need").map(lambda need: {"script": ["true"], "needs": [need]}),
)
pipelines = st.builds(
    lambda top, named: {**top, **named},
    of_keywords("global"),
    st.dictionaries(st.sampled_from([".hidden", "job", "other job", "default"]), jobs, max_size=3),
)


@fuzz
@given(st.binary(max_size=400))
def test_bytes(repository: Repository, data: bytes) -> None:
    compiled(repository, data)


@fuzz
@given(st.text(alphabet="&*!<>|-:?,[]{}#'\"% \n\tabx$~", max_size=80))
def test_yaml_signs(repository: Repository, text: str) -> None:
    compiled(repository, text.encode())


@fuzz
@given(trees(words))
def test_trees_of_keywords(repository: Repository, tree: Any) -> None:
    compiled(repository, yaml.safe_dump(tree).encode())


@fuzz
@given(pipelines)
def test_pipelines_that_are_nearly_right(repository: Repository, pipeline: Any) -> None:
    compiled(repository, yaml.safe_dump(pipeline).encode())


@fuzz
@given(st.data())
def test_right_files_with_a_few_changes(repository: Repository, data: st.DataObject) -> None:
    seed = data.draw(st.sampled_from(sorted(SEEDS.glob("*.yml"))))
    lines = seed.read_text().splitlines()
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(lines) - 1))
        change = data.draw(st.sampled_from(["drop", "repeat", "move", "indent", "cut", "replace"]))
        line = lines[at]
        if change == "drop":
            del lines[at]
        elif change == "repeat":
            lines.insert(data.draw(st.integers(0, len(lines))), line)
        elif change == "move":
            lines.insert(data.draw(st.integers(0, len(lines) - 1)), lines.pop(at))
        elif change == "indent":
            lines[at] = data.draw(st.sampled_from(["  ", "- ", "    "])) + line
        elif change == "cut":
            lines[at] = line[: data.draw(st.integers(0, len(line)))]
        else:
            value = data.draw(st.sampled_from(["", "[]", "{}", "1", "!reference [job, script]", "*a", "[[a]]"]))
            lines[at] = f"{line.partition(':')[0]}: {value}"
        lines = lines or [""]
    compiled(repository, "\n".join(lines).encode())


@fuzz
@given(
    st.lists(
        st.sampled_from(
            ["$A", "$B", "==", "!=", "=~", "!~", "&&", "||", "(", ")", "null", "true", "'a'", '"b"', "/a/i", "/(/", "$"]
        )
    )
)
def test_expressions(parts: list[str]) -> None:
    with soon(), contextlib.suppress(BadExpression):
        assert parse(" ".join(parts)).holds({"A": "a", "B": "/b/"}) in (True, False)


@fuzz
@given(st.text(alphabet="ab*?[]{},/\\!^-.", max_size=20), st.text(alphabet="ab/.", max_size=10))
def test_globs(glob: str, path: str) -> None:
    with soon(), contextlib.suppress(BadPattern):
        assert glob_pattern(glob).matches(path) in (True, False)


@fuzz
@given(st.text(alphabet="0123456789 .:,hmsdwandyear", max_size=30))
def test_quantities(text: str) -> None:
    with soon():
        assert (seconds_of(text) or 0) >= 0
        assert (bytes_of(text) or 0) >= 0
