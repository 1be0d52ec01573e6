"""A repository, a client that makes workspaces of it, and a host that checks them out."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.checkouts import Host
from tests.support.git_workspaces import Client, git


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with five commits and a tag."""
    path = tmp_path_factory.mktemp("template") / "project"
    path.mkdir()
    git(path, "init", "-q")
    git(path, "remote", "add", "origin", "https://example.org/group/project.git")
    for number in range(5):
        (path / f"file{number}").write_text(f"content {number}\n")
        (path / "src").mkdir(exist_ok=True)
        (path / "src" / f"module{number}.py").write_text(f"print({number})\n" * 50)
        git(path, "add", "-A")
        git(path, "commit", "-q", "-m", f"commit {number}")
        if number == 2:
            git(path, "tag", "-a", "-m", "version one", "v1.0")
    return path


@pytest.fixture
def project(template: Path, tmp_path: Path) -> Path:
    """The test's own copy of it."""
    path = tmp_path / "project"
    shutil.copytree(template, path, symlinks=True)
    git(path, "update-index", "-q", "--refresh")
    return path


@pytest.fixture
def client(tmp_path: Path) -> Client:
    return Client(tmp_path / "client")


@pytest.fixture
def host(tmp_path: Path, client: Client) -> Host:
    return Host(tmp_path / "host", client)
