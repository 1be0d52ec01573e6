"""`longshore plan` and `longshore validate`, as a user calls them."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema

from tests.support.command_line import longshore
from tests.support.project import Project

SCHEMA = Path(__file__).parents[3] / "docs" / "schemas" / "plan.json"
FILE = """
    stages: [build, test]
    lib:
      stage: build
      image: alpine
      script: [x]
      parallel: {matrix: [{OS: [linux, mac]}]}
    unit:
      stage: test
      script: [x]
      allow_failure: {exit_codes: 3}
      needs:
        - {job: lib, parallel: {matrix: [{OS: mac}]}}
        - {job: gone, optional: true, artifacts: false}
    all:
      stage: test
      script: [x]
      when: manual
      inputs: {to: {default: staging}, copies: {type: number, default: 2}}
    release:
      stage: test
      script: [x]
      rules: [{if: $RELEASE}]
    """


def test_plan_as_json_has_the_fields_of_the_contract(project: Project) -> None:
    project.write(".gitlab-ci.yml", FILE)
    done = longshore(project, "plan", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads(done.stdout)
    jsonschema.validate(document, json.loads(SCHEMA.read_text()))
    jobs = {job["name"]: job for job in document}
    assert list(jobs) == ["lib: [linux]", "lib: [mac]", "unit", "all"]
    assert (
        jobs["lib: [mac]"].items()
        >= {
            "stage": "build",
            "when": "on_success",
            "allow_failure": False,
            "needs": None,
            "image": "alpine",
        }.items()
    )
    assert jobs["unit"]["allow_failure"] == {"exit_codes": 3}
    assert jobs["unit"]["needs"] == [
        {"job": "lib", "artifacts": True, "optional": False, "jobs": ["lib: [mac]"]},
        {"job": "gone", "artifacts": False, "optional": True, "jobs": []},
    ]
    assert (jobs["all"]["when"], jobs["all"]["allow_failure"]) == ("manual", True)
    assert jobs["all"]["inputs"] == {"to": "staging", "copies": 2}
    assert jobs["unit"]["inputs"] == {}


def test_plan_for_people_is_a_table_a_graph_and_what_is_left_out(project: Project) -> None:
    project.write("ci/other.yml", FILE)
    done = longshore(project, "plan", "ci/other.yml")
    assert done.returncode == 0
    table, graph, left_out = done.stdout.split("\n\n")
    assert [line.split() for line in table.splitlines()][:2] == [
        ["STAGE", "JOB", "WHEN", "IMAGE", "WAITS", "FOR"],
        ["build", "lib:", "[linux]", "-", "alpine", "nothing"],
    ]
    assert "└── unit" in graph
    assert "all after stage build" in graph
    assert "release: none of its rules matches" in left_out


def test_plan_takes_variables_jobs_and_inputs(project: Project) -> None:
    project.write(".gitlab-ci.yml", FILE)
    done = longshore(project, "plan", "--json", "--var", "RELEASE=1", "--job", "release", "--job", "unit")
    assert [job["name"] for job in json.loads(done.stdout)] == ["lib: [mac]", "unit", "release"]
    project.write(
        "in.yml", "spec: {inputs: {n: {type: number}}}\n---\njob:\n  script: [x]\n  parallel: $[[ inputs.n ]]\n"
    )
    done = longshore(project, "plan", "in.yml", "--json", "--input", "n=2")
    assert [job["name"] for job in json.loads(done.stdout)] == ["job 1/2", "job 2/2"]


def test_plan_of_a_pipeline_that_does_not_run_is_empty_and_says_why(project: Project) -> None:
    project.write(".gitlab-ci.yml", "workflow: {rules: [{if: $NO}]}\njob: {script: [x]}\n")
    done = longshore(project, "plan", "--json")
    assert (done.returncode, json.loads(done.stdout)) == (0, [])
    assert done.stderr == "longshore: .gitlab-ci.yml: nothing to run: `workflow:rules` exclude the pipeline\n"
    asked = longshore(project, "plan", "--var", "CI_PIPELINE_SOURCE=web")
    assert asked.stdout == "Nothing would run.\n"
    hint = longshore(project, "plan").stdout
    assert (
        "a merge request pipeline pass --var CI_PIPELINE_SOURCE=merge_request_event, for a tag pipeline --var" in hint
    )


def test_a_bad_file_ends_with_status_2_and_every_problem_on_stderr(project: Project) -> None:
    project.write(".gitlab-ci.yml", "job:\n  scrpt: [x]\n  needs: [other]\n")
    for verb in ("plan", "validate"):
        done = longshore(project, verb)
        assert (done.returncode, done.stdout) == (2, "")
        assert ".gitlab-ci.yml:2: job.scrpt: unknown keyword; did you mean 'script'?" in done.stderr
        assert ".gitlab-ci.yml:1: job: has no script; add `script`" in done.stderr
        assert "Traceback" not in done.stderr


def test_a_missing_file_and_bad_options_end_with_status_2(project: Project) -> None:
    assert "nope.yml: no such file" in longshore(project, "plan", "nope.yml").stderr
    for arguments in (["nope.yml"], ["--var", "1X=y"], ["--project", "x"], ["--input", "x"], ["--bad"]):
        done = longshore(project, "validate", *arguments)
        assert done.returncode == 2
        assert done.stderr


def test_validate_says_in_one_line_that_a_file_is_valid(project: Project) -> None:
    project.write(".gitlab-ci.yml", FILE)
    done = longshore(project, "validate")
    assert (done.returncode, done.stdout, done.stderr) == (0, ".gitlab-ci.yml: valid, 4 jobs in 2 stages\n", "")


def test_warnings_go_to_stderr_and_change_nothing(project: Project) -> None:
    project.write(".gitlab-ci.yml", "job: {script: [x], id_tokens: {T: {aud: x}}}\n")
    for verb in (["plan", "--json"], ["validate"]):
        done = longshore(project, *verb)
        assert done.returncode == 0
        assert done.stderr.startswith("warning: .gitlab-ci.yml:1: job.id_tokens: has no effect here: ")


def test_names_that_look_like_markup_are_printed_as_they_are(project: Project) -> None:
    project.write(".gitlab-ci.yml", "'[bold]x[/bold]': {script: [x], rules: [{if: $CI}]}\n")
    assert "[bold]x[/bold]" in longshore(project, "plan").stdout
