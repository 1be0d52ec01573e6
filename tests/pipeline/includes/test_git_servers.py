"""Includes of other projects, fetched by git from real servers on loopback: over HTTPS and over ssh."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from pipeline.includes import git_fetch
from pipeline.includes.credentials import CredentialCache, remove_abandoned
from tests.pipeline.includes.conftest import Fetch
from tests.support.certificates import Authority
from tests.support.git_servers import PASSWORD, SSHD, USER, HttpsGit, SshGit, stalling_server
from tests.support.project import Project

ROOT = Path(__file__).parents[3]
INCLUDE = "include: {project: group/ci, file: [/ci/jobs.yml, ci/last.yml]}\n"


@pytest.fixture
def https(served: Path, shared: Project, ours: Project, tmp_path: Path, fetch: Fetch) -> Iterator[HttpsGit]:
    """The same server over HTTPS, as the origin, with a certificate that the user's git trusts."""
    authority = Authority(tmp_path / "authority")
    server = HttpsGit(served, authority)
    ours.git("config", "--file", str(tmp_path / "gitconfig"), "http.sslCAInfo", str(authority.file))
    ours.git("remote", "set-url", "origin", f"{server.address}/group/app.git")
    yield server
    server.close()


def log_in(project: Project, file: Path, password: str = PASSWORD) -> None:
    """A credential helper of the user's."""
    helper = f"!f() {{ echo username={USER}; echo 'password={password}'; }}; f"
    project.git("config", "--file", str(file), "credential.helper", helper)


def test_over_https_the_user_s_credentials_are_used(
    ours: Project, https: HttpsGit, fetch: Fetch, tmp_path: Path
) -> None:
    log_in(ours, tmp_path / "gitconfig")
    assert ours.names(INCLUDE, fetching=fetch()) == ["more", "theirs", "last"]
    assert https.sent < 50_000, "unrelated.bin is 400 KB"
    fetches = [path for path in https.requests if path.endswith("/info/refs?service=git-upload-pack")]
    assert len(fetches) == 2 * 3, "the commit, the files of the list, those that they include; each asks for a password"
    https.requests.clear()
    assert ours.names(INCLUDE, fetching=fetch()) == ["more", "theirs", "last"]
    assert https.requests == []


def test_credentials_of_the_repository_s_own_configuration_count_too(
    ours: Project, https: HttpsGit, fetch: Fetch
) -> None:
    log_in(ours, ours.root / ".git" / "config")
    assert "theirs" in ours.names(INCLUDE, fetching=fetch())


def test_a_password_in_the_origin_s_address_is_used_and_never_shown(
    ours: Project, https: HttpsGit, fetch: Fetch, tmp_path: Path
) -> None:
    address = f"https://{USER}:{quote(PASSWORD, safe='')}@127.0.0.1:{https.port}"
    ours.git("remote", "set-url", "origin", f"{address}/group/app.git")
    fetching = fetch()
    assert "theirs" in ours.names(INCLUDE, fetching=fetching)
    problems = ours.problems("include: {project: group/gone, file: a.yml}\n", fetching=fetching)
    shown = "\n".join([*problems, *map(str, fetching.sources)])
    kept = b"".join(path.read_bytes() for path in (tmp_path / "cache").rglob("*") if path.is_file())
    for secret in (PASSWORD, quote(PASSWORD, safe="")):
        assert secret not in shown
        assert secret.encode() not in kept
    assert "no such project, or no access to it" in problems[0]
    assert problems[0].endswith("if its address begins differently, name that: --server URL")
    (named,) = ours.problems("include: {project: group/gone, file: a.yml}\n", fetching=fetch(server=address))
    assert "--server" not in named


def test_what_failed_once_is_not_asked_again_for_the_next_include(ours: Project, https: HttpsGit, fetch: Fetch) -> None:
    others = "".join(f"  - {{project: group/ci, file: ci/jobs.yml, ref: v{number}}}\n" for number in range(3))
    problems = ours.problems(f"include:\n{others}", fetching=fetch())
    assert [problem.partition(": ")[2].partition(":")[0] for problem in problems] == [
        f"include[{number}]" for number in range(3)
    ]
    assert https.requests == ["/group/ci.git/info/refs?service=git-upload-pack"]


def test_an_address_that_insteadof_makes_is_not_shown(
    ours: Project, https: HttpsGit, fetch: Fetch, tmp_path: Path
) -> None:
    log_in(ours, tmp_path / "gitconfig")
    rewritten = f"{https.address}/token-123/"
    ours.git("config", "--file", str(tmp_path / "gitconfig"), f"url.{rewritten}.insteadOf", "https://gitlab.example/")
    ours.git("remote", "set-url", "origin", "https://gitlab.example/group/app.git")
    (problem,) = ours.problems(INCLUDE, fetching=fetch())
    assert "'https://gitlab.example/group/ci.git (rewritten by insteadOf)' not found" in problem
    assert "no such project, or no access to it" in problem
    assert "token-123" not in problem


@pytest.mark.parametrize("password", [None, "wrong"])
def test_without_the_right_password_git_can_t_log_in(
    ours: Project, https: HttpsGit, fetch: Fetch, tmp_path: Path, password: str | None
) -> None:
    if password:
        log_in(ours, tmp_path / "gitconfig", password)
    (problem,) = ours.problems(INCLUDE, fetching=fetch())
    assert problem.startswith(".gitlab-ci.yml:1: include: fetching group/ci from https://127.0.0.1:")
    assert "git can't log in" in problem
    assert "check the credentials" in problem
    assert "wrong" not in problem


def test_a_certificate_that_nobody_vouches_for_is_refused(
    ours: Project, https: HttpsGit, fetch: Fetch, tmp_path: Path
) -> None:
    (tmp_path / "gitconfig").write_text("")
    (problem,) = ours.problems(INCLUDE, fetching=fetch())
    assert "certificate" in problem
    assert https.requests == []


def test_a_server_that_stalls_is_given_up_and_announced(
    ours: Project, fetch: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(git_fetch, "FETCH_SECONDS", 1.0)
    announced: list[str] = []
    watched = fetch(progress=announced.append)
    with stalling_server() as port:
        ours.git("remote", "set-url", "origin", f"http://127.0.0.1:{port}/group/app.git")
        (problem,) = ours.problems("\ninclude:\n  - {project: group/ci, file: a.yml}\n", fetching=watched)
    doing = f"fetching group/ci from http://127.0.0.1:{port}/group/ci.git"
    assert problem == f".gitlab-ci.yml:2: include[0]: {doing}: no answer within 1 s"
    assert announced == [doing]


@pytest.mark.usefixtures("https")
def test_on_a_terminal_a_password_is_asked_for_once_and_then_forgotten(
    ours: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    ours.write(".gitlab-ci.yml", INCLUDE)
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(ours.root)
        os.execve(sys.executable, [sys.executable, "-m", "cli", "plan"], os.environ | {"PYTHONPATH": str(ROOT)})
    answers = {b"Username": USER, b"Password": PASSWORD}
    asked = dict.fromkeys(answers, 0)
    shown = b""
    while piece := _read(terminal):
        shown += piece
        for question, answer in answers.items():
            while shown.count(question) > asked[question]:
                asked[question] += 1
                os.write(terminal, answer.encode() + b"\n")
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0, shown.decode()
    assert b"theirs" in shown
    assert asked == dict.fromkeys(answers, 1)
    assert PASSWORD.encode() not in shown
    assert list((tmp_path / "temporary").iterdir()) == []


def test_what_a_killed_process_kept_of_passwords_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    killed = "import os\nfrom pipeline.includes.credentials import CredentialCache\nCredentialCache(60)\nos._exit(9)"
    subprocess.run([sys.executable, "-c", killed], env=os.environ | {"TMPDIR": str(tmp_path)}, cwd=ROOT)
    (abandoned,) = tmp_path.iterdir()
    used = CredentialCache(60)
    assert not abandoned.exists()
    remove_abandoned()
    (own,) = tmp_path.iterdir()
    used.close()
    assert not own.exists()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # its process has ended
        return b""


@pytest.fixture
def ssh(tmp_path: Path) -> Iterator[SshGit]:
    if not Path(SSHD).exists():
        pytest.skip("there is no sshd")
    server = SshGit(tmp_path / "ssh")
    yield server
    server.close()


def test_over_ssh_with_a_key(
    ours: Project, ssh: SshGit, served: Path, fetch: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_SSH_COMMAND", ssh.command)
    server = f"ssh://127.0.0.1:{ssh.port}{served}"
    assert ours.names(INCLUDE, fetching=fetch(server=server)) == ["more", "theirs", "last"]
    (problem,) = ours.problems("include: {project: group/gone, file: a.yml}\n", fetching=fetch(server=server))
    assert "no such project, or no access to it" in problem


def test_over_ssh_without_a_key_nobody_is_asked(ours: Project, ssh: SshGit, served: Path, fetch: Fetch) -> None:
    config = ours.root / ".git" / "config"
    known = ssh.command.partition("-o UserKnown")[2]
    ours.git(
        "config",
        "--file",
        str(config),
        "core.sshCommand",
        f"ssh -F none -o IdentityFile=none -o IdentityAgent=none -o UserKnown{known}",
    )
    server = f"ssh://127.0.0.1:{ssh.port}{served}"
    (problem,) = ours.problems(INCLUDE, fetching=fetch(server=server))
    assert "git can't log in" in problem
    assert "Permission denied (publickey" in problem
    assert "Could not read" not in problem, "what git adds to any reason of ssh's"
