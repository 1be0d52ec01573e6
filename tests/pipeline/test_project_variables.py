"""The project's own variables, kept in a file beside the pipeline file as the peer gitlab-ci-local keeps them."""

from __future__ import annotations

import pytest

from pipeline.project_variables import FILE_NAME
from protocol.errors import PipelineFileError
from protocol.plan import Variable
from tests.support.project import Project

JOB = "job: {script: [env]}\n"


def test_they_win_over_the_file_s_variables_and_lose_to_those_of_the_run(project: Project) -> None:
    project.write(FILE_NAME, "COLOR: from the project\nSHAPE: from the project\n")
    compiled = project.compile(
        "variables: {COLOR: global, SHAPE: global}\njob: {variables: {COLOR: job}, script: [env]}",
        variables={"SHAPE": "from --var"},
    )
    assert {variable.key: variable.value for variable in compiled.plan.run_variables} == {
        "COLOR": "from the project",
        "SHAPE": "from --var",
    }


def test_rules_and_includes_see_them(project: Project) -> None:
    project.write(FILE_NAME, "WHICH: more.yml\nDEPLOY: 'yes'\n")
    project.write("more.yml", "deploy: {script: [env], rules: [{if: $DEPLOY == 'yes'}]}\n")
    assert [job.name for job in project.compile("include: $WHICH\n").plan.jobs] == ["deploy"]


def test_values_stay_as_they_are_written(project: Project) -> None:
    project.write(FILE_NAME, "VERSION: 1.10\nMODE: 0755\nON: yes\nNOTHING:\nTEXT: |\n  two\n  lines\n")
    values = {variable.key: variable.value for variable in project.compile(JOB).plan.run_variables}
    assert values == {"VERSION": "1.10", "MODE": "0755", "ON": "yes", "NOTHING": "", "TEXT": "two\nlines\n"}


def test_the_long_form_tells_files_from_values(project: Project) -> None:
    project.write(
        FILE_NAME,
        """
        PLAIN: {values: {"*": /a/path}}
        CERTIFICATE: {type: file, values: {"*": "cost: $5"}}
        """,
    )
    assert project.compile(JOB).plan.run_variables == [
        Variable(key="PLAIN", value="/a/path"),
        Variable(key="CERTIFICATE", value="cost: $5", raw=True, file=True),
    ]


def test_a_path_is_never_read_and_other_environments_are_left_out_with_a_warning(project: Project) -> None:
    project.write("secret", "do not read\n")
    project.write(FILE_NAME, f"KEY: {project.root}/secret\nURL: {{values: {{production: a, '*': b}}}}\n")
    compiled = project.compile(JOB)
    values = [variable.value for variable in compiled.plan.run_variables]
    assert values == [f"{project.root}/secret", "b"]
    assert [(warning.line, warning.key) for warning in compiled.warnings] == [(1, "KEY"), (2, "URL.values")]


@pytest.mark.parametrize("text", ["", "---\n", "# nothing yet\n"])
def test_an_empty_file_has_none(project: Project, text: str) -> None:
    project.write(FILE_NAME, text)
    assert project.compile(JOB).plan.run_variables == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[a, b]", "1: must be a mapping, not a list"),
        ("A: 1\nB: [x]\n", "2: B: must be a string or a mapping, not a list"),
        ("A-B: 1\n", "1: 'A-B' is not a valid variable name"),
        ("A: {type: secret, values: {'*': x}}\n", "1: A.type: must be one of variable, file"),
        ("A: {value: {'*': x}}\n", "1: A.value: unknown keyword; did you mean 'values'?"),
        ("A: {values: x}\n", "1: A.values: must be a mapping of environments to strings"),
        ("A: 'open\n", "invalid YAML"),
        ("A: 1\n---\nB: 2\n", "1: has two documents"),
        ("a: &a [x]\nb: [*a, *a]\n", "1: a: must be a string or a mapping, not a list"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(project: Project, text: str, told: str) -> None:
    project.write(FILE_NAME, text)
    with pytest.raises(PipelineFileError) as caught:
        project.compile(JOB)
    assert any(str(problem).startswith(FILE_NAME) and told in str(problem) for problem in caught.value.problems)
