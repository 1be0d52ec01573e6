"""`inputs` of a job, and the expressions that use them."""

from __future__ import annotations

import pytest

from protocol.job_inputs import current, interpolated
from protocol.plan import JobInput, JobPlan
from tests.support.project import Project


def ran(job: JobPlan) -> JobPlan:
    """The job as a worker gets it when nobody sets an input."""
    return interpolated(job, current(job, {}))


def test_inputs_are_part_of_the_plan(project: Project) -> None:
    job = project.job(
        r"""
        job:
          inputs:
            environment: {default: staging, options: [staging, production], description: Where to}
            replicas: {type: number, default: 3, options: [1, 3]}
            debug: {type: boolean, default: false}
            tags: {type: array, default: [a, {b: [1.5]}]}
            version: {default: "1.10", regex: '/^\d+\.\d+$/', options: [1.9, "1.10"]}
          script: ['echo ${{ job.inputs.environment }}']
        """
    )
    assert job.inputs == {
        "environment": JobInput(default="staging", options=["staging", "production"], description="Where to"),
        "replicas": JobInput(type="number", default=3, options=[1, 3]),
        "debug": JobInput(type="boolean", default=False),
        "tags": JobInput(type="array", default=["a", {"b": [1.5]}]),
        "version": JobInput(default="1.10", regex=r"^\d+\.\d+$", options=["1.9", "1.10"]),
    }
    assert job.script == ["echo ${{ job.inputs.environment }}"]


def test_expressions_are_replaced_where_gitlab_replaces_them(project: Project) -> None:
    job = project.job(
        """
        job:
          inputs: {x: {default: X}, n: {type: number, default: 2}}
          image:
            name: i:${{ job.inputs.x }}
            entrypoint: ['e${{ job.inputs.x }}']
            docker: {user: 'u${{ job.inputs.n }}'}
          services:
            - {name: 's:${{ job.inputs.x }}', command: ['c${{ job.inputs.x }}'], variables: {V: '${{ job.inputs.x }}'}}
          variables: {V: '${{ job.inputs.x }}'}
          before_script: ['b ${{ job.inputs.x }}']
          script: ['s ${{ job.inputs.n * 2 }}', 'keep $[ a ] ${b} \\${{ c }}']
          after_script: ['a ${{ job.inputs.x }}']
          artifacts:
            name: 'n-${{ job.inputs.x }}'
            paths: ['p/${{ job.inputs.x }}']
            exclude: ['x/${{ job.inputs.x }}']
            reports:
              junit: 'j/${{ job.inputs.x }}'
              dotenv: 'd/${{ job.inputs.x }}'
              coverage_report: {coverage_format: cobertura, path: 'c/${{ job.inputs.x }}'}
          cache:
            - {key: 'k${{ job.inputs.x }}/', paths: ['c/${{ job.inputs.x }}'], fallback_keys: ['f${{ job.inputs.x }}']}
            - {key: {files: [Makefile], prefix: 'p-${{ job.inputs.x }}'}, paths: [d], policy: '${{ "pull" }}'}
        """
    )
    ready = ran(job)
    assert ready.inputs == {}
    assert (ready.image.name, ready.image.entrypoint, ready.image.user) == ("i:X", ["eX"], "u2")
    assert (ready.services[0].name, ready.services[0].command) == ("s:X", ["cX"])
    assert ready.services[0].variables[0].value == "${{ job.inputs.x }}"
    assert [each.value for each in ready.variables if each.key == "V"] == ["${{ job.inputs.x }}"]
    assert (ready.before_script, ready.after_script) == (["b X"], ["a X"])
    assert ready.script == ["s 4", "keep $[ a ] ${b} ${{ c }}"]
    artifacts = ready.artifacts
    assert (artifacts.name, artifacts.paths, artifacts.exclude) == ("n-X", ["p/X"], ["x/X"])
    assert (artifacts.junit, artifacts.dotenv, artifacts.cobertura) == (["j/X"], ["d/X"], ["c/X"])
    first, second = ready.caches
    assert (first.key, first.paths, first.fallback_keys) == ("kX/", ["c/X"], ["fX"])
    assert (second.key_files, second.key_prefix, second.policy) == (["Makefile"], "p-X", "pull")


def test_inputs_come_from_extends_and_references_and_every_instance_of_a_matrix_has_them(project: Project) -> None:
    plan = project.plan(
        """
        .base: {inputs: {a: {default: A}, b: {default: B}}}
        .other: {inputs: {c: {default: C}}}
        default: {before_script: ['before ${{ job.inputs.a }}']}
        job:
          extends: .base
          inputs: {b: {description: ours}}
          parallel: {matrix: [{OS: [x, y]}]}
          script: ['${{ job.inputs.a + job.inputs.b }}']
        other:
          inputs: !reference [.other, inputs]
          before_script: []
          script: ['${{ job.inputs.c }}']
        """
    )
    assert [(job.name, ran(job).script, ran(job).before_script) for job in plan.jobs] == [
        ("job: [x]", ["AB"], ["before A"]),
        ("job: [y]", ["AB"], ["before A"]),
        ("other", ["C"], []),
    ]
    assert plan.jobs[0].inputs["b"].description == "ours"


def test_without_inputs_expressions_stay_as_they_are(project: Project) -> None:
    text = """
    job:
      script: ['echo ${{ github.sha }} \\${{', 'echo ${{ job.inputs.x }}']
    """
    assert ran(project.job(text)).script == ["echo ${{ github.sha }} \\${{", "echo ${{ job.inputs.x }}"]
    assert project.warnings(text) == [
        ".gitlab-ci.yml:2: job.script[1]: the job has no `inputs`, so the expression stays as it is"
    ]


def test_elsewhere_in_a_job_expressions_stay_as_they_are_with_a_warning(project: Project) -> None:
    warnings = project.warnings(
        """
        job:
          inputs: {x: {default: X}}
          script: [make]
          variables:
            V: 'v ${{ job.inputs.x }}'
          tags:
            - ${{ job.inputs.x }}
        """
    )
    stays = "inputs of jobs are not available here: the text stays as it is; inputs of the file are: $[[ inputs.NAME ]]"
    assert warnings == [f".gitlab-ci.yml:5: job.variables.V: {stays}", f".gitlab-ci.yml:7: job.tags[0]: {stays}"]


@pytest.mark.parametrize(
    ("declared", "problem"),
    [
        ("{x: {type: number}}", "job.inputs.x: an input of a job must have a default value; jobs also run when nobody"),
        ("{x: }", "job.inputs.x: an input of a job must have a default value"),
        ("{x: {default: null}}", "job.inputs.x: an input of a job must have a default value"),
        ("{x: 1}", "job.inputs.x: must be a mapping, not a number"),
        ("{x: {default: 1.10}}", "job.inputs.x.default: is of type string, not a number; quote it"),
        ("{x: {default: one, type: number}}", "job.inputs.x.default: is of type number, not a string"),
        ("{x: {default: a, type: array}}", "job.inputs.x.default: is of type array, not a string"),
        ("{x: {default: a, type: text}}", "job.inputs.x.type: must be one of string, number, boolean, array"),
        ("{x: {default: c, options: [a, b]}}", "job.inputs.x.default: 'c' is not among the input's options: 'a', 'b'"),
        ("{x: {default: [a, c], type: array, options: [a]}}", "'c' is not among the input's options: 'a'"),
        (
            "{x: {default: true, type: boolean, options: [true]}}",
            "job.inputs.x.options: are not for inputs of type bool",
        ),
        ("{x: {default: a, options: [" + "a, " * 51 + "]}}", "job.inputs.x.options: are more than 50"),
        ("{x: {default: a, options: [a, null]}}", "job.inputs.x.options[1]: is empty"),
        ("{x: {default: a, regex: '^b'}}", "'a' does not match the input's regular expression ^b"),
        ("{x: {default: a, regex: '('}}", "/(/ is not a regular expression that RE2 supports"),
        ("{x: {default: 1, type: number, regex: '1'}}", "job.inputs.x.regex: is only for inputs of type string"),
        ("{x: {default: a, rules: []}}", "job.inputs.x.rules: unknown keyword"),
        ("{x: {default: 1.0e+400, type: number}}", "job.inputs.x.default: a number is too large"),
        ("{x: {default: " + "a" * 70_000 + "}}", "job.inputs.x.default: is longer than 65,536 characters"),
    ],
)
def test_a_wrong_declaration_is_an_error_of_the_file(project: Project, declared: str, problem: str) -> None:
    (found,) = project.problems(f"job:\n  script: [make]\n  inputs: {declared}\n")
    assert found.startswith(".gitlab-ci.yml:3: job.inputs.x")
    assert problem in found


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("${{ job.inputs.enviroment }}", "the job has no input 'enviroment'; did you mean 'environment'?"),
        ("${{ job.inputs.debug && job.inputs.flag || '' }}", "the job has no input 'flag'"),
        ("${{ vars.X }}", "unknown name 'vars' in ${{ ... }}; write job.inputs.NAME, or \\${{ for a literal ${{"),
        ("${{ job.name }}", "there is no job.name; write job.inputs.NAME"),
        ("${{ job.inputs.environment", "${{ job.inputs.environment\": unexpected '\"'"),
        (
            "${{ job.inputs.environment + 1 }}",
            "${{ job.inputs.environment + 1 }}: '+' can't be used",
        ),
        ("${{ 1 / 0 }}", "${{ 1 / 0 }}: it divides by zero"),
    ],
)
def test_a_wrong_expression_is_an_error_of_the_file(project: Project, text: str, problem: str) -> None:
    (found,) = project.problems(
        f"""
        job:
          inputs: {{environment: {{default: a}}, debug: {{type: boolean, default: false}}}}
          script:
            - make
            - |
              make "{text}"
        """
    )
    assert found.startswith(f".gitlab-ci.yml:5: job.script[1]: {problem}")


def test_expressions_that_make_too_much_of_their_inputs_are_an_error_of_the_file(project: Project) -> None:
    commands = [f"    - echo {number} ${{{{ job.inputs.x }}}}\n" for number in range(9)]
    text = "job:\n  inputs:\n    x: {default: " + "x" * 60_000 + "}\n  script:\n"
    assert ran(project.job(text + "".join(commands[:8]))).script
    (found,) = project.problems(text + "".join(commands))
    assert found.startswith(".gitlab-ci.yml:13: job.script[8]: ${{ job.inputs.x }}: the texts with expressions and")


def test_a_job_that_triggers_a_pipeline_has_no_inputs(project: Project) -> None:
    (found,) = project.problems("job:\n  trigger: {include: a.yml}\n  inputs: {x: {default: a}}\n")
    assert "job.inputs: can't be used in a job with `trigger`" in found


def test_the_expiry_of_artifacts_is_known_before_the_job_runs(project: Project) -> None:
    text = """
    job:
      inputs: {x: {default: 1 week}}
      script: [make]
      artifacts: {paths: [a], expire_in: "${{ job.inputs.x }}"}
    """
    assert project.problems(text) == [
        ".gitlab-ci.yml:4: job.artifacts.expire_in: '${{ job.inputs.x }}' is not a duration; `2 weeks`"
    ]


def test_default_has_no_inputs(project: Project) -> None:
    (found,) = project.problems("default: {inputs: {x: {default: a}}}\njob: {script: [make]}\n")
    assert "default.inputs: unknown keyword" in found
