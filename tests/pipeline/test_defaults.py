"""`default` and `inherit:default`: every keyword of GitLab's, and which jobs get it."""

from __future__ import annotations

from tests.support.project import Project

DEFAULTS = """\
default:
  after_script: [after]
  artifacts: {paths: [a]}
  before_script: [before]
  cache: {paths: [c]}
  hooks: {pre_get_sources_script: [hook]}
  id_tokens: {TOKEN: {aud: example}}
  identity: google_cloud
  image: i
  interruptible: true
  retry: 2
  services: [s]
  tags: [t]
  timeout: 5 minutes
"""


def test_a_job_gets_each_default_and_an_own_keyword_replaces_it_as_a_whole(project: Project) -> None:
    job = project.job(DEFAULTS + "job: {script: [x], retry: {max: 1}, artifacts: {when: always, paths: []}}\n")
    assert (job.before_script, job.after_script, job.pre_get_sources_script) == (["before"], ["after"], ["hook"])
    assert job.image is not None
    assert (job.image.name, [service.name for service in job.services]) == ("i", ["s"])
    assert (job.interruptible, job.tags, job.timeout, job.retry.max) == (True, ["t"], 300.0, 1)
    assert [cache.paths for cache in job.caches] == [["c"]]
    assert job.artifacts is not None
    assert job.artifacts.paths == []


def test_inherit_selects_defaults_and_may_name_every_one_of_them(project: Project) -> None:
    every = (
        "after_script, artifacts, before_script, cache, hooks, id_tokens, identity, image, interruptible, retry, "
        "services, tags, timeout"
    )
    plan = project.plan(
        DEFAULTS
        + f"all: {{script: [x], inherit: {{default: [{every}]}}}}\n"
        + "some: {script: [x], inherit: {default: [retry, hooks, identity]}}\n"
        + "none: {script: [x], inherit: {default: false}}\n"
    )
    found = {job.name: (job.retry.max, job.pre_get_sources_script, job.interruptible, job.tags) for job in plan.jobs}
    assert found == {"all": (2, ["hook"], True, ["t"]), "some": (2, ["hook"], False, []), "none": (0, [], False, [])}


def test_a_job_that_starts_a_pipeline_inherits_only_what_it_may_have(project: Project) -> None:
    job = project.job(DEFAULTS + "job: {trigger: {include: child.yml}}\n")
    assert job.interruptible
    assert (job.retry.max, job.timeout, job.image, job.artifacts, job.tags) == (0, 3600.0, None, None, [])


def test_keywords_of_a_header_and_of_workflow_rules_that_only_gitlab_documents(project: Project) -> None:
    assert project.warnings("spec: {description: what it is for}\n---\njob: {script: [x]}\n") == []
    assert project.warnings("workflow: {rules: [{start_in: 5 minutes}]}\njob: {script: [x]}\n") == [
        ".gitlab-ci.yml:1: workflow.rules[0].start_in: has no effect here: it applies to jobs only, in GitLab too"
    ]
