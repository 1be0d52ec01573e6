"""`include:remote` in a pipeline file, against a TLS server on loopback."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

import pytest

from pipeline.includes.cached_project import Freshness
from pipeline.includes.fetching import Fetching
from pipeline.includes.records import Pin
from pipeline.includes.urls import url_name
from tests.support.project import Project
from tests.support.web_server import WebServer

JOB = b"theirs: {script: [x]}\n"
DIGEST = hashlib.sha256(JOB).hexdigest()
INTEGRITY = f"sha256-{base64.b64encode(hashlib.sha256(JOB).digest()).decode()}"


@pytest.fixture(autouse=True)
def _trusted(trust: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CURL_CA_BUNDLE", "SSL_CERT_DIR", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in trust.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(autouse=True)
def _file(server: WebServer) -> None:
    server.files["/ci/jobs.yml"] = JOB


def fetching(**options: Any) -> Fetching:
    return Fetching(allow_local=True, **options)


def test_remote_files_are_fetched_with_inputs_and_what_they_include(project: Project, server: WebServer) -> None:
    server.files["/ci/jobs.yml"] = (
        b"spec: {inputs: {name: {}}}\n---\n"
        b'include: {remote: "$BASE/more.yml", rules: [{if: $BASE}]}\n'
        b'"$[[ inputs.name ]]": {script: [x]}\n'
    )
    server.files["/more.yml"] = b"more: {script: [x]}\n"
    text = f"include: {{remote: '{server.url('/ci/jobs.yml')}', inputs: {{name: theirs}}}}\n"
    names = project.names(text, variables={"BASE": server.url("")}, fetching=fetching())
    assert names == ["more", "theirs"]
    assert project.names(f"include: '{server.url('/more.yml?ref=1#top')}'\n", fetching=fetching()) == ["more"]


def test_an_error_in_a_remote_file_names_its_url_and_line_and_where_it_is_included(
    project: Project, server: WebServer
) -> None:
    server.files["/ci/jobs.yml"] = b"\ntheirs: {scrpt: [x]}\n"
    url = server.url("/ci/jobs.yml?token=secret").replace("://", "://user:secret@")
    [first, *_] = project.problems(f"include: '{url}'\n", fetching=fetching())
    assert first.startswith(f"{server.url('/ci/jobs.yml')}?...:2: theirs.scrpt: unknown keyword")
    assert first.endswith("(included from .gitlab-ci.yml:1)")


@pytest.mark.parametrize(
    ("include", "said"),
    [
        ("{remote: BASE/404.yml}", "include: BASE/404.yml can't be fetched: HTTP 404, there is no such file"),
        ("{remote: 'BASE/x'}", "include.remote: BASE/x does not end in .yml or .yaml"),
        ("{remote: BASE/ci/jobs.yml, integrity: md5-x}", "include.integrity: is not `sha256-` followed by"),
        (f"{{remote: BASE/ci/jobs.yml, integrity: sha256-{'A' * 43}=}}", "is not the file that `integrity` demands"),
        ("{remote: BASE/ci/jobs.yml, cache: 59s}", "include.cache: '59s' is not true, false or a duration of a minute"),
        ("{remote: BASE/ci/jobs.yml, cache: soon}", "include.cache: 'soon' is not true, false or a duration"),
        ("{remote: BASE/ci/jobs.yml, cache: [1]}", "include.cache: must be "),
        ("[{remote: BASE/ci/jobs.yml}, {remote: BASE/404.yml}]", ".gitlab-ci.yml:1: include[1]: BASE/404.yml"),
        ("{remote: BASE/ci/local.yml}", "theirs.yml is no file of a project: BASE/ci/local.yml, which includes it"),
        ("{remote: BASE/ci/cycle.yml}", "BASE/ci/cycle.yml includes itself"),
        ("{remote: 'https://user:secret@/x.yml'}", "include: https:///x.yml can't be fetched: the URL names no host"),
    ],
)
def test_what_can_t_be_fetched_is_an_error_with_file_and_line(
    project: Project, server: WebServer, include: str, said: str
) -> None:
    base = server.url("")
    server.redirects["/404.yml"] = "/404"
    server.files["/ci/local.yml"] = b"include: theirs.yml\n"
    server.files["/ci/cycle.yml"] = f"include: {server.url('/ci/cycle.yml')}\n".encode()
    problems = project.problems(f"include: {include.replace('BASE', base)}\n", fetching=fetching())
    assert len(problems) == 1
    assert said.replace("BASE", base) in problems[0]


def test_this_machine_is_reached_only_with_the_users_permission(project: Project, server: WebServer) -> None:
    [problem] = project.problems(f"include: '{server.url('/ci/jobs.yml')}'\n", fetching=Fetching())
    assert problem.endswith(
        f"{server.url('/ci/jobs.yml')} is not fetched: 127.0.0.1 is an address of this machine or its network link; "
        "--allow-local-includes permits it"
    )
    assert server.requests == []


def test_a_mapped_directory_comes_first_and_nothing_is_asked(project: Project, server: WebServer) -> None:
    other = Project(project.root.parent / "other")
    other.write("jobs.yml", "mapped: {script: [x]}\n")
    text = f"include: '{server.url('/ci/jobs.yml')}'\n"
    assert project.names(text, projects={server.url("/ci"): other.root}, fetching=fetching()) == ["mapped"]
    assert server.requests == []


@pytest.mark.parametrize(
    ("cache", "asked"), [("", 2), (", cache: false", 2), (", cache: true", 1), (", cache: 1 day", 1)]
)
def test_a_cached_file_is_not_asked_again(project: Project, server: WebServer, cache: str, asked: int) -> None:
    text = f"include: {{remote: '{server.url('/ci/jobs.yml')}', integrity: {INTEGRITY}{cache}}}\n"
    for _ in range(2):
        assert project.names(text, fetching=fetching()) == ["theirs"]
    assert len(server.requests) == asked
    assert project.names(text, fetching=fetching(freshness=Freshness(refresh=True))) == ["theirs"]
    assert len(server.requests) == asked + 1
    server.close()
    assert project.names(text, fetching=fetching(freshness=Freshness(offline=True))) == ["theirs"]


def test_offline_names_the_file_that_is_missing(project: Project, server: WebServer) -> None:
    url = server.url("/ci/jobs.yml")
    [problem] = project.problems(f"include: '{url}'\n", fetching=fetching(freshness=Freshness(offline=True)))
    assert problem == (
        f".gitlab-ci.yml:1: include: {url} is not kept on this machine, and nothing is fetched with --offline; "
        "fetch it once"
    )


def test_integrity_and_cache_of_another_include_are_warned_of(project: Project) -> None:
    project.write("more.yml", "job: {script: [x]}\n")
    [first, second] = project.warnings(f"include: {{local: more.yml, integrity: {INTEGRITY}, cache: true}}\n")
    assert "include.integrity: has no effect here: it only applies to `include:remote`" in first
    assert "include.cache: has no effect here" in second


def test_the_files_of_a_pipeline_are_recorded_with_their_digests(project: Project, server: WebServer) -> None:
    url = server.url("/ci/jobs.yml")
    project.write("more.yml", "job: {script: [x]}\n")
    compiled = project.compile(f"include: ['{url}', more.yml]\n", fetching=fetching())
    main, remote, local = compiled.sources
    assert [record.file for record in compiled.sources] == [".gitlab-ci.yml", url, "more.yml"]
    assert (remote.sha256, remote.provenance.lock_key) == (DIGEST, url)
    assert main.sha256 == hashlib.sha256((project.root / ".gitlab-ci.yml").read_bytes()).hexdigest()
    assert local.provenance.lock_key == ""


def test_a_locked_file_is_used_as_it_was_and_a_new_one_has_to_be_locked(
    project: Project, server: WebServer, tmp_path: Path
) -> None:
    url = server.url("/ci/jobs.yml?x=1")
    text = f"include: '{url}'\n"
    pins = {url_name(url): Pin(sha256=DIGEST)}
    project.names(text, fetching=fetching())
    server.files["/ci/jobs.yml"] = b"changed: {script: [x]}\n"
    assert project.names(text, fetching=fetching(locked=pins)) == ["theirs"]
    [problem] = project.problems(text, fetching=fetching(locked=pins, cache=tmp_path / "empty"))
    assert "has changed since it was locked" in problem
    [problem] = project.problems(text.replace("x=1", "x=2"), fetching=fetching(locked=pins, lock_file="a.lock.yml"))
    assert "is not in a.lock.yml; add it: longshore lock" in problem
