"""`environment`: what a plan has of it, and which stop jobs and times are refused."""

from __future__ import annotations

import pytest

from protocol.plan import EnvironmentSpec
from tests.support.project import Project

STOP = "stop: {script: [x], when: manual, environment: {name: 'review/$CI_COMMIT_REF_SLUG', action: stop}}\n"


def spec(project: Project, text: str, name: str = "job") -> EnvironmentSpec:
    found = next(job.environment for job in project.plan(text).jobs if job.name == name)
    assert found is not None
    return found


def test_a_plan_has_name_slug_tier_stop_job_and_time(project: Project) -> None:
    text = """
        variables: {STAY: 2 hours}
        job:
          script: [x]
          environment:
            name: review/$CI_COMMIT_REF_SLUG
            url: https://$CI_ENVIRONMENT_SLUG.example.com
            on_stop: stop
            auto_stop_in: $STAY and 30 minutes
        stop:
          script: [x]
          when: manual
          environment: {name: review/$CI_COMMIT_REF_SLUG, action: stop}
        """
    found = spec(project, text)
    assert found.name == "review/main"
    assert found.slug.startswith("review-main-")
    assert (found.tier, found.action, found.on_stop) == ("development", "start", "stop")
    assert found.auto_stop_in == 2.5 * 3600
    assert found.url == "https://$CI_ENVIRONMENT_SLUG.example.com"
    assert spec(project, text, "stop").action == "stop"


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("1 day", 86_400.0),
        ("one week", 7 * 86_400.0),
        ("90", 90.0),
        ("never", None),
        ("$NOT_SET", None),
        ("1h30m", 5400.0),
    ],
)
def test_times_are_read_as_gitlab_reads_them(project: Project, written: str, seconds: float | None) -> None:
    text = f"job: {{script: [x], environment: {{name: e, auto_stop_in: {written}}}}}\n"
    assert spec(project, text).auto_stop_in == seconds


def test_the_id_of_an_environment_is_the_same_in_all_jobs_and_of_its_project(project: Project) -> None:
    text = """
        a: {script: [x], environment: e}
        b: {script: [x], environment: {name: e, action: stop}}
        c: {script: [x], environment: f}
        """
    a, b, c = (project.variables(text, name)["CI_ENVIRONMENT_ID"] for name in "abc")
    assert a == b != c
    assert a.isdecimal()


def test_a_stop_job_may_be_excluded_by_its_rules(project: Project) -> None:
    stop = STOP.replace("when: manual", "rules: [{if: $NEVER_SET, when: manual}]")
    text = "job: {script: [x], environment: {name: 'review/$CI_COMMIT_REF_SLUG', on_stop: stop}}\n" + stop
    assert spec(project, text).on_stop == "stop"
    assert project.names(text) == ["job"]


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ("{name: a, on_stop: stp}", "environment.on_stop: there is no job 'stp'; did you mean 'stop'?"),
        ("{name: a, on_stop: other}", "job 'other' has no environment; give it the same one with `action: stop`"),
        ("{name: a, on_stop: stop}", "job 'stop' has another environment, 'review/$CI_COMMIT_REF_SLUG'"),
        ("{name: b, on_stop: start}", "job 'start' does not stop its environment; give it `action: stop`"),
        ("{name: b, on_stop: plain}", "job 'plain' does not stop its environment; give it `action: stop`"),
        ("{name: b, auto_stop_in: soon}", "environment.auto_stop_in: 'soon' is not a duration; write `1 day`"),
        ("{name: b, auto_stop_in: 0}", "'0' is not a duration"),
        ("{name: b, auto_stop_in: 999999 years}", "'999999 years' is not a duration"),
        ("{name: b, action: begin}", "must be one of start, prepare, stop, verify, access"),
        ("{name: b, deployment_tier: prod}", "must be one of production, staging, testing, development, other"),
        ("{name: 'a#b'}", "environment.name: 'a#b' is not a name of an environment"),
        ("{name: 'a\\b'}", "environment.name: 'a\\\\b' is not a name of an environment"),
        ("/a", "environment: '/a' is not a name of an environment"),
        ("{name: " + "x" * 256 + "}", "has more than 255 characters"),
    ],
    ids=range(14),
)
def test_what_gitlab_refuses_is_refused_once_with_its_line(project: Project, environment: str, message: str) -> None:
    text = f"""
        job: {{script: [x], parallel: 2, rules: [{{variables: {{A: b}}}}], environment: {environment}}}
        other: {{script: [x]}}
        start: {{script: [x], environment: {{name: b}}}}
        plain: {{script: [x], environment: b}}
        {STOP}"""
    (problem,) = project.problems(text)
    assert problem.startswith(".gitlab-ci.yml:1: job.environment")
    assert message in problem


@pytest.mark.parametrize(
    ("stop", "names"),
    [
        ("when: manual", ["deploy", "stop"]),
        ("when: manual, needs: [deploy]", ["deploy", "stop"]),
        ("when: manual, needs: [deploy, other]", ["deploy"]),
        ("when: always", ["deploy"]),
        ("rules: [{when: manual}]", ["deploy", "stop"]),
    ],
)
def test_a_job_that_is_asked_for_comes_with_the_job_that_stops_its_environment(
    project: Project, stop: str, names: list[str]
) -> None:
    text = f"""
        deploy: {{script: [x], environment: {{name: e, on_stop: stop}}}}
        other: {{script: [x]}}
        stop: {{script: [x], environment: {{name: e, action: stop}}, {stop}}}
        """
    jobs = {job.name: job for job in project.compile(text, jobs=["deploy"]).plan.jobs}
    assert sorted(jobs) == names
    if "stop" in jobs:
        assert (jobs["stop"].when, jobs["stop"].allow_failure) == ("manual", True)
