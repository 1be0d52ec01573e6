"""`longshore validate --json`, as an editor calls it, and the choice of the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema

from tests.support.command_line import longshore
from tests.support.project import Project

SCHEMA = json.loads((Path(__file__).parents[3] / "docs" / "schemas" / "validate.json").read_text())


def checked(text: str) -> Any:
    document = json.loads(text)
    jsonschema.validate(document, SCHEMA)
    return document


def part(project: Project, problem: dict[str, Any]) -> str:
    """The text that a problem is about."""
    start, end = problem["range"]["start"], problem["range"]["end"]
    assert start["line"] == end["line"]
    lines = (project.root / problem["file"]).read_text().splitlines()
    return lines[start["line"] - 1][start["column"] - 1 : end["column"] - 1]


def test_every_error_has_the_range_that_it_is_about(project: Project) -> None:
    project.write("ci/more.yml", "more: {script: [x], nedds: []}\n")
    project.write(
        ".gitlab-ci.yml", "include: ci/more.yml\njob:\n  script: [x, {a: b}]\nlast: {script: x, stage:   nope}\n"
    )
    done = longshore(project, "validate", "--json")
    assert (done.returncode, done.stderr) == (2, "")
    document = checked(done.stdout)
    assert (document["file"], document["root"], document["valid"]) == (".gitlab-ci.yml", str(project.root), False)
    assert {(problem["key"], problem["severity"], part(project, problem)) for problem in document["problems"]} == {
        ("more.nedds", "error", "nedds"),
        ("job.script[1]", "error", "{a: b}"),
        ("last.stage", "error", "stage"),
    }
    (included,) = (problem for problem in document["problems"] if problem["file"] == "ci/more.yml")
    assert included["included_from"] == [".gitlab-ci.yml:1"]
    assert included["mend"] == "did you mean 'needs'?"


def test_a_valid_file_has_its_warnings_its_jobs_and_what_is_left_out(project: Project) -> None:
    project.write(
        ".gitlab-ci.yml", "job: {script: [x], id_tokens: {T: {aud: x}}}\nnot: {script: [x], rules: [{if: $NO}]}\n"
    )
    done = longshore(project, "validate", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    document = checked(done.stdout)
    assert (document["valid"], document["jobs"], document["nothing_to_run"]) == (True, ["job"], None)
    assert document["excluded"] == [{"job": "not", "reason": "none of its rules matches"}]
    (warning,) = document["problems"]
    assert (warning["severity"], part(project, warning)) == ("warning", "id_tokens")


def test_a_problem_of_the_whole_file_has_no_range(project: Project) -> None:
    project.write(".gitlab-ci.yml", "")
    (problem,) = checked(longshore(project, "validate", "--json").stdout)["problems"]
    assert (problem["message"], problem["range"]) == ("the file is empty", None)


def test_a_verb_finds_the_file_from_a_folder_below_it_and_names_it(project: Project) -> None:
    project.git("init", "-q")
    project.write(".gitlab-ci.yml", "job: {script: [x]}\n")
    project.write("src/deep/file", "")
    done = longshore(project, "-C", "src", "-C", "deep", "validate")
    assert (done.returncode, done.stdout) == (0, "../../.gitlab-ci.yml: valid, 1 job in 1 stage\n")
    assert done.stderr == "longshore: using ../../.gitlab-ci.yml\n"
    named = longshore(project, "-C", "src", "validate", "../.gitlab-ci.yml")
    assert (named.returncode, named.stderr) == (0, "")
    missing = longshore(project, "-C", "nope", "validate")
    assert missing.returncode == 2
    assert "-C nope: No such file or directory" in missing.stderr


def test_a_run_of_nothing_says_why_for_each_job(project: Project) -> None:
    project.git("init", "-q", "-b", "topic")
    project.write(
        ".gitlab-ci.yml",
        "a: {script: [x], rules: [{if: $A}]}\nb: {script: [x], only: [tags]}\n"
        "c: {script: [x], rules: [{if: $CI, when: never}]}\n",
    )
    done = longshore(project, "run", "--var", "CI_PIPELINE_SOURCE=web")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        "longshore: .gitlab-ci.yml: nothing to run in a web pipeline of the branch 'topic': its rules exclude all jobs",
        "  a: none of its rules matches",
        "  b: its `only` or `except` excludes it",
        "  c: rule 1 says `when: never`",
    ]
