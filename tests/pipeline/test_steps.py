"""A job's `run`: the scripts of its steps, each in a shell of its own."""

from __future__ import annotations

import subprocess

import pytest

from daemon.executors.common.script import script_text
from tests.support.project import Project

TEXT = """\
default: {before_script: [echo before], after_script: [echo after]}
job:
  variables: {OF_JOB: job}
  run:
    - name: first
      script: |
        echo "$GREETING $OF_JOB"
        GREETING=changed; cd /
      env: {GREETING: "it's $HOME", COUNT: 2}
    - name: "second\\nstep"
      script: echo "[$GREETING] $(pwd)" # the end
    - {name: fails, script: "false\\necho not reached"}
    - {name: last, script: echo too late}
"""


def test_each_step_has_its_own_shell_and_variables_and_the_first_failure_is_the_end(project: Project) -> None:
    job = project.job(TEXT)
    assert (job.before_script, job.after_script) == ([], [])
    shown = subprocess.run(
        ["sh", "-ec", script_text(job.script)],
        capture_output=True,
        text=True,
        check=False,
        cwd=project.root,
        env={"OF_JOB": "job", "PATH": "/usr/bin:/bin"},
    )
    assert shown.stdout.splitlines() == [
        "$ ( # first # collapsed multi-line command",
        "it's $HOME job",
        "$ ( # second step # collapsed multi-line command",
        f"[] {project.root}",
        "$ ( # fails # collapsed multi-line command",
    ]
    assert shown.returncode == 1


@pytest.mark.parametrize(
    ("job", "message"),
    [
        ("run: []", "job.run: is an empty list"),
        ("run: [{name: a}]", "job.run[0]: has no script; add `script`"),
        ("run: [{script: x}]", "job.run[0]: lacks 'name'"),
        (
            "run: [{name: a, step: ./b}]",
            "job.run[0].step: is refused: predefined steps are run by GitLab's step runner",
        ),
        ("run: [{name: a, script: 'echo ${{ env.A }}'}]", "job.run[0].script: ${{ ... }} is evaluated by"),
        ("run: [{name: a, script: x, env: {a-b: c}}]", "job.run[0].env: 'a-b' is not a valid variable name"),
        ("run: [{name: a, script: x}], script: [y]", "job.script: can't be used together with `run`"),
        ("run: [{name: a, script: x}], after_script: [y]", "job.after_script: can't be used together with `run`"),
    ],
)
def test_wrong_steps_are_refused(project: Project, job: str, message: str) -> None:
    problems = project.problems(f"job: {{{job}}}\n")
    assert len(problems) == 1
    assert message in problems[0]
