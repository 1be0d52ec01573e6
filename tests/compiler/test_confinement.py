"""What a confined process can't do any more, each tried in a real one."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from cli.commands.coordinator import warn_of_weak_confinement
from compiler import confinement

HERE = Path(__file__).parents[2]
CONFINED = """
import os, socket, subprocess, sys
from pathlib import Path
from compiler import confinement
from protocol.compilation import Bounds
folder = Path({folder!r})
assert confinement.confine_files([folder / "read", folder / "file"], [folder / "write"])
assert confinement.forbid_sockets()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("read", "write", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "text").write_text("text")
    (tmp_path / "file").write_text("text")
    return tmp_path


def tried(folder: Path, code: str) -> str:
    """What a confined process prints, or the last line of its error."""
    program = CONFINED.format(folder=str(folder)) + textwrap.dedent(code)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=HERE)
    return done.stdout.strip() or done.stderr.strip().splitlines()[-1]


needs_landlock = pytest.mark.skipif(confinement.landlock_version() < 2, reason="this kernel has no Landlock")


@needs_landlock
@pytest.mark.parametrize(
    "code",
    [
        "print((folder / 'other' / 'text').read_text())",
        "print(Path('/etc/passwd').read_text())",
        "print(os.listdir(folder / 'other'))",
        "(folder / 'read' / 'text').write_text('changed')",
        "(folder / 'read' / 'new').write_text('new')",
        "(folder / 'file').unlink()",
        "(folder / 'other' / 'text').rename(folder / 'write' / 'taken')",
        "os.truncate(folder / 'read' / 'text', 0)",
        "print(Path('/proc/self/environ').read_bytes())",
    ],
)
def test_other_files_can_be_neither_read_nor_changed(folder: Path, code: str) -> None:
    assert tried(folder, code).startswith("PermissionError: [Errno 13]")
    assert (folder / "read" / "text").read_text() == "text"


@needs_landlock
def test_a_link_takes_no_file_out_of_what_may_be_read(folder: Path) -> None:
    assert tried(folder, "os.link(folder / 'file', folder / 'write' / 'file')").startswith("OSError: [Errno 18]")


@needs_landlock
def test_allowed_files_can_be_used_and_programs_can_be_run(folder: Path) -> None:
    code = """
        os.link(folder / 'write' / 'text', folder / 'write' / 'more')
        (folder / 'write' / 'new').write_text((folder / 'read' / 'text').read_text() + (folder / 'file').read_text())
        git = subprocess.run(['git', 'init', '-q', '--bare', str(folder / 'write' / 'git')], capture_output=True,
                             env={'PATH': os.environ['PATH'], 'HOME': '/dev/null', 'GIT_CONFIG_NOSYSTEM': '1'})
        import wave  # a module that nobody has imported yet
        print(git.returncode, (folder / 'write' / 'new').read_text())
    """
    assert tried(folder, code) == "0 texttext"


@needs_landlock
def test_programs_are_confined_like_the_process_that_starts_them(folder: Path) -> None:
    code = "print(subprocess.run(['cat', '/etc/passwd'], capture_output=True, text=True).stderr)"

    assert tried(folder, code) == "cat: /etc/passwd: Permission denied"


@needs_landlock
def test_later_confinement_takes_rights_only(folder: Path) -> None:
    code = """
        assert confinement.confine_files([folder / 'read', folder / 'other'])
        print((folder / 'read' / 'text').read_text())
        for path in (folder / 'file', folder / 'other' / 'text'):
            try:
                path.read_text()
            except PermissionError:
                print('refused')
    """
    assert tried(folder, code).split() == ["text", "refused", "refused"]


@pytest.mark.parametrize("family", ["AF_INET", "AF_INET6", "AF_UNIX", "AF_NETLINK"])
def test_no_socket_can_be_made(folder: Path, family: str) -> None:
    assert tried(folder, f"socket.socket(socket.{family}, socket.SOCK_DGRAM)").startswith("PermissionError: [Errno 1]")


def test_no_socket_can_be_made_by_a_started_program(folder: Path) -> None:
    code = """
        program = "import socket; socket.socketpair()"
        print(subprocess.run([sys.executable, '-c', program], capture_output=True, text=True).stderr[-60:])
    """
    assert "PermissionError" in tried(folder, code)


def test_limits_hold_for_python_and_less_for_git(folder: Path) -> None:
    code = """
        confinement.limit(Bounds(memory_bytes=100 << 20, cpu_seconds=5), indexed=0, written=1000)
        try:
            bytearray(200 << 20)
        except MemoryError:
            print('memory')
        try:
            (folder / 'write' / 'large').write_bytes(bytes(2000))
        except OSError as error:
            print('size')
        print(subprocess.run(['sh', '-c', 'ulimit -v 1000000; ulimit -v; ulimit -t; ulimit -c'],
                             capture_output=True, text=True).stdout)
    """
    assert tried(folder, code).split() == ["memory", "size", "1000000", "5", "0"]


def test_a_limit_that_is_lower_already_stays(folder: Path) -> None:
    code = """
        import resource
        confinement.soft_limit(resource.RLIMIT_NOFILE, 50)
        confinement.soft_limit(resource.RLIMIT_NOFILE, 100)
        print(resource.getrlimit(resource.RLIMIT_NOFILE))
    """
    assert tried(folder, code) == "(50, 50)"


def test_the_time_of_a_process_without_a_coordinator_is_bounded(folder: Path) -> None:
    code = "confinement.LATE = 0.1\nconfinement.limit_life(0.1)\nwhile True: pass"
    program = CONFINED.format(folder=str(folder)) + code

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, cwd=HERE)

    assert done.returncode == -14
    assert confinement.LATE == 5.0


@pytest.mark.parametrize(
    ("landlock", "machine", "missing"),
    [
        (7, "x86_64", []),
        (5, "aarch64", ["that they may not send signals to the coordinator"]),
        (
            -1,
            "riscv64",
            [
                "which files they may read and write",
                "that they may not send signals to the coordinator",
                "that they may not open sockets",
            ],
        ),
    ],
)
def test_the_coordinator_warns_at_its_start_of_what_its_kernel_does_not_enforce(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    landlock: int,
    machine: str,
    missing: list[str],
) -> None:
    monkeypatch.setattr(confinement, "landlock_version", lambda: landlock)
    monkeypatch.setattr("platform.machine", lambda: machine)
    assert confinement.unenforced() == missing
    warn_of_weak_confinement()
    assert [record.getMessage().count(", ") for record in caplog.records] == ([len(missing) - 1] if missing else [])
