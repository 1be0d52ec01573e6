"""`trigger`: what a job starts, and what of GitLab's forms is refused."""

from __future__ import annotations

import pytest

from protocol.errors import PipelineFileError
from protocol.plan import TriggerInclude, TriggerPlan
from tests.support.project import Project


def trigger(project: Project, text: str) -> TriggerPlan:
    """The trigger of the job `job`."""
    found = project.job(text).trigger
    assert found is not None
    return found


@pytest.mark.parametrize("include", ["/ci/child.yml", "{local: /ci/child.yml}", "[{local: /ci/child.yml}]"])
def test_a_child_s_file_may_be_a_path_a_mapping_or_a_list(project: Project, include: str) -> None:
    found = trigger(project, f"job: {{trigger: {{include: {include}}}}}")
    assert found == TriggerPlan(include=[TriggerInclude(local="/ci/child.yml")])


def test_a_child_is_made_of_up_to_three_files_of_any_kind(project: Project) -> None:
    found = trigger(
        project,
        """
        gen: {stage: build, script: [x]}
        job:
          variables: {WHO: me, SERVER: "https://example.com"}
          trigger:
            include:
              - {artifact: $WHO.yml, job: gen, inputs: {a: [1, b], c: true}}
              - {project: group/$WHO, ref: v1, file: [a.yml]}
              - $SERVER/c.yml
        """,
    )
    assert found.include == [
        TriggerInclude(artifact="me.yml", job="gen", inputs={"a": '[1, "b"]', "c": "true"}),
        TriggerInclude(project="group/me", ref="v1", file="a.yml"),
        TriggerInclude(remote="https://example.com/c.yml"),
    ]


def test_rules_of_a_file_are_left_to_the_child(project: Project) -> None:
    found = trigger(project, "job: {trigger: {include: [{local: a.yml, rules: [{if: $A, when: never}]}]}}")
    assert found.include == [TriggerInclude(local="a.yml", rules='[{"if": "$A", "when": "never"}]')]


def test_a_child_gets_the_variables_of_the_file_unless_forward_says_otherwise(project: Project) -> None:
    text = """
        variables: {TOP: a, HIDDEN: b}
        job:
          inherit: {variables: [TOP]}
          variables: {OWN: c}
          rules: [{if: $TOP, variables: {RULED: d}}]
          parallel: {matrix: [{EACH: [one]}]}
          environment: {name: prod}
          trigger: {include: a.yml, strategy: depend, forward: {FORWARD}}
        """
    named = text.replace("job:", "'job':").replace("{FORWARD}", "{pipeline_variables: true}")
    found = project.plan(named).jobs[0].trigger
    assert found is not None
    assert (found.yaml_variables, found.pipeline_variables) == (["TOP", "OWN", "EACH", "RULED"], True)
    assert found.strategy == "depend"
    none = project.plan(text.replace("{FORWARD}", "{yaml_variables: false}")).jobs[0].trigger
    assert none is not None
    assert (none.yaml_variables, none.pipeline_variables) == ([], False)


@pytest.mark.parametrize(
    ("job", "problem"),
    [
        (
            "{trigger: {strategy: depend}}",
            "job.trigger: names neither files nor a project; give `include` or `project`",
        ),
        ("{trigger: {include: a.yml, project: a/b}}", "names both a project and files"),
        ("{trigger: {include: a.yml, branch: main}}", "job.trigger.branch: belongs to `project`"),
        ("{trigger: {include: []}}", "job.trigger.include: names no file"),
        ("{trigger: {include: [a.yml, b.yml, c.yml, d.yml]}}", "names more than 3 files"),
        ("{trigger: {include: {project: a/b, file: [a.yml, b.yml, c.yml, d.yml]}}}", "names more than 3 files"),
        ("{trigger: {include: {project: a/b}}}", "names a project and no file; add `file:`"),
        ("{trigger: {include: {artifact: a.yml}}}", "include[0].artifact: says not which job leaves it; add `job:`"),
        ("{trigger: {include: {local: a.yml, job: job}}}", "job.trigger.include[0].job: belongs to `artifact`"),
        ("{trigger: {include: {local: a.yml, remote: b}}}", "names local and remote at once"),
        ("{trigger: {include: {artifact: a.yml, job: jop}}}", "the pipeline has no job 'jop'"),
        ("{trigger: {include: {local: a.yml, rules: [{unless: x}]}}}", "job.trigger.include.rules[0].unless"),
        ("{trigger: {include: a.yml, strategy: wait}}", "job.trigger.strategy"),
        ("{trigger: {include: a.yml}, script: [x]}", "job.script: can't be used in a job with `trigger`"),
        ("{trigger: {include: a.yml}, image: x, retry: 1}", "job.retry: can't be used in a job with `trigger`"),
        ("{trigger: {include: a.yml}, parallel: 3}", "write `parallel:matrix`"),
    ],
)
def test_a_trigger_that_gitlab_refuses_is_refused(project: Project, job: str, problem: str) -> None:
    with pytest.raises(PipelineFileError) as error:
        project.plan(f"job: {job}")
    assert problem in str(error.value)


def test_what_a_trigger_job_inherits_from_default_is_no_error(project: Project) -> None:
    text = "default: {image: x, before_script: [y], retry: 1}\njob: {trigger: {include: a.yml}, when: manual}"
    assert trigger(project, text).include == [TriggerInclude(local="a.yml")]


def test_a_trigger_job_wanted_alone_keeps_the_job_that_writes_its_file(project: Project) -> None:
    text = """
        gen: {stage: build, script: [x]}
        other: {stage: build, script: [x]}
        job: {trigger: {include: [{artifact: a.yml, job: gen}]}}
        """
    assert [job.name for job in project.plan(text, jobs=["job"]).jobs] == ["gen", "job"]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("group/project", TriggerPlan(project="group/project")),
        ("{project: $GROUP/project, branch: $BRANCH}", TriggerPlan(project="g/project", branch="main")),
        ("{project: $NO, strategy: mirror}", TriggerPlan(project="$NO", strategy="mirror")),
        ("{project: a/b, inputs: {n: 1}}", TriggerPlan(project="a/b", inputs={"n": "1"})),
    ],
)
def test_a_job_may_start_the_pipeline_of_another_project(project: Project, written: str, expected: TriggerPlan) -> None:
    known = {"GROUP": "g", "BRANCH": "main"}
    compiled = project.compile(f"job: {{trigger: {written}}}", variables=known)
    assert [job.trigger for job in compiled.plan.jobs] == [expected]
    assert compiled.warnings == []
