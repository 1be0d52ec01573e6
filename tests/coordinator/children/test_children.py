"""What a child pipeline is compiled from: the parent's snapshot, facts, changes and artifacts."""

from __future__ import annotations

import pytest

from protocol.plan import TriggerInclude, Variable
from protocol.variables import expand_all
from tests.coordinator.children.conftest import Parent, local
from tests.support.git_workspaces import git

JOB = "job: {script: [make]}\n"


def test_a_child_is_read_as_it_was_on_disk_with_uncommitted_changes_and_new_files(parent: Parent) -> None:
    parent.project.write("child.yml", "include: [inner.yml, /new.yml]\njob: {script: [old]}\n")
    parent.project.write("inner.yml", "inner: {script: [committed]}\n")
    parent.project.commit()
    parent.project.write("inner.yml", "inner: {script: [uncommitted]}\n")
    parent.project.write("new.yml", "new: {script: [new]}\n")
    parent.snap()

    jobs = parent.jobs(local("child.yml"))

    assert {name: job.script for name, job in jobs.items()} == {
        "inner": ["uncommitted"],
        "new": ["new"],
        "job": ["old"],
    }


def test_rules_exists_looks_into_the_snapshot(parent: Parent) -> None:
    parent.project.write(".gitignore", "ignored.txt\n")
    parent.project.write("ignored.txt", "")
    parent.project.write("src/main.c", "")
    rules = [("source", "src/*.c"), ("none", "ignored.txt")]
    parent.project.write(
        "child.yml", "".join(f"{name}: {{script: [x], rules: [exists: ['{glob}']]}}\n" for name, glob in rules)
    )
    parent.commit()

    assert list(parent.jobs(local("child.yml"))) == ["source"]


def test_a_child_knows_its_parent_and_has_the_facts_of_its_commit(parent: Parent) -> None:
    parent.project.write(
        "child.yml",
        "workflow: {rules: [if: $CI_PIPELINE_SOURCE == 'parent_pipeline'], name: child of $CI_PARENT_PIPELINE_ID}\n"
        + JOB,
    )
    parent.commit()
    of_parent = expand_all(parent.project.plan().predefined)

    plan = parent.compiled(local("child.yml"), default_image="alpine:3").plan

    known = expand_all(plan.predefined)
    changed = {key for key in known if known[key] != of_parent.get(key)}
    added = {"CI_UPSTREAM_JOB_ID", "CI_UPSTREAM_PIPELINE_ID"}
    assert changed == {"CI_PIPELINE_SOURCE", "CI_PARENT_PIPELINE_ID", "CI_PIPELINE_NAME", *added}
    assert known["CI_PARENT_PIPELINE_ID"] == "7"
    assert plan.name == "child of 7"
    assert (plan.project, plan.project_dir) == (of_parent["CI_PROJECT_PATH"], of_parent["CI_PROJECT_DIR"])
    assert plan.default_image == "alpine:3"


def test_forwarded_variables_override_those_of_the_child_and_the_projects_own(parent: Parent) -> None:
    parent.project.write("child.yml", "variables: {A: child, B: child, C: child}\n" + JOB)
    parent.commit()

    plan = parent.compiled(
        local("child.yml"),
        project_variables=[Variable(key="A", value="project"), Variable(key="B", value="project")],
        variables=[Variable(key="A", value="forwarded", masked=True)],
    ).plan

    [job] = plan.jobs
    known = expand_all([*plan.predefined, *job.variables, *plan.run_variables])
    assert [known[key] for key in "ABC"] == ["forwarded", "project", "child"]
    assert [variable.masked for variable in plan.run_variables] == [False, False, True]
    assert plan.project_variables == 2


def test_several_files_make_one_child_and_get_their_inputs(parent: Parent) -> None:
    header = "spec: {inputs: {count: {type: number}, names: {type: array, default: [none]}}}\n---\n"
    for name in ("one", "two"):
        job = f"{name}: {{parallel: '$[[ inputs.count ]]', script: '$[[ inputs.names ]]'}}\n"
        parent.project.write(f"{name}.yml", header + job)
    parent.commit()

    jobs = parent.jobs(local("one.yml", count="2", names='["ä", "b"]'), local("two.yml"), inputs={"count": "1"})

    assert {name: job.script for name, job in jobs.items()} == {
        "one 1/2": ["ä", "b"],
        "one 2/2": ["ä", "b"],
        "two 1/1": ["none"],
    }


def test_a_file_whose_rules_do_not_match_is_left_out(parent: Parent) -> None:
    for name in ("one", "two", "three"):
        parent.project.write(f"{name}.yml", f"{name}: {{script: [x]}}\n")
    parent.commit()

    jobs = parent.jobs(
        TriggerInclude(local="one.yml", rules='[{"if": "$CI_PIPELINE_SOURCE == \'parent_pipeline\'"}]'),
        TriggerInclude(local="two.yml", rules='[{"if": "$NO"}]'),
        TriggerInclude(local="three.yml", rules='[{"exists": ["one.yml"], "when": "never"}]'),
    )

    assert [*jobs] == ["one"]


def test_a_generated_file_is_found_among_artifacts_and_includes_files_of_the_snapshot(parent: Parent) -> None:
    parent.project.write("common.yml", ".base: {image: alpine}\n")
    parent.commit()
    data = b"include: common.yml\njob: {extends: .base, script: [x]}\n"
    archives = [parent.archive({"out/other.yml": b"-", "./out/child.yml": data, "../../etc/cron.d/x": b"hostile"})]

    jobs = parent.jobs(TriggerInclude(artifact="out/child.yml", job="gen"), archives={"gen": archives})

    assert jobs["job"].image is not None
    assert jobs["job"].image.name == "alpine"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (
            "job:\n  script: [x]\n  stage: nowhere\n",
            "artifact generate:child.yml:3: job.stage: unknown stage 'nowhere'",
        ),
        ("job: {script: [x]\n", "artifact generate:child.yml:2: invalid YAML: did not find expected"),
        ("", "artifact generate:child.yml: the file is empty"),
        ("\n\ninclude: missing.yml\n", "artifact generate:child.yml:3: include: there is no file 'missing.yml'"),
        ("job: {script: [x], rules: [when: never]}\n", "child.yml: the pipeline has nothing to run: its rules"),
    ],
)
def test_a_bad_generated_file_is_told_with_file_and_line(parent: Parent, content: str, problem: str) -> None:
    parent.commit()
    include, fields = parent.generated(content)

    [found] = parent.problems(include, **fields)

    assert found.startswith(problem)


def test_a_local_file_may_have_wildcards(parent: Parent) -> None:
    for name in "ab":
        parent.project.write(f"ci/{name}.yml", f"{name}: {{script: [x]}}\n")
    parent.commit()
    assert list(parent.jobs(local("/ci/*.yml"))) == ["a", "b"]


def test_missing_files_are_told(parent: Parent) -> None:
    parent.project.write("child.yml", JOB)
    parent.commit()
    archives = {"generate": [parent.archive({"folder/file": b"", "big.yml": bytes(11 << 20)}, link="/etc/passwd")]}

    def of_artifact(path: str, job: str = "generate") -> str:
        return parent.problems(TriggerInclude(artifact=path, job=job), archives=archives)[0]

    assert parent.problems(local("chld.yml")) == [
        ".gitlab-ci.yml: go.trigger.include.local: there is no file 'chld.yml'; did you mean 'child.yml'?"
    ]
    assert "there is no 'x.yml' among the artifacts of 'generate'; name it in its `artifacts:paths`" in of_artifact(
        "x.yml"
    )
    assert "there is no 'x.yml' among the artifacts of 'other'" in of_artifact("x.yml", "other")
    assert "'link.yml' in the artifacts of 'generate' is a link, not a file" in of_artifact("link.yml")
    assert "'big.yml' in the artifacts of 'generate' is larger than 10 MB" in of_artifact("big.yml")


def test_changes_are_those_of_the_parents_push(parent: Parent) -> None:
    parent.project.write("old.txt", "")
    parent.project.write("kept.txt", "")
    parent.project.write(
        "child.yml",
        "".join(f"{name}: {{script: [x], rules: [changes: [{name}.txt]]}}\n" for name in ("old", "new", "kept")),
    )
    parent.project.commit()
    parent.project.git("remote", "add", "origin", "https://gitlab.example/group/project.git")
    parent.project.git("update-ref", "refs/remotes/origin/main", "HEAD")
    parent.project.git("commit", "-q", "--allow-empty", "-m", "second")
    parent.project.write("old.txt", "changed")
    parent.project.write("new.txt", "")

    parent.snap_as_client(local("child.yml"))

    assert list(parent.jobs(local("child.yml"))) == ["old", "new"]


def test_changes_compared_to_a_ref_come_from_the_snapshots_history(parent: Parent) -> None:
    rules = "changes: {{paths: [{}.txt], compare_to: {}}}"
    parent.project.write("a.txt", "")
    parent.project.commit()
    parent.project.git("tag", "before")
    parent.project.write("b.txt", "")
    jobs = {name: rules.format(name, "before") for name in ("a", "b", "c")}
    parent.project.write(
        "child.yml", "".join(f"{name}: {{script: [x], rules: [{rule}]}}\n" for name, rule in jobs.items())
    )
    parent.project.write("bad.yml", f"a: {{script: [x], rules: [{rules.format('a', 'nowhere')}]}}\n")
    parent.project.commit("second")
    parent.project.write("c.txt", "not committed")
    parent.snap()

    assert list(parent.jobs(local("child.yml"))) == ["b", "c"]
    assert parent.problems(local("bad.yml")) == [
        "bad.yml:1: a.rules[0].changes.compare_to: 'nowhere' can't be compared with: the run's snapshot has its own "
        "branch and target, with a history of 20 commits (GIT_DEPTH)"
    ]


def test_a_directory_without_git_has_its_files_in_a_tar(parent: Parent) -> None:
    parent.project.write("a/child.yml", "include: a/inner.yml\njob: {script: [x], rules: [exists: [a/*.yml]]}\n")
    parent.project.write("a/inner.yml", "inner: {script: [x], rules: [changes: [anything]]}\n")
    (parent.project.root / "link.yml").symlink_to("a/child.yml")
    parent.pack_tar()

    assert list(parent.jobs(local("link.yml"))) == ["inner", "job"]


def test_a_run_without_a_workspace_has_only_its_artifacts(parent: Parent) -> None:
    include, fields = parent.generated(JOB)

    assert list(parent.jobs(include, **fields)) == ["job"]
    assert "there is no file 'child.yml'" in parent.problems(local("child.yml"))[0]


def test_submodules_that_are_checked_out_have_their_files(parent: Parent) -> None:
    inner = parent.project.root.parent / "inner"
    inner.mkdir()
    git(inner, "init", "-q")
    (inner / "ci.yml").write_text(JOB)
    git(inner, "add", "-A")
    git(inner, "commit", "-q", "-m", "first")
    parent.project.commit()
    git(parent.project.root, "submodule", "-q", "add", str(inner), "sub")
    parent.commit()

    assert list(parent.jobs(local("sub/ci.yml"))) == ["job"]


def test_packs_are_indexed_once_for_all_children_of_a_project(parent: Parent) -> None:
    parent.project.write("child.yml", JOB)
    parent.commit()
    parent.jobs(local("child.yml"))
    assert parent.workspace is not None
    for pack in parent.workspace.blobs:
        parent.blob(pack.digest).write_bytes(b"gone")  # nobody reads it again

    assert list(parent.jobs(local("child.yml"))) == ["job"]
    assert list((parent.state / "children" / "scratch").iterdir()) == []


def test_a_damaged_pack_is_told(parent: Parent) -> None:
    parent.commit()
    assert parent.workspace is not None
    parent.blob(parent.workspace.blobs[0].digest).write_bytes(b"PACK")

    [problem] = parent.problems(local("child.yml"))

    assert problem.startswith("the workspace can't be checked out: git index-pack: ")


def test_a_cache_key_by_commits_is_one_by_content_in_a_child(parent: Parent) -> None:
    text = "job: {script: [x], cache: {key: {files_commits: [%s], prefix: p}, paths: [x]}}\n"
    parent.project.write("child.yml", text % "sub/a.lock")
    parent.project.write("other.yml", text % "missing/a.lock")
    keys = []
    for content in ("1", "2", "1"):
        parent.project.write("sub/a.lock", content)
        parent.commit()
        keys += [cache.key for cache in parent.jobs(local("child.yml"))["job"].caches]
    assert keys[0].startswith("p-")
    assert keys[0] == keys[2] != keys[1]
    assert parent.jobs(local("other.yml"))["job"].caches[0].key == "p-default"
