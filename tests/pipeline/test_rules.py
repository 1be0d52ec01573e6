"""`rules`, `workflow`, `only` and `except`: what is in the pipeline, and how."""

from __future__ import annotations

import pytest

from pipeline.git_repository import NO_SHA, Repository
from tests.support.project import Project


def test_the_first_rule_that_holds_decides(project: Project) -> None:
    text = """
        job:
          script: [x]
          rules:
            - if: $GO == "manual"
              when: manual
            - if: $GO == "later"
              when: delayed
              start_in: 30 minutes
            - if: $GO == "never"
              when: never
            - if: $GO
              allow_failure: true
              interruptible: true
              variables: {FROM: rule}
        """
    assert project.job(text, variables={"GO": "manual"}).when == "manual"
    later = project.job(text, variables={"GO": "later"})
    assert (later.when, later.start_in) == ("delayed", 1800.0)
    assert project.names(text, variables={"GO": "never"}) == []
    assert project.names(text) == []
    job = project.job(text, variables={"GO": "yes"})
    assert (job.when, job.allow_failure, job.interruptible) == ("on_success", True, True)
    assert project.variables(text, variables={"GO": "yes"})["FROM"] == "rule"


def test_why_a_job_is_left_out_is_known(project: Project) -> None:
    text = """
        a: {script: [x], rules: [{if: $NOPE}]}
        b: {script: [x], rules: [{if: $NOPE}, {when: never}]}
        c: {script: [x], only: [tags]}
        """
    assert {job.name: job.excluded for job in project.compile(text).jobs} == {
        "a": "none of its rules matches",
        "b": "rule 2 says `when: never`",
        "c": "its `only` or `except` excludes it",
    }


def test_a_job_s_own_when_counts_where_the_rule_has_none(project: Project) -> None:
    job = project.job("job: {script: [x], when: manual, rules: [{if: $CI}]}\n")
    assert (job.when, job.allow_failure) == ("manual", True)


def test_manual_jobs_may_fail_unless_a_rule_makes_them_manual(project: Project) -> None:
    assert project.job("job: {script: [x], when: manual}\n").allow_failure
    assert not project.job("job: {script: [x], when: manual, allow_failure: false}\n").allow_failure
    assert not project.job("job: {script: [x], rules: [{when: manual}]}\n").allow_failure


def test_conditions_see_variables_as_they_are_written(project: Project) -> None:
    text = """
        variables: {NAME: main, NESTED: $NAME}
        plain: {script: [x], rules: [{if: $NAME == "main"}]}
        nested: {script: [x], rules: [{if: $NESTED == "main"}]}
        """
    assert project.names(text) == ["plain"]


def test_conditions_see_job_matrix_and_user_variables(project: Project) -> None:
    text = """
        variables: {V: global}
        job:
          script: [x]
          variables: {J: job}
          parallel: {matrix: [{M: [a, b]}]}
          rules: [{if: '$J == "job" && $M == "b" && $V == "user" && $CI_JOB_NAME == "job: [b]"'}]
        """
    assert project.names(text, variables={"V": "user"}) == ["job: [b]"]


def test_every_expression_is_checked_even_below_the_rule_that_holds(project: Project) -> None:
    (problem,) = project.problems("job:\n  script: [x]\n  rules:\n    - when: always\n    - if: $A ==\n")
    assert problem.startswith(
        ".gitlab-ci.yml:5: job.rules[1].if: '$A ==' is not a valid expression: a value is missing"
    )


def test_exists_sees_files_globs_folders_and_variables(project: Project) -> None:
    project.write("src/deep/a.py", "")
    project.write("ignored/b.py", "")
    project.write(".gitignore", "ignored/\n")
    project.commit()
    project.write("new.txt", "")
    rules = {
        "file": "src/deep/a.py",
        "glob": "**/*.py",
        "shallow": "*.py",
        "new": "new.txt",
        "ignored": "ignored/b.py",
        "folder": "src/deep/",
        "file-as-folder": "new.txt/",
        "variable": "$DIR/deep/a.py",
        "missing-variable": "$GONE/new.txt",
    }
    text = "variables: {DIR: src}\n" + "".join(
        f"{name}: {{script: [x], rules: [{{exists: ['{path}']}}]}}\n" for name, path in rules.items()
    )
    assert project.names(text) == ["file", "glob", "new", "folder", "variable"]


def test_exists_sees_the_files_as_they_are_on_disk(project: Project) -> None:
    for name in ("Dockerfile", "sub/gone", "becomes-folder", "folder/file", "kept.log", "linked/file"):
        project.write(name, "x")
    project.commit()
    project.write(".gitignore", "*.log\n")
    project.write("noise.log", "x")
    for name in ("Dockerfile", "sub/gone", "becomes-folder", "folder/file", "linked/file"):
        (project.root / name).unlink()
    project.write("becomes-folder/new", "x")
    (project.root / "folder").rmdir()
    project.write("folder", "a file now")
    (project.root / "linked").rmdir()
    (project.root / "linked").symlink_to("becomes-folder")
    (project.root / "empty").mkdir()
    paths = {
        "deleted": "Dockerfile",
        "deleted-below": "sub/*",
        "folder-of-deleted": "sub/",
        "now-a-folder": "becomes-folder",
        "in-new-folder": "becomes-folder/new",
        "now-a-file": "folder",
        "in-old-folder": "folder/file",
        "tracked-though-ignored": "kept.log",
        "ignored": "noise.log",
        "link": "linked",
        "below-a-link": "linked/*",
        "empty-folder": "empty",
    }
    text = "".join(f"{name}: {{script: [x], rules: [{{exists: ['{path}']}}]}}\n" for name, path in paths.items())
    assert project.names(text) == ["in-new-folder", "now-a-file", "tracked-though-ignored", "link"]


def test_exists_sees_the_files_of_a_submodule_that_is_checked_out(project: Project) -> None:
    library = Project(project.root.parent / "library")
    library.write("lib/a.txt", "x")
    library.commit()
    project.commit()
    project.git("-c", "protocol.file.allow=always", "submodule", "add", "-q", str(library.root), "vendor")
    text = "there: {script: [x], rules: [{exists: [vendor/lib/*.txt]}]}\n"
    text += "itself: {script: [x], rules: [{exists: [vendor]}]}\n"
    assert project.names(text) == ["there"]
    project.git("submodule", "deinit", "-q", "-f", "vendor")
    assert project.names(text, repository=Repository(project.root)) == []


def test_exists_looks_into_mapped_projects_and_takes_regular_expressions(project: Project) -> None:
    other = Project(project.root.parent / "other")
    other.write("Dockerfile", "")
    other.commit()
    text = """
        there: {script: [x], rules: [{exists: {paths: [Dockerfile], project: group/other, ref: main}}]}
        here: {script: [x], rules: [{exists: {paths: [Dockerfile]}}]}
        regexp: {script: [x], rules: [{exists: {regexp: '^\\.gitlab-ci\\.ya?ml$'}}]}
        """
    assert project.names(text, projects={"group/other": other.root}) == ["there", "regexp"]


CHANGES = """
    a: {script: [x], rules: [{changes: [src/**/*]}]}
    b: {script: [x], rules: [{changes: {paths: ["*.md"]}}]}
    """


def test_changes_are_those_since_the_last_commit_and_what_is_not_committed(project: Project) -> None:
    project.write("src/a.py", "")
    project.write(".gitlab-ci.yml", CHANGES)
    project.commit()
    project.write("README.md", "")
    project.commit("second")
    assert project.names() == ["b"]
    project.write("src/new.py", "")
    assert project.names() == ["a", "b"]


def test_changes_of_a_branch_are_those_since_it_left_the_default_branch(project: Project) -> None:
    project.write(".gitlab-ci.yml", CHANGES)
    project.commit()
    project.git("checkout", "-q", "-b", "topic")
    project.write("src/a.py", "")
    project.commit("on the branch")
    project.write("other", "")
    project.commit("still on it")
    assert project.names() == ["a"]


def test_changes_of_a_merge_request_are_those_since_it_left_its_target(project: Project) -> None:
    project.write(".gitlab-ci.yml", CHANGES)
    project.commit()
    project.git("checkout", "-q", "-b", "topic")
    project.write("src/a.py", "")
    project.commit("on the branch")
    project.git("update-ref", "refs/remotes/origin/topic", "HEAD")
    project.git("config", "branch.topic.remote", "origin")
    project.git("config", "branch.topic.merge", "refs/heads/topic")
    project.git("config", "remote.origin.url", "git@example.com:g/p.git")
    project.git("config", "remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*")
    project.write("README.md", "")
    project.commit("not pushed")
    assert project.names() == ["b"]
    assert project.names(variables={"CI_PIPELINE_SOURCE": "merge_request_event"}) == ["a", "b"]


def test_changes_compare_to_a_ref_that_is_named(project: Project) -> None:
    project.write("src/a.py", "")
    project.commit()
    project.git("tag", "v1")
    for number in range(3):
        project.write("README.md", str(number))
        project.commit(f"edit {number}")
    text = "job: {script: [x], rules: [{changes: {paths: ['*.md'], compare_to: %s}}]}\n"
    assert project.names(text % "$BASE", variables={"BASE": "v1"}) == ["job"]
    assert project.names("job: {script: [x], rules: [{changes: {paths: [src/*], compare_to: v1}}]}\n") == []
    assert "'v9' is not a ref of this repository" in project.problems(text % "v9")[0]
    project.git("update-ref", "refs/remotes/origin/far", "v1")
    assert project.names(text % "far") == project.names(text % "refs/heads/far") == ["job"]


PUSHED = """
    rules: {script: [x], rules: [{changes: [src/*]}]}
    only: {script: [x], only: {refs: [branches, tags, schedules, external_pull_requests], changes: [src/*]}}
    except: {script: [x], except: {changes: [src/*]}}
    compared: {script: [x], rules: [{changes: {paths: [src/*], compare_to: main}}]}
    """


@pytest.fixture
def untouched(project: Project) -> Project:
    """A repository whose last commit touches nothing in src."""
    project.write("src/a.py", "")
    project.write(".gitlab-ci.yml", PUSHED)
    project.commit()
    project.write("other", "")
    project.commit("second")
    return project


@pytest.mark.parametrize("source", ["push", "parent_pipeline"])
def test_pipelines_that_a_push_has_started_have_its_changes(untouched: Project, source: str) -> None:
    given = {"CI_PIPELINE_SOURCE": source}
    assert untouched.names(variables=given) == ["except"]
    assert untouched.variables(PUSHED, "except", variables=given)["CI_COMMIT_BEFORE_SHA"] == untouched.git(
        "rev-parse", "HEAD~1"
    )


@pytest.mark.parametrize(
    "source", ["schedule", "web", "api", "trigger", "pipeline", "chat", "external", "webide", "ondemand_dast_scan"]
)
def test_without_a_push_every_path_counts_as_changed_unless_it_is_compared_to_a_ref(
    untouched: Project, source: str
) -> None:
    given = {"CI_PIPELINE_SOURCE": source}
    assert untouched.names(variables=given) == ["rules", "only"]
    assert untouched.variables(PUSHED, "rules", variables=given)["CI_COMMIT_BEFORE_SHA"] == NO_SHA


def test_in_a_pipeline_of_a_tag_every_path_counts_as_changed(untouched: Project) -> None:
    assert untouched.names(variables={"CI_COMMIT_TAG": "v1"}) == ["rules", "only"]
    untouched.git("tag", "v1")
    untouched.git("checkout", "-q", "v1")
    assert untouched.names() == ["rules", "only"]


def test_the_whole_pipeline_and_what_it_includes_go_by_the_same_changes(untouched: Project) -> None:
    untouched.write("more.yml", "more: {script: [x]}\n")
    untouched.commit("third")
    text = """
        workflow: {rules: [{changes: [src/*]}]}
        include: {local: more.yml, rules: [{changes: [src/*]}]}
        job: {script: [x]}
        """
    assert untouched.names(text) == []
    assert untouched.names(text, variables={"CI_PIPELINE_SOURCE": "web"}) == ["more", "job"]


@pytest.mark.parametrize("source", ["merge_request_event", "external_pull_request_event", "parent_pipeline"])
def test_a_request_to_merge_is_compared_with_where_it_goes(untouched: Project, source: str) -> None:
    untouched.git("branch", "release", "HEAD~1")
    given = {"CI_PIPELINE_SOURCE": source}
    target = "CI_EXTERNAL_PULL_REQUEST" if source.startswith("external") else "CI_MERGE_REQUEST"
    given[f"{target}_TARGET_BRANCH_NAME"] = "release"
    text = "src: {script: [x], rules: [{changes: [src/*]}]}\nother: {script: [x], rules: [{changes: [other]}]}\n"
    assert untouched.names(text, variables=given) == ["other"]


def test_a_merge_request_before_the_first_commit_has_changed_everything(project: Project) -> None:
    project.git("init", "-q", "-b", "trunk")
    text = "job: {script: [x], rules: [{changes: [src/*]}]}\n"
    assert project.names(text, variables={"CI_PIPELINE_SOURCE": "merge_request_event"}) == ["job"]


def test_a_deletion_is_a_change_committed_or_not(project: Project) -> None:
    project.write("src/deep/a.py", "")
    project.write("src/b", "")
    project.write("kept", "")
    project.commit()
    text = """
        file: {script: [x], rules: [{changes: [src/deep/a.py]}]}
        folder: {script: [x], rules: [{changes: [src/**/*]}]}
        kept: {script: [x], rules: [{changes: [kept]}]}
        """
    project.write(".gitlab-ci.yml", text)
    project.commit("the file itself")
    (project.root / "src" / "deep" / "a.py").unlink()
    assert project.names() == ["file", "folder"]
    project.commit("deleted")
    assert project.names() == ["file", "folder"]


def test_rules_see_what_a_job_s_environment_gives(project: Project) -> None:
    text = """
        job:
          script: [x]
          variables: {WHERE: prod}
          environment: {name: $WHERE/eu, url: "https://x"}
          rules: [{if: '$CI_ENVIRONMENT_NAME == "prod/eu" && $CI_ENVIRONMENT_TIER == "production"'}]
        other: {script: [x], rules: [{if: $CI_ENVIRONMENT_NAME}]}
        """
    assert project.names(text) == ["job"]


def test_without_a_history_every_path_counts_as_changed(project: Project) -> None:
    assert project.names(CHANGES) == ["a", "b"]
    project.commit()
    assert project.names(CHANGES) == ["a", "b"]


def test_a_rule_may_bring_other_needs(project: Project) -> None:
    text = """
        stages: [build, test]
        a: {stage: build, script: [x]}
        b: {stage: build, script: [x]}
        job:
          stage: test
          script: [x]
          needs: [a]
          rules:
            - if: $OTHER
              needs: [b]
            - when: always
        """
    assert [need.job for need in project.job(text).needs or ()] == ["a"]
    assert [need.job for need in project.job(text, variables={"OTHER": "1"}).needs or ()] == ["b"]


def test_workflow_rules_leave_a_whole_pipeline_out(project: Project) -> None:
    text = """
        workflow: {rules: [{if: $NO, when: never}, {if: $CI_COMMIT_BRANCH == $WANTED}]}
        job: {script: [x]}
        """
    assert project.names(text, variables={"WANTED": "main"}) == ["job"]
    assert project.compile(text).left_out == "`workflow:rules` exclude the pipeline"
    assert project.compile(text, variables={"NO": "1"}).left_out == "`workflow:rules` say `when: never`"
    assert project.names(text) == []


def test_workflow_gives_the_run_a_name_variables_and_what_cancels_it(project: Project) -> None:
    text = """
        variables: {TARGET: default, KEPT: kept}
        workflow:
          name: "to $TARGET on $CI_COMMIT_BRANCH"
          auto_cancel: {on_new_commit: interruptible, on_job_failure: all}
          rules:
            - if: $CI
              variables: {TARGET: rule}
              auto_cancel: {on_new_commit: none}
        job: {script: [x]}
        own: {script: [x], variables: {TARGET: job}}
        """
    plan = project.plan(text)
    assert plan.name == "to rule on main"
    assert (plan.auto_cancel_on_new_commit, plan.auto_cancel_on_job_failure) == ("none", "all")
    assert project.variables(text)["TARGET"] == "rule"
    assert project.variables(text)["KEPT"] == "kept"
    assert project.variables(text, "own")["TARGET"] == "job"


def test_where_the_workflow_has_rules_jobs_without_any_are_in_every_pipeline(project: Project) -> None:
    text = "job: {script: [x]}\nonly: {script: [x], only: [branches]}\n"
    merge_request = {"CI_PIPELINE_SOURCE": "merge_request_event"}
    assert project.names(text, variables=merge_request) == []
    assert project.names(text + "workflow: {rules: [{if: $CI}]}\n", variables=merge_request) == ["job"]


@pytest.mark.parametrize(
    ("policy", "variables", "present"),
    [
        ("", {}, True),
        ("only: [branches]", {}, True),
        ("only: [tags]", {}, False),
        ("only: [tags]", {"CI_COMMIT_TAG": "v1"}, True),
        ("except: [branches]", {"CI_COMMIT_TAG": "v1"}, True),
        ("only: [main]", {}, True),
        ("only: [/^ma/]", {}, True),
        ("only: [/^MA/i]", {}, True),
        ("only: [/^x/]", {}, False),
        ("only: [main@group/other]", {}, False),
        ("only: ['/^main$/@local/project']", {}, True),
        ("only: [pushes]", {}, True),
        ("only: [schedules]", {}, False),
        ("only: [schedules]", {"CI_PIPELINE_SOURCE": "schedule"}, True),
        ("only: [merge_requests]", {"CI_PIPELINE_SOURCE": "merge_request_event"}, True),
        ("", {"CI_PIPELINE_SOURCE": "merge_request_event"}, False),
        ("except: [main]", {}, False),
        ("only: [main], except: [schedules]", {"CI_PIPELINE_SOURCE": "schedule"}, False),
        ("only: {variables: [$A, $B]}", {"B": "1"}, True),
        ("only: {variables: [$A]}", {}, False),
        ("only: {variables: [$A]}", {"A": "1", "CI_PIPELINE_SOURCE": "merge_request_event"}, False),
        ("only: {refs: [main], variables: [$A]}", {}, False),
        ("except: {variables: [$A], refs: [tags]}", {"A": "1"}, False),
        ("only: {kubernetes: active}", {}, False),
        ("only: {changes: ['*.md']}", {}, True),
        ("rules: [{if: $CI}]", {"CI_PIPELINE_SOURCE": "merge_request_event"}, True),
    ],
)
def test_only_and_except(project: Project, policy: str, variables: dict[str, str], present: bool) -> None:
    comma = ", " if policy else ""
    assert (project.names(f"job: {{script: [x]{comma}{policy}}}\n", variables=variables) == ["job"]) is present


@pytest.mark.parametrize(
    ("job", "message"),
    [
        ("rules: []", "job.rules: is an empty list"),
        ("rules: [{if: $A, wehn: manual}]", "job.rules[0].wehn: unknown keyword; did you mean 'when'?"),
        ("rules: [{when: sometimes}]", "job.rules[0].when: must be one of on_success"),
        ("when: never", "`never` belongs in `rules`"),
        ("rules: [{if: $A}], only: [main]", "job.only: can't be used together with `rules`"),
        ("rules: [{when: delayed}]", "job.start_in: a delayed job needs `start_in`"),
        ("rules: [{when: delayed, start_in: 8 days}]", "is not a duration of at most a week"),
        ("start_in: 5 minutes", "job.start_in: needs `when: delayed`"),
        ("start_in: 5 minutes, when: manual", "job.start_in: needs `when: delayed`"),
        ("rules: [{when: manual, start_in: 5 minutes}]", "job.rules[0].start_in: needs `when: delayed`"),
        (
            "when: delayed, start_in: 5 minutes, rules: [{when: always}]",
            "job.start_in: can't be used together with `rules`",
        ),
        ("only: main", "job.only: must be a list or a mapping, not a string"),
        ("rules: [{exists: {paths: [x], project: a/b}}]", "map its directory: --project a/b=DIR"),
        ("rules: [{exists: {regexp: '('}}]", "is not a regular expression that RE2 supports"),
    ],
)
def test_wrong_rules_are_refused(project: Project, job: str, message: str) -> None:
    problems = project.problems(f"job: {{script: [x], {job}}}\n")
    assert len(problems) == 1
    assert message in problems[0]
