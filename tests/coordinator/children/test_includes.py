"""Children that include files of other projects, fetched from real servers on loopback."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from pipeline.includes.lock_file import lock_text
from pipeline.includes.records import Pin
from protocol.plan import IncludeOptions, TriggerInclude
from tests.coordinator.children.conftest import Parent, local
from tests.support.certificates import Authority
from tests.support.git_servers import PASSWORD, USER, HttpsGit, publish
from tests.support.project import Project
from tests.support.web_server import WebServer

JOB = "job: {script: [make]}\n"
INCLUDING = "include: {project: group/ci, file: ci/jobs.yml, ref: v1}\n" + JOB
TEMPLATE = TriggerInclude(project="group/ci", file="/ci/jobs.yml", ref="v1")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's cache, which fetchers with the user's own access share."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def served(tmp_path: Path) -> Path:
    """The repositories of a server: group/ci has a tag v1."""
    shared = Project(tmp_path / "shared")
    shared.write("ci/jobs.yml", "include: ci/more.yml\ntheirs: {script: [x], rules: [exists: [child.yml]]}\n")
    shared.write("ci/more.yml", "more: {script: [x]}\n")
    shared.commit()
    shared.git("tag", "v1")
    publish(shared, tmp_path / "served", "group/ci")
    return tmp_path / "served"


@pytest.fixture
def https(served: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HttpsGit]:
    """The same behind a password, which the coordinator's user has in a file, and a certificate that is trusted."""
    authority = Authority(tmp_path / "authority")
    server = HttpsGit(served, authority)
    passwords = tmp_path / "passwords"
    passwords.write_text(f"https://{USER}:{quote(PASSWORD, safe='')}@127.0.0.1:{server.port}\n")
    (tmp_path / "gitconfig").write_text(f'[credential]\n\thelper = "store --file={passwords}"\n')
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    monkeypatch.setenv("GIT_SSL_CAINFO", str(authority.file))
    yield server
    server.close()


def include(parent: Parent, origin: str) -> None:
    """Gives the parent an origin, and a child that includes a file of another project there."""
    parent.project.write("child.yml", INCLUDING)
    parent.project.commit()
    parent.project.git("remote", "add", "origin", origin)
    parent.snap()


def test_includes_are_fetched_with_the_access_of_the_coordinators_user(parent: Parent, https: HttpsGit) -> None:
    include(parent, f"{https.address}/group/app.git")
    parent.start(includes="own")

    assert list(parent.jobs(local("child.yml"))) == ["more", "theirs", "job"]
    assert list(parent.jobs(TEMPLATE)) == ["more", "theirs"]
    asked = len(https.requests)
    assert list(parent.jobs(TEMPLATE)) == ["more", "theirs"]
    assert len(https.requests) == asked, "kept for a minute"


def test_without_the_coordinators_own_access_a_password_is_not_used(parent: Parent, https: HttpsGit) -> None:
    include(parent, f"{https.address}/group/app.git")
    parent.start(includes="public")

    [problem] = parent.problems(local("child.yml"))

    assert problem.startswith("child.yml:1: include: fetching group/ci (v1) from https://127.0.0.1:")
    assert PASSWORD not in problem
    assert https.requests, "the server was asked"


def test_a_directory_of_the_coordinators_host_is_no_server_for_others(parent: Parent, served: Path) -> None:
    include(parent, f"file://{served}/group/app.git")

    assert parent.problems(local("child.yml")) == [
        "child.yml:1: include: projects beside this one can't be fetched: its remote `origin` is no server that the "
        "coordinator may ask"
    ]
    parent.compiler.close()
    parent.start(includes="own")
    assert list(parent.jobs(local("child.yml"))) == ["more", "theirs", "job"]


def test_includes_come_from_the_server_and_the_templates_that_the_user_has_named(parent: Parent, served: Path) -> None:
    copy = Project(served.parent / "copy")
    copy.write("lib/gitlab/ci/templates/Rust.gitlab-ci.yml", "rust: {script: [cargo test]}\n")
    publish(copy, served, "gitlab-copy")
    parent.project.write(
        "child.yml", f"include: [{{project: group/ci, file: ci/jobs.yml}}, {{template: Rust.gitlab-ci.yml}}]\n{JOB}"
    )
    parent.commit()
    options = IncludeOptions(server=str(served), templates=f"file://{served}/gitlab-copy.git@main")
    parent.start(includes="own")

    compiled = parent.compiled(local("child.yml"), includes=options)

    assert [job.name for job in compiled.plan.jobs] == ["more", "theirs", "rust", "job"]
    assert compiled.plan.includes == options, "so has a child of the child"
    parent.compiler.close()
    parent.start(includes="public")
    assert "are of no server that the coordinator may ask" in parent.problems(local("child.yml"), includes=options)[0]


def test_offline_only_what_was_fetched_before_is_used(parent: Parent, served: Path) -> None:
    include(parent, f"file://{served}/group/app.git")
    parent.start(includes="own")
    offline = IncludeOptions(offline=True)

    assert "was never fetched, and --offline is set" in parent.problems(local("child.yml"), includes=offline)[0]
    parent.jobs(local("child.yml"))
    assert list(parent.jobs(local("child.yml"), includes=offline)) == ["more", "theirs", "job"]


def test_a_lock_file_of_the_parent_holds_its_children_too(parent: Parent, served: Path) -> None:
    shared = Project(served.parent / "shared")
    before = shared.git("rev-parse", "HEAD")
    shared.write("ci/jobs.yml", "newer: {script: [x]}\n")
    publish(shared, served, "group/ci")
    include(parent, f"file://{served}/group/app.git")
    parent.project.write("child.yml", "include: {project: group/ci, file: ci/jobs.yml}\n")
    parent.snap()
    parent.start(includes="own")
    assert list(parent.jobs(local("child.yml"))) == ["newer"]

    parent.project.write(".gitlab-ci.lock.yml", lock_text({"group/ci@HEAD": Pin(commit=before)}))
    parent.snap()
    assert list(parent.jobs(local("child.yml"))) == ["more", "theirs"]
    parent.project.write("child.yml", "include: {project: group/ci, file: ci/jobs.yml, ref: v1}\n")
    parent.snap()
    assert parent.problems(local("child.yml")) == [
        "child.yml:1: include: group/ci@v1 is not in .gitlab-ci.lock.yml; add it: longshore lock"
    ]
    parent.project.write(".gitlab-ci.lock.yml", "damaged")
    parent.snap()
    assert parent.problems(local("child.yml"))[0].startswith(".gitlab-ci.lock.yml:1: is no lock file; restore it")


def test_a_generated_child_may_include_what_no_lock_file_can_have_with_a_warning(parent: Parent, served: Path) -> None:
    include(parent, f"file://{served}/group/app.git")
    parent.project.write(".gitlab-ci.lock.yml", lock_text({"group/ci@HEAD": Pin(commit="1" * 40)}))
    parent.snap()
    parent.start(includes="own")
    made, fields = parent.generated(INCLUDING + "below: {trigger: {include: child.yml}}\n")

    compiled = parent.compiled(made, **fields)

    warning = "group/ci@v1 is not in .gitlab-ci.lock.yml: the includes of a generated pipeline can't be locked"
    assert compiled.warnings == [warning]
    assert compiled.plan.includes == IncludeOptions(generated=True)
    below = parent.compiled(local("child.yml"), includes=compiled.plan.includes)
    assert below.warnings == [warning]
    locked, fields = parent.generated(INCLUDING.replace(", ref: v1", ""))
    assert "1111" in parent.problems(locked, **fields)[0], "what the lock file has counts here too"


def test_directories_that_the_user_has_named_are_read_with_the_coordinators_own_access_only(
    parent: Parent, tmp_path: Path
) -> None:
    mapped = Project(tmp_path / "mapped")
    mapped.write("ci/jobs.yml", "mapped: {script: [x]}\n")
    mapped.write("remote.yml", "remote: {script: [x]}\n")
    parent.project.write("child.yml", "include: [{project: group/ci, file: ci/jobs.yml}, https://a.test/remote.yml]\n")
    parent.project.write(".gitlab-ci.lock.yml", lock_text({}))
    parent.commit()
    options = IncludeOptions(projects={"group/ci": str(mapped.root), "https://a.test": str(mapped.root)})
    parent.start(includes="own")
    assert list(parent.jobs(local("child.yml"), includes=options)) == ["mapped", "remote"]
    parent.compiler.close()

    parent.start(includes="public")

    refused = "is a directory of yours (--project), and this coordinator reads none for child pipelines"
    assert parent.problems(local("child.yml"), includes=options) == [
        f"child.yml:1: include[0]: group/ci {refused}",
        f"child.yml:1: include[1]: https://a.test/remote.yml {refused}",
    ]


def test_nothing_is_fetched_where_that_is_not_allowed(parent: Parent, served: Path) -> None:
    include(parent, f"file://{served}/group/app.git")
    parent.start(includes="none")

    assert parent.problems(local("child.yml")) == [
        "child.yml:1: include: this coordinator fetches no includes of child pipelines from other projects"
    ]


def test_a_url_of_the_coordinators_host_is_not_fetched(parent: Parent, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "authority")
    server = WebServer(authority.context("127.0.0.1"))
    url = server.url("/jobs.yml")
    parent.project.write("child.yml", f"include: {url}\n{JOB}")
    parent.commit()

    [problem] = parent.problems(local("child.yml"))

    server.close()
    assert problem.startswith("child.yml:1: include")
    assert "127.0.0.1" in problem
    assert not server.requests


def test_a_missing_file_of_another_project_is_told_with_its_place(parent: Parent, served: Path) -> None:
    include(parent, f"file://{served}/group/app.git")
    parent.project.write("child.yml", f"# comment\ninclude: {{project: group/ci, file: none.yml}}\n{JOB}")
    parent.snap()
    parent.start(includes="own")

    assert parent.problems(local("child.yml"))[0].startswith(
        "child.yml:2: include: there is no file 'group/ci:none.yml'"
    )
    assert parent.problems(TriggerInclude(project="group/ci", file="none.yml"))[0].startswith(
        ".gitlab-ci.yml: go.trigger.include: there is no file 'group/ci:none.yml'"
    )


def test_a_compiler_has_no_variables_of_the_coordinator(parent: Parent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "secret")
    program = """
import os, msgspec, sys
sys.stdout.buffer.write(msgspec.msgpack.encode({"answer": {"type": "not_compiled", "problems": sorted(os.environ)}}))
"""
    parent.start(command=[sys.executable, "-c", program], includes="own")

    assert set(parent.problems(local("x.yml"))) <= {"LC_ALL", "LD_LIBRARY_PATH", "PATH"}
    assert "SECRET" in os.environ
