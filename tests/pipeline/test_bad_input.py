"""Files that are no pipeline, or mean harm: one clear message, soon."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from pipeline import compile_pipeline
from protocol.errors import PipelineFileError
from tests.support.project import Project

JOBS_WITHOUT_END = "".join(f"j{i}: {{script: [x]}}\n" for i in range(200))
SOON = 10.0
"""Seconds of CPU time that no file may take, on a slow machine; what others do there meanwhile does not count."""


@pytest.fixture(autouse=True)
def soon() -> Iterator[None]:
    started = time.process_time()
    yield
    assert time.process_time() - started < SOON


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", ".gitlab-ci.yml: the file is empty; write at least one job with a `script`"),
        (b"# nothing\n", ".gitlab-ci.yml: the file is empty"),
        (b"just text", ".gitlab-ci.yml:1: a pipeline file must be a mapping of jobs, not a string"),
        (b"- a\n- b\n", ".gitlab-ci.yml:1: a pipeline file must be a mapping of jobs, not a list"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", ".gitlab-ci.yml:3: the file is binary"),
        (b"job:\n  script: [x\n", ".gitlab-ci.yml:3: invalid YAML"),
        (b"\xff\xfej\x00o\x00b\x00", ".gitlab-ci.yml:1: the file is binary"),
        (b'job: {script: ["a\\0b"]}\n', ".gitlab-ci.yml:1: a string contains a NUL character"),
        (b"job: &a {script: [x], b: *a}\n", ".gitlab-ci.yml:1: alias *a refers to a value that contains it"),
    ],
)
def test_what_is_no_pipeline_is_refused(project: Project, data: bytes, message: str) -> None:
    (project.root / ".gitlab-ci.yml").write_bytes(data)
    (problem,) = project.problems()
    assert problem.startswith(message)


@pytest.mark.parametrize("line", [b"job: {script: [x]}\n", b"#" * 99 + b"\n", b"\0" * 100])
def test_a_file_of_50_mb_is_refused(project: Project, line: bytes) -> None:
    with (project.root / ".gitlab-ci.yml").open("wb") as file:
        for _ in range(50):
            file.write(line * ((1 << 20) // len(line)))
    (problem,) = project.problems()
    assert problem.startswith(".gitlab-ci.yml: the file is larger than 10 MB")


def test_a_file_of_many_jobs_is_refused_beyond_a_bound(project: Project) -> None:
    (problem,) = project.problems("".join(f"j{i}: {{script: [x], parallel: 200}}\n" for i in range(200)))
    assert "the pipeline has more than 20000 jobs" in problem


def test_a_thousand_mistakes_are_not_all_told(project: Project) -> None:
    problems = project.problems("".join(f"j{i}: {{scrpt: [x]}}\n" for i in range(1000)))
    assert len(problems) == 101
    assert problems[-1] == ".gitlab-ci.yml: there are more; fix these first"


def test_rules_that_compare_many_patterns_with_many_files_are_refused(project: Project) -> None:
    for number in range(600):
        (project.root / f"f{number}").touch()
    globs = ", ".join(f"'x{number}*'" for number in range(10_000))
    (problem,) = project.problems(f"job: {{script: [x], rules: [{{exists: [{globs}]}}]}}\n")
    assert "compares 10000 patterns with 601 files" in problem


def test_variables_that_double_again_and_again_are_refused(project: Project) -> None:
    bomb = "".join(f"  V{i}: $V{i + 1}$V{i + 1}\n" for i in range(40))
    (problem,) = project.problems(f"variables:\n{bomb}  V40: x\njob: {{script: [x]}}\n")
    assert problem.startswith(".gitlab-ci.yml:1: variables: a value grows past ")
    (problem,) = project.problems(f"job:\n  script: [x]\n  variables: {{{bomb.replace('  ', ', ')[2:]}, V40: x}}\n")
    assert problem.startswith(".gitlab-ci.yml:3: job.variables: a value grows past ")


def test_variables_that_are_large_together_are_refused(project: Project) -> None:
    large = "".join(f"  L{i}: $L{i + 1}$L{i + 1}\n" for i in range(19)) + "  L19: x\n"
    copies = "".join(f"  C{i}: $L0\n" for i in range(40))
    (problem,) = project.problems(f"variables:\n{large}{copies}job: {{script: [x]}}\n")
    assert "all variables together grow past" in problem


def test_variables_that_are_large_in_every_job_are_refused(project: Project) -> None:
    large = "".join(f"  L{i}: $L{i + 1}$L{i + 1}\n" for i in range(19)) + "  L19: x\n"
    problems = project.problems(f"variables:\n{large}job: {{script: [x], parallel: 200}}\n" + JOBS_WITHOUT_END)
    assert any("the variables of all jobs together grow past" in problem for problem in problems)


@pytest.mark.parametrize("kind", ["missing", "directory", "fifo"])
def test_what_is_no_file_is_refused(project: Project, kind: str) -> None:
    path = project.root / "ci.yml"
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    with pytest.raises(PipelineFileError) as raised:
        compile_pipeline(path)
    message = {"missing": "no such file", "directory": "is a directory", "fifo": "is not a regular file"}
    assert message[kind] in str(raised.value)
