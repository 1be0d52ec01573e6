"""What a host needs besides Docker."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from cli.options.common import Target
from cli.session import host_checks
from cli.session.host_checks import check_host
from daemon.executors.docker.checkup import Check


def checks(coordinator: str | None = None, *, serves: bool = False) -> dict[str, Check]:
    return {check.name: check for check in check_host(Target(coordinator, Path("/nonexistent")), serves=serves)}


@pytest.mark.parametrize(
    ("program", "status", "message"),
    [
        ("echo git version 2.39.5", "ok", "2.39.5 at "),
        ("echo git version 1.8.3.1", "error", "1.8.3.1 is too old"),
        ("exit 1", "error", "does not say its version"),
        (None, "error", "is not installed"),
    ],
)
def test_git_is_there_and_new_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str | None, status: str, message: str
) -> None:
    if program is not None:
        (tmp_path / "git").write_text(f"#!/bin/sh\n{program}\n")
        (tmp_path / "git").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    check = checks("tcp://127.0.0.1:1")["git"]
    assert (check.status, message in check.message) == (status, True), check
    assert bool(check.mend) == (status != "ok")


def test_the_port_of_a_coordinator_is_free_or_taken_by_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setattr(host_checks, "DEFAULT_COORDINATOR", address)
        assert checks()["port"].status == "warning"
        assert address in checks()["port"].message
        assert checks(serves=True)["port"].status == "ok"
        assert "port" not in checks("tcp://127.0.0.1:1")
    assert checks()["port"].message == f"{address} is free for a coordinator"


def test_keys_are_this_user_s_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = tmp_path / "keys"
    monkeypatch.setattr(host_checks, "published_directory", lambda: keys)
    assert checks()["keys"].status == "ok"
    assert "longshore login TOKEN" in checks("tcp://ci.example.com:7700")["keys"].mend
    keys.mkdir(mode=0o755)
    assert checks()["keys"] == Check(
        "keys", "error", "other users can read this user's keys (mode 755)", f"chmod 700 {keys}"
    )
