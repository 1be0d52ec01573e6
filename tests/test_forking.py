"""A forked `longshore` is like an executed one: what it says, its exit status, its signals, what it inherits."""

from __future__ import annotations

import os
import signal
import subprocess
from functools import partial
from pathlib import Path

import pytest

from tests.support import forking
from tests.support.eventually import DEADLINE, eventually
from tests.support.system import LONGSHORE, System


def is_gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "LONGSHORE_STATE": str(tmp_path / "state"), "LONGSHORE_CONFIG": os.devnull}


@pytest.mark.parametrize(
    "arguments",
    [
        ["--version"],
        ["plan", "--help"],
        ["nosuch"],
        ["show", "x"],
        ["list"],
        ["list", "--json"],
        ["show", "1"],
        ["plan"],
        ["workers", "--coordinator", "tcp://127.0.0.1:1"],
        ["config", "--json"],
    ],
    ids=" ".join,
)
def test_a_forked_process_says_and_ends_as_an_executed_one(
    tmp_path: Path, environment: dict[str, str], arguments: list[str]
) -> None:
    command = [str(LONGSHORE), *arguments]
    executed = subprocess.run(
        command, cwd=tmp_path, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    forked = forking.run(command, cwd=tmp_path, environment=environment, within=DEADLINE)
    assert (forked.returncode, forked.stdout, forked.stderr) == (executed.returncode, executed.stdout, executed.stderr)


def test_a_forked_process_takes_signals_and_tells_which_one_ended_it(tmp_path: Path) -> None:
    for number, status in ((signal.SIGTERM, 0), (signal.SIGKILL, -signal.SIGKILL)):
        system = System(tmp_path)
        coordinator = system.start_coordinator()
        assert isinstance(coordinator.popen, forking.Forked)
        assert coordinator.popen.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            coordinator.popen.wait(0.01)
        coordinator.popen.send_signal(number)
        assert coordinator.popen.wait(DEADLINE) == status
        assert coordinator.popen.poll() == status
        eventually(partial(is_gone, coordinator.popen.pid))


def test_a_forked_process_inherits_its_three_streams_and_no_other_descriptor(tmp_path: Path) -> None:
    system = System(tmp_path)
    process = system.start("coordinator", "--bind", "tcp://127.0.0.1:0")
    eventually(process.printed)
    descriptors = {int(link.name): os.readlink(link) for link in Path(f"/proc/{process.popen.pid}/fd").iterdir()}
    assert [descriptors[number] for number in range(3)] == [os.devnull, str(process.out), str(process.log)]
    inherited = {os.readlink(link) for link in Path("/proc/self/fd").iterdir() if link.exists()}
    assert not inherited & {name for number, name in descriptors.items() if number > 2 and ":[" in name} - {
        "anon_inode:[eventpoll]",
        "anon_inode:[eventfd]",
    }
    assert process.terminate() == 0


def test_what_reads_the_interpreter_s_own_variables_is_executed() -> None:
    command = [str(LONGSHORE), "list"]
    assert forking.can_fork(command, os.environ)
    assert not forking.can_fork(command, {**os.environ, "PYTHONIOENCODING": "ascii"})
    assert not forking.can_fork([*command, "--database", "postgresql://x"], os.environ)
