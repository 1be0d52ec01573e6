"""Stages, `parallel`, `needs` and `dependencies`."""

from __future__ import annotations

import pytest

from pipeline.needs import find_circle
from protocol.errors import PipelineFileError, UsageError
from protocol.plan import ExternalNeed
from tests.support.project import Project


def test_stages_are_in_order_and_only_those_that_have_jobs(project: Project) -> None:
    text = """
        stages: [one, two, three, one]
        c: {stage: three, script: [x]}
        z: {stage: .post, script: [x]}
        a: {stage: one, script: [x]}
        p: {stage: .pre, script: [x]}
        """
    assert project.plan(text).stages == [".pre", "one", "three", ".post"]


def test_without_stages_there_are_gitlab_s_and_jobs_are_tests(project: Project) -> None:
    plan = project.plan("a: {script: [x]}\nb: {stage: build, script: [x]}\n.hidden: {script: [x]}\n")
    assert plan.stages == ["build", "test"]
    assert [(job.name, job.stage) for job in plan.jobs] == [("a", "test"), ("b", "build")]


def test_parallel_jobs_are_named_as_in_gitlab_and_know_their_number(project: Project) -> None:
    text = "job: {script: [x], parallel: 3}\n"
    assert project.names(text) == ["job 1/3", "job 2/3", "job 3/3"]
    variables = project.variables(text, "job 2/3")
    assert (variables["CI_NODE_INDEX"], variables["CI_NODE_TOTAL"]) == ("2", "3")
    assert variables["CI_JOB_NAME_SLUG"] == "job-2-3"


def test_a_matrix_makes_a_job_of_every_combination(project: Project) -> None:
    text = "job: {script: [x], parallel: {matrix: [{A: [a, b], N: [1, 2.5]}, {A: c, F: true}]}}\n"
    assert project.names(text) == ["job: [a, 1]", "job: [a, 2.5]", "job: [b, 1]", "job: [b, 2.5]", "job: [c, true]"]
    variables = project.variables(text, "job: [b, 2.5]")
    assert (variables["A"], variables["N"], variables["CI_NODE_INDEX"]) == ("b", "2.5", "4")


@pytest.mark.parametrize(
    ("parallel", "message"),
    [
        ("0", "must be at least 1 and at most 200"),
        ("201", "must be at least 1 and at most 200"),
        ("x", "must be a whole number or a mapping"),
        ("{matrix: []}", "is empty"),
        ("{matrix: {A: b}}", "must be a list, not a mapping"),
        ("{matrix: [{A: []}]}", "yields 0 jobs"),
        (
            "{matrix: [{A: [%s], B: [%s], C: [%s]}]}" % ((", ".join(map(str, range(1000))),) * 3),
            "yields 1000000000 jobs",
        ),
        ("{matrx: [{A: b}]}", "did you mean 'matrix'?"),
        ("{matrix: [{A: %s}]}" % ("x" * 2000), "make a job's name longer than 2000 characters"),
    ],
    ids=range(9),
)
def test_wrong_parallels_are_refused(project: Project, parallel: str, message: str) -> None:
    assert any(message in problem for problem in project.problems(f"job: {{script: [x], parallel: {parallel}}}\n"))


def needs_of(project: Project, text: str, name: str) -> list[tuple[str, bool, bool]] | None:
    needs = project.job(text, name).needs
    return None if needs is None else [(need.job, need.artifacts, need.optional) for need in needs]


PRODUCERS = """
    stages: [build, test]
    plain: {stage: build, script: [x]}
    split: {stage: build, script: [x], parallel: 2}
    many: {stage: build, script: [x], parallel: {matrix: [{OS: [linux, mac], ARCH: [x, arm]}]}}
    gone: {stage: build, script: [x], rules: [{when: never}]}
"""


def test_needs_mean_all_jobs_of_a_parallel(project: Project) -> None:
    text = PRODUCERS + "    job: {stage: test, script: [x], needs: [split, {job: plain, artifacts: false}]}\n"
    assert needs_of(project, text, "job") == [
        ("split 1/2", True, False),
        ("split 2/2", True, False),
        ("plain", False, False),
    ]


@pytest.mark.parametrize(
    ("matrix", "names"),
    [
        ("[{OS: linux, ARCH: x}]", ["many: [linux, x]"]),
        ("[{ARCH: arm}]", ["many: [linux, arm]", "many: [mac, arm]"]),
        ("[{OS: [linux, mac], ARCH: x}]", ["many: [linux, x]", "many: [mac, x]"]),
        ("[{OS: mac, ARCH: x}, {OS: linux, ARCH: arm}]", ["many: [linux, arm]", "many: [mac, x]"]),
        ("[{OS: [mac, mac], ARCH: x}, {ARCH: x, OS: mac}]", ["many: [mac, x]"]),
    ],
)
def test_needs_select_jobs_of_a_matrix(project: Project, matrix: str, names: list[str]) -> None:
    text = (
        PRODUCERS + f"    job: {{stage: test, script: [x], needs: [{{job: many, parallel: {{matrix: {matrix}}}}}]}}\n"
    )
    assert [need.job for need in project.job(text).needs or ()] == names


def test_needs_may_name_one_job_of_a_parallel(project: Project) -> None:
    text = PRODUCERS + "    job: {stage: test, script: [x], needs: [split 2/2, 'many: [mac, arm]']}\n"
    assert [need.job for need in project.job(text).needs or ()] == ["split 2/2", "many: [mac, arm]"]


def test_matrix_expressions_pair_jobs_of_two_matrices(project: Project) -> None:
    text = (
        PRODUCERS
        + """
    job:
      stage: test
      script: [x]
      parallel: {matrix: [{OS: [linux, mac], CPU: [x]}]}
      needs:
        - job: many
          parallel:
            matrix:
              - OS: ["$[[ matrix.OS ]]"]
                ARCH: $[[matrix.CPU]]
        """
    )
    assert needs_of(project, text, "job: [mac, x]") == [("many: [mac, x]", True, False)]


def test_needs_of_a_rule_select_jobs_of_a_matrix_too(project: Project) -> None:
    text = (
        PRODUCERS
        + """
    job:
      stage: test
      script: [x]
      parallel: {matrix: [{OS: [linux, mac]}]}
      rules:
        - when: always
          needs: [{job: many, optional: true, parallel: {matrix: [{OS: "$[[ matrix.OS ]]", ARCH: [arm, bsd]}]}}]
        """
    )
    assert needs_of(project, text, "job: [mac]") == [("many: [mac, arm]", True, True)]


def test_a_large_selector_is_refused_at_once(project: Project) -> None:
    many = ", ".join(f"V{number}: [{', '.join('abcdefghij')}]" for number in range(20))
    (problem,) = project.problems(
        PRODUCERS
        + f"    job: {{stage: test, script: [x], needs: [{{job: many, parallel: {{matrix: [{{{many}}}]}}}}]}}\n"
    )
    assert "no job of 'many' has the matrix values V0: a, V1: a" in problem


def test_optional_needs_of_jobs_that_are_not_there_are_dropped(project: Project) -> None:
    text = (
        PRODUCERS
        + """
    job: {stage: test, script: [x], needs: [{job: gone, optional: true}, {job: unknown, optional: true}, plain]}
    alone: {stage: test, script: [x], needs: [{job: gone, optional: true}]}
"""
    )
    assert needs_of(project, text, "job") == [("plain", True, False)]
    assert needs_of(project, text, "alone") == []


def test_no_needs_are_not_empty_needs(project: Project) -> None:
    text = "a: {script: [x]}\nb: {script: [x], needs: []}\n"
    assert needs_of(project, text, "a") is None
    assert needs_of(project, text, "b") == []


def test_needs_of_other_pipelines_are_no_needs_of_this_one(project: Project) -> None:
    text = """
        variables: {P: "12", GROUP: g}
        a: {script: [x]}
        job:
          script: [x]
          needs:
            - a
            - {pipeline: $P, job: b}
            - {project: $GROUP/p, job: c, ref: main, artifacts: true}
            - {pipeline: $NO, job: d}
        none: {script: [x], needs: [{project: g/p, job: c, ref: main, artifacts: false}]}
        mirror: {needs: {pipeline: $GROUP/other}}
        one: {script: [x], needs: {pipeline: $P, job: b}}
        """
    assert needs_of(project, text, "job") == [("a", True, False)]
    assert project.job(text, "job").external_needs == [
        ExternalNeed(job="b", pipeline="12"),
        ExternalNeed(job="c", project="g/p", ref="main"),
        ExternalNeed(job="d", pipeline="$NO"),
    ]
    assert (needs_of(project, text, "none"), project.job(text, "none").external_needs) == ([], [])
    assert (needs_of(project, text, "mirror"), project.job(text, "mirror").mirrors) == (None, "g/other")
    assert project.job(text, "one").external_needs == [ExternalNeed(job="b", pipeline="12")]


@pytest.mark.parametrize(
    ("job", "problem"),
    [
        ("{script: [x], needs: [{project: g/p, ref: main}]}", "job.needs[0]: names no job; add `job:`"),
        ("{script: [x], needs: [{project: g/p, job: c}]}", "job.needs[0]: names no ref; add `ref:`"),
        ("{script: [x], needs: [{pipeline: g/p}]}", "job.needs[0]: names no job; add `job:`"),
        ("{script: [x], needs: [{pipeline: $P, project: g/p, job: c, ref: m}]}", "names both a project and a pipeline"),
        ("{script: [x], needs: {pipeline: g/p}}", "job.script: can't be used in a job with `needs:pipeline`"),
        ("{script: [x], needs: [" + "{pipeline: $P, job: c}, " * 6 + "]}", "names more than 5 jobs of other pipelines"),
        (
            "{trigger: {include: a.yml}, needs: [{pipeline: $P, job: c}]}",
            "job.needs[0]: a job with `trigger` can't get artifacts of other pipelines",
        ),
    ],
)
def test_needs_of_other_pipelines_that_gitlab_refuses_are_refused(project: Project, job: str, problem: str) -> None:
    with pytest.raises(PipelineFileError) as error:
        project.plan(f"job: {job}")
    assert problem in str(error.value)


def test_dependencies_are_jobs_of_this_plan(project: Project) -> None:
    text = (
        PRODUCERS
        + """
    job: {stage: test, script: [x], dependencies: [split, gone]}
    none: {stage: test, script: [x], dependencies: []}
    all: {stage: test, script: [x]}
        """
    )
    assert project.job(text).dependencies == ["split 1/2", "split 2/2"]
    assert project.job(text, "none").dependencies == []
    assert project.job(text, "all").dependencies is None


@pytest.mark.parametrize(
    ("job", "message"),
    [
        ("needs: [null]", "job.needs[0]: is empty"),
        ("needs: {job: build}", "job.needs: lacks 'pipeline'; write the jobs of this pipeline as a list"),
        ("needs: [plian]", "job.needs[0]: unknown job 'plian'; did you mean 'plain'?"),
        ("needs: [late]", "job.needs[0]: 'late' is in a later stage, '.post'"),
        ("needs: [gone]", "'gone' is not in this pipeline: rule 1 says `when: never`"),
        ("needs: [job]", "job.needs: the job needs itself"),
        ("needs: plain", "job.needs: must be a list or a mapping, not a string"),
        ("needs: [{artifacts: true}]", "job.needs[0]: names no job"),
        ("needs: [{job: many, parallel: {matrix: [{OS: bsd}]}}]", "no job of 'many' has the matrix values OS: bsd"),
        ("needs: [{job: many, parallel: {matrix: [{OS: [mac, bsd], ARCH: x}]}}]", "matrix values OS: bsd, ARCH: x"),
        (
            "needs: [{job: many, parallel: {matrix: [{OS: mac}, {CPU: x}]}}]",
            "no job of 'many' has the matrix values CPU",
        ),
        ("needs: [{job: many, parallel: {matrix: []}}]", "job.needs[0].parallel.matrix: is an empty list"),
        ("needs: [{job: split, parallel: {matrix: [{OS: bsd}]}}]", "no job of 'split' has the matrix values OS: bsd"),
        ("needs: [{job: split, parallel: 2}]", "must be a mapping, not a number; name a job of a numbered `parallel`"),
        ("needs: [{job: many, parallel: {matrix: [{OS: '$[[ matrix.OS ]]'}]}}]", "have a `parallel:matrix` themselves"),
        ("dependencies: [unknown]", "job.dependencies: unknown job 'unknown'"),
        ("dependencies: [late]", "job.dependencies: 'late' is in a later stage"),
        ("needs: [plain], dependencies: [split]", "'split' must be in `needs` too"),
        ("stage: tset", "unknown stage 'tset'; stages are .pre, build, test, .post; did you mean 'test'?"),
    ],
)
def test_wrong_links_are_refused(project: Project, job: str, message: str) -> None:
    stage = "" if "stage" in job else "stage: test, "
    text = PRODUCERS + f"    late: {{stage: .post, script: [x]}}\n    job: {{{stage}script: [x], {job}}}\n"
    problems = project.problems(text)
    assert len(problems) == 1
    assert message in problems[0]


def test_a_circle_of_needs_is_named(project: Project) -> None:
    text = "a: {script: [x], needs: [b]}\nb: {script: [x], needs: [c]}\nc: {script: [x], needs: [a]}\n"
    assert project.problems(text) == [".gitlab-ci.yml:1: a.needs: is circular: a -> b -> c -> a"]


def test_a_chain_of_many_thousand_needs_has_no_circle() -> None:
    assert find_circle({f"j{i}": [f"j{i + 1}"] for i in range(50_000)}) == []
    assert find_circle({f"j{i}": [f"j{(i + 1) % 50_000}"] for i in range(50_000)})


def test_a_job_that_is_needed_and_wrong_is_told_only_once(project: Project) -> None:
    assert project.problems("a: {script: [x], imagee: y}\nb: {script: [x], needs: [a], dependencies: [a]}\n") == [
        ".gitlab-ci.yml:1: a.imagee: unknown keyword; did you mean 'image'?"
    ]


SUBSET = """
    stages: [build, test, deploy]
    lib: {stage: build, script: [x]}
    app: {stage: build, script: [x], needs: [lib]}
    test: {stage: test, script: [x], parallel: 2, needs: [app]}
    other: {stage: test, script: [x]}
    deploy: {stage: deploy, script: [x], when: manual, needs: [test 1/2]}
    never: {stage: deploy, script: [x], rules: [{when: never}]}
    """


def test_a_job_that_is_asked_for_comes_with_what_it_needs(project: Project) -> None:
    assert project.names(SUBSET, jobs=["app"]) == ["lib", "app"]
    assert project.names(SUBSET, jobs=["test"]) == ["lib", "app", "test 1/2", "test 2/2"]
    assert project.names(SUBSET, jobs=["deploy", "other"]) == ["lib", "app", "test 1/2", "other", "deploy"]
    assert project.plan(SUBSET, jobs=["app"]).stages == ["build"]


def test_a_manual_job_that_is_asked_for_runs_by_itself(project: Project) -> None:
    assert project.job(SUBSET, "deploy").when == "manual"
    assert project.job(SUBSET, "deploy", jobs=["deploy"]).when == "on_success"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tset", "the pipeline has no job 'tset'; did you mean 'test'?"),
        ("never", "job 'never' is not in this pipeline: rule 1 says"),
    ],
)
def test_a_job_that_can_t_be_had_is_refused(project: Project, name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message.replace("?", r"\?")):
        project.plan(SUBSET, jobs=[name])


def test_an_empty_item_of_a_list_in_needs_is_none(project: Project) -> None:
    text = """
        .common: &common
          -
        a: {stage: build, script: [x]}
        job: {script: [x], needs: [*common, a]}
        """
    assert [need.job for need in project.job(text).needs or ()] == ["a"]
