"""Fixtures of the tests of fetched includes: servers on loopback, projects on them, and a Fetching."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.includes.fetching import Fetching
from tests.support.certificates import Authority
from tests.support.git_servers import publish
from tests.support.project import Project
from tests.support.web_server import WebServer

Fetch = Callable[..., Fetching]


@pytest.fixture
def served(tmp_path: Path) -> Path:
    """The directory with the repositories of a server."""
    return tmp_path / "served"


@pytest.fixture
def shared(served: Path, tmp_path: Path) -> Project:
    """A project on the server that others include; its main has a job `theirs`, its tag v1 a job `older`."""
    shared = Project(tmp_path / "shared")
    shared.write("ci/jobs.yml", "include: ci/more.yml\nolder: {script: [x]}\n")
    shared.write("ci/more.yml", "more: {script: [x]}\n")
    shared.write("ci/even.yml", "variables: {EVEN: more}\n")
    shared.write("ci/last.yml", "last: {script: [x]}\n")
    shared.write("ci/other.yml", "other: {script: [x]}\n")
    shared.write("unrelated.bin", os.urandom(200_000).hex())
    shared.commit()
    shared.git("tag", "-a", "-m", "first", "v1")
    shared.write("ci/jobs.yml", "include: [ci/more.yml, {local: /ci/even.yml}]\ntheirs: {script: [x]}\n")
    publish(shared, served, "group/ci")
    return shared


@pytest.fixture
def ours(project: Project, served: Path, shared: Project) -> Project:
    """The project under test; its origin is a directory of the server."""
    publish(project, served, "group/app")
    project.git("remote", "add", "origin", f"file://{served}/group/app.git")
    return project


@pytest.fixture
def fetch(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Fetch:
    """Makes a Fetching with the tests' cache and git configuration, which is empty."""
    (tmp_path / "gitconfig").touch()
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)
    for variable in ("GIT_SSH_COMMAND", "GIT_SSL_CAINFO", "GIT_ASKPASS", "https_proxy", "HTTPS_PROXY", "http_proxy"):
        monkeypatch.delenv(variable, raising=False)
    return lambda **options: Fetching(cache=cache, **options)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The authority that signs the servers' certificates."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def server(authority: Authority) -> Iterator[WebServer]:
    """A TLS server with a valid certificate for 127.0.0.1, localhost and public.test."""
    server = WebServer(authority.context("127.0.0.1", "localhost", "public.test"))
    yield server
    server.close()


@pytest.fixture
def trust(authority: Authority) -> dict[str, str]:
    """The environment of a client that trusts the authority."""
    return {"SSL_CERT_FILE": str(authority.file)}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache directory."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"
