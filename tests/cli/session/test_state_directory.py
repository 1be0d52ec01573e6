"""Who owns a state directory."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cli.session.state_directory import Owner, StateDirectory
from protocol.errors import LongshoreError
from protocol.places import state_directory
from tests.support.system import repository

HOLDER = """
import sys, time
from pathlib import Path
from cli.session.state_directory import StateDirectory
state = StateDirectory(Path(sys.argv[1]))
assert state.try_lock()
state.publish("tcp://127.0.0.1:1")
print("held", flush=True)
time.sleep(60)
"""


def test_one_owner_at_a_time(tmp_path: Path) -> None:
    first, second = StateDirectory(tmp_path), StateDirectory(tmp_path)
    assert first.try_lock()
    assert not second.try_lock()
    first.publish("tcp://127.0.0.1:4711")
    assert second.owner() == Owner("tcp://127.0.0.1:4711", os.getpid())
    first.release()
    assert second.owner() is None
    assert second.try_lock()


def test_a_killed_owner_holds_nothing_and_is_not_believed(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    state = StateDirectory(tmp_path)
    assert not state.try_lock()
    assert state.owner() == Owner("tcp://127.0.0.1:1", holder.pid)
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    holder.stdout.close()
    assert state.owner() is None
    assert state.try_lock()
    assert not (tmp_path / "coordinator.json").exists()


def test_an_owner_is_leaving_when_the_process_is_gone_that_it_lives_with(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""], stdin=subprocess.DEVNULL)
    os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and nobody has waited for it yet
    state = StateDirectory(tmp_path)
    assert state.try_lock()
    for process, leaving in ((os.getpid(), False), (ended.pid, True)):
        state.publish("tcp://127.0.0.1:1", lives_with=process)
        owner = state.owner()
        assert owner is not None
        assert owner.is_leaving is leaving
    ended.wait()


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", "\0"]
    + [
        f'{{"address": "tcp://x:1", "pid": {pid}, "lives_with": null}}'
        for pid in ('"many"', "0", "-1", "99999999999999999999", "null")
    ],
)
def test_a_damaged_file_names_no_owner(tmp_path: Path, content: str) -> None:
    (tmp_path / "coordinator.json").write_text(content)
    assert StateDirectory(tmp_path).owner() is None


def test_the_address_is_published_whole(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path)
    assert state.try_lock()
    state.publish("tcp://127.0.0.1:4711")
    assert json.loads((tmp_path / "coordinator.json").read_text()) == {
        "address": "tcp://127.0.0.1:4711",
        "pid": os.getpid(),
        "lives_with": None,
    }


def test_a_state_directory_that_can_not_be_made_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LongshoreError, match="can't create the state directory"):
        StateDirectory(tmp_path / "file" / "state")


def test_where_state_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("LONGSHORE_STATE", raising=False)
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    assert state_directory() == tmp_path / ".local" / "state" / "longshore"
    monkeypatch.setenv("XDG_STATE_HOME", "/xdg")
    assert state_directory() == Path("/xdg/longshore")
    monkeypatch.setenv("LONGSHORE_STATE", "/chosen")
    assert state_directory() == Path("/chosen")


def test_a_state_directory_inside_a_project_is_none_of_its_files(tmp_path: Path) -> None:
    project = repository(tmp_path / "project", {"text": "x"})
    state = StateDirectory(project / "kept" / "here")
    (state.path / "secret").write_text("x")
    command = ["git", "status", "--porcelain", "--untracked-files=all"]
    assert subprocess.run(command, cwd=project, check=True, capture_output=True).stdout == b""
