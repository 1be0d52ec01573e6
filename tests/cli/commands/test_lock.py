"""`longshore lock` and `longshore plan --sources`, as a user calls them, against servers on loopback."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import jsonschema
import pytest

from tests.conftest import ROOT
from tests.support.certificates import Authority
from tests.support.command_line import longshore
from tests.support.project import Project
from tests.support.web_server import WebServer

SCHEMA = ROOT / "docs" / "schemas" / "sources.json"
LOCK = ".gitlab-ci.lock.yml"
Verb = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """The authority that the verbs trust."""
    return Authority(tmp_path / "authority")


@pytest.fixture
def server(authority: Authority) -> Iterator[WebServer]:
    """A TLS server with `/remote.yml`."""
    files = {"/remote.yml": b"remote: {script: [x]}\n"}
    with closing(WebServer(authority.context("127.0.0.1"), files)) as server:
        yield server


@pytest.fixture
def other(tmp_path: Path) -> Project:
    """The project `group/ci` on the server of `origin`, which is a directory."""
    other = Project(tmp_path / "server" / "group" / "ci")
    other.write("jobs.yml", "theirs: {script: [x]}\n")
    other.commit()
    return other


@pytest.fixture
def verb(project: Project, other: Project, server: WebServer, authority: Authority, tmp_path: Path) -> Verb:
    """Runs a verb in a project that includes a file of another project, a remote one and one of its own."""
    project.write("own.yml", "own: {script: [x]}\n")
    project.write(
        ".gitlab-ci.yml",
        f"""
        include:
          - {{project: group/ci, ref: main, file: jobs.yml}}
          - remote: {server.url("/remote.yml?token=secret")}
          - own.yml
        """,
    )
    project.commit()
    project.git("remote", "add", "origin", f"file://{other.root.parent}/app.git")
    environment = {
        "SSL_CERT_FILE": str(authority.file),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "HOME": str(tmp_path),
        "LONGSHORE_ALLOW_LOCAL_INCLUDES": "1",
    }

    def run(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        return longshore(project, *arguments, **environment | more)

    return run


def jobs(verb: Verb, *arguments: str) -> list[str]:
    done = verb("plan", "--json", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return [job["name"] for job in json.loads(done.stdout)]


def refusal(verb: Verb, *arguments: str) -> str:
    done = verb(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
    return done.stderr


def test_sources_are_all_files_with_project_ref_commit_and_origin(
    verb: Verb, project: Project, other: Project, server: WebServer
) -> None:
    done = verb("plan", "--sources", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    rows = json.loads(done.stdout)
    jsonschema.validate(rows, json.loads(SCHEMA.read_text()))
    main, theirs, remote, own = rows
    digest = hashlib.sha256(project.root.joinpath("own.yml").read_bytes()).hexdigest()
    assert [main["file"], main["project"], main["commit"]] == [".gitlab-ci.yml", "local/app", None]
    assert theirs == {
        "file": "jobs.yml",
        "project": "group/ci",
        "ref": "main",
        "version": None,
        "commit": other.git("rev-parse", "HEAD"),
        "sha256": None,
        "from": f"file://{other.root}",
    }
    assert (remote["file"], remote["project"]) == (f"{server.url('/remote.yml')}?...", None)
    assert remote["sha256"] == hashlib.sha256(server.files["/remote.yml"]).hexdigest()
    assert (own["sha256"], own["from"]) == (digest, str(project.root))
    lines = verb("plan", "--sources").stdout.splitlines()
    assert lines[0].split() == ["file", "project", "ref", "commit", "from"]
    assert lines[2].split() == ["jobs.yml", "group/ci", "main", theirs["commit"][:12], f"file://{other.root}"]
    assert "secret" not in done.stdout + "".join(lines)


def test_a_locked_pipeline_stays_as_it_is_until_it_is_updated(
    verb: Verb, project: Project, other: Project, server: WebServer
) -> None:
    first = other.git("rev-parse", "HEAD")
    done = verb("lock")
    assert (done.returncode, done.stderr) == (0, "")
    added, also, summary = done.stdout.splitlines()
    assert added == f"+ group/ci@main: {first[:12]}"
    assert also.startswith(f"+ {server.url('/remote.yml')}?sha256=")
    assert summary == f"{LOCK}: 2 includes locked"
    text = (project.root / LOCK).read_text()
    assert first in text
    assert "secret" not in text
    other.write("jobs.yml", "newer: {script: [x]}\n")
    other.commit()
    server.files["/remote.yml"] = b"changed: {script: [x]}\n"
    assert jobs(verb) == jobs(verb, "--refresh") == jobs(verb, "--offline") == ["theirs", "remote", "own"]
    assert verb("lock").stdout == f"{LOCK}: 2 includes locked\n"
    assert (project.root / LOCK).read_text() == text
    updated = verb("lock", "--update").stdout
    assert f"~ group/ci@main: {first[:12]} -> {other.git('rev-parse', 'HEAD')[:12]}\n" in updated
    assert jobs(verb) == ["newer", "changed", "own"]


def test_a_new_include_has_to_be_locked_and_the_others_keep_their_version(
    verb: Verb, project: Project, other: Project
) -> None:
    verb("lock")
    other.write("jobs.yml", "newer: {script: [x]}\n")
    other.commit()
    other.git("tag", "v2")
    path = project.root / ".gitlab-ci.yml"
    path.write_text(path.read_text() + "  - {project: group/ci, ref: v2, file: jobs.yml}\n")
    said = refusal(verb, "validate")
    assert said == f".gitlab-ci.yml:5: include[3]: group/ci@v2 is not in {LOCK}; add it: longshore lock\n"
    for name in ("plan", "run"):
        assert f"group/ci@v2 is not in {LOCK}" in refusal(verb, name)
    assert f"+ group/ci@v2: {other.git('rev-parse', 'v2')[:12]}" in verb("lock").stdout
    assert jobs(verb) == ["theirs", "remote", "own", "newer"]
    project.write(".gitlab-ci.yml", "own: {script: [x]}\n")
    assert verb("lock").stdout == f"{LOCK}: 3 includes locked\n", "an include under rules may be unused now"
    assert "- group/ci@v2" in verb("lock", "--update").stdout
    assert "secret" not in (project.root / LOCK).read_text()


def test_child_pipelines_are_locked_too_as_far_as_their_files_exist(
    verb: Verb, project: Project, other: Project
) -> None:
    project.write(
        ".gitlab-ci.yml",
        """
        make: {script: [x], artifacts: {paths: [made.yml]}}
        own: {variables: {REF: v1}, trigger: {include: [child.yml]}}
        theirs: {trigger: {include: [{project: group/ci, ref: v2, file: jobs.yml}]}}
        mixed: {trigger: {include: [more.yml, {artifact: made.yml, job: make}]}}
        made: {trigger: {include: [{artifact: made.yml, job: make}]}}
        """,
    )
    project.write(
        "child.yml", "include: {project: group/ci, ref: $REF, file: jobs.yml}\ndeep: {trigger: {include: below.yml}}\n"
    )
    project.write(
        "below.yml", "include: {project: group/ci, ref: v3, file: jobs.yml}\ntoo: {trigger: {include: deeper.yml}}\n"
    )
    project.write("more.yml", "include: {project: group/ci, ref: v4, file: jobs.yml}\njob: {extends: .made}\n")
    for number in range(1, 5):
        other.git("tag", f"v{number}")
    done = verb("lock")
    assert done.stdout.splitlines()[-1] == f"{LOCK}: 4 includes locked"
    assert done.stderr == "warning: more.yml:2: job.extends: unknown job '.made' to extend\n"
    project.write("child.yml", "include: gone.yml\n")
    assert refusal(verb, "lock", "--update").startswith("longshore: child.yml:1: include: there is no file 'gone.yml'")


def test_a_damaged_lock_is_an_error_that_update_mends(verb: Verb, project: Project) -> None:
    verb("lock")
    path = project.root / LOCK
    good = path.read_text()
    for damaged in ("", good.replace("commit:", "comit:"), "<<<<<<< HEAD\n" + good, good[:-5]):
        path.write_text(damaged)
        for name in ("validate", "plan", "lock"):
            said = refusal(verb, name)
            assert said.startswith((f"{LOCK}:", f"longshore: {LOCK}:"))
            assert said.endswith("restore it, or write it anew: longshore lock --update\n")
        assert verb("lock", "--update").returncode == 0
        assert path.read_text() == good


def test_a_stale_lock_names_what_is_gone_and_the_mend(
    verb: Verb, project: Project, other: Project, server: WebServer, tmp_path: Path
) -> None:
    verb("lock")
    path = project.root / LOCK
    path.write_text(path.read_text().replace(other.git("rev-parse", "HEAD"), "1" * 40))
    server.files["/remote.yml"] = b"changed: {script: [x]}\n"
    done = verb("validate", XDG_CACHE_HOME=str(tmp_path / "empty"))
    gone, changed = done.stderr.splitlines()
    assert done.returncode == 2
    assert f"group/ci has no commit 111111111111, which {LOCK} names" in gone
    assert "has changed since it was locked" in changed
    assert [line.rpartition(": ")[2] for line in (gone, changed)] == ["longshore lock --update"] * 2


def test_offline_needs_no_server_once_it_is_locked_and_fetched(
    verb: Verb, project: Project, other: Project, server: WebServer, tmp_path: Path
) -> None:
    verb("lock")
    server.close()
    (other.root / ".git").rename(tmp_path / "gone")
    assert jobs(verb, "--offline") == ["theirs", "remote", "own"]
    said = verb("plan", "--offline", XDG_CACHE_HOME=str(tmp_path / "empty")).stderr
    assert "offline" in said
    assert refusal(verb, "lock", "--update", "--offline").count("--offline") == 1


def test_a_pipeline_that_fetches_nothing_gets_no_lock_file(verb: Verb, project: Project) -> None:
    project.write("a.yml", "include: own.yml\n")
    assert verb("lock", "a.yml").stdout == "a.yml: nothing to lock: no include is fetched\n"
    assert not (project.root / "a.lock.yml").exists()


def test_a_lock_that_can_t_be_written_is_an_error(verb: Verb, project: Project) -> None:
    (project.root / f"{LOCK}.part").mkdir()
    done = verb("lock")
    assert done.returncode == 1
    assert done.stderr == f"longshore: can't write {LOCK}: Is a directory\n"
