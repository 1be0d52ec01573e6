"""Children whose files, or whose compilers, misbehave: each is told to its job, and the next one is compiled."""

from __future__ import annotations

import os
import signal
import sys
import threading
from concurrent.futures import CancelledError
from pathlib import Path

import pytest

from protocol.compilation import Bounds, Compiled, NotCompiled
from protocol.compression import compressed
from tests.coordinator.children.conftest import Parent, local
from tests.support.eventually import DEADLINE, eventually

JOB = "job: {script: [make]}\n"
HANGING = "import sys, time; sys.stdout.flush(); time.sleep(1000)"


def bomb() -> str:
    """Nine levels of nine aliases each: 387 million values."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]" for level in range(1, 9)]
    return "\n".join(lines) + f"\n{JOB}"


def test_a_yaml_bomb_is_told_with_its_line(parent: Parent) -> None:
    parent.commit()
    include, fields = parent.generated(bomb())

    [problem] = parent.problems(include, **fields)

    assert problem.startswith("artifact generate:child.yml:")
    assert "more than 500000 values" in problem


def test_a_cycle_of_includes_is_told(parent: Parent) -> None:
    parent.project.write("a.yml", "include: b.yml\n")
    parent.project.write("b.yml", "# the second line\ninclude: a.yml\n")
    parent.commit()
    include, fields = parent.generated("include: a.yml\n")

    assert parent.problems(local("a.yml"))[0].startswith("b.yml:2: include: a.yml includes itself (included from a.yml")
    assert "a.yml includes itself" in parent.problems(include, **fields)[0]


def test_a_generated_file_reads_no_file_of_the_host(parent: Parent) -> None:
    links = {"absolute.yml": "/etc/passwd", "relative.yml": "../" * 9 + "etc/passwd", "inner/up.yml": "../absolute.yml"}
    for name, target in links.items():
        (parent.project.root / name).parent.mkdir(exist_ok=True)
        (parent.project.root / name).symlink_to(target)
    (parent.project.root / "self.yml").symlink_to("self.yml")
    parent.commit()

    def problem(path: str) -> str:
        include, fields = parent.generated(f"include: {{local: {path}}}\n{JOB}")
        return parent.problems(include, **fields)[0]

    assert "'/etc/passwd' does not end in .yml" in problem("/etc/passwd")
    assert "there is no file 'etc/passwd.yml'" in problem("/etc/passwd.yml")
    assert "is relative to the including file" in problem("../../etc/passwd.yml")
    for name in links:
        assert f"{name} is a symbolic link that leads outside the project" in problem(name)
        assert "is a symbolic link that leads outside the project" in parent.problems(local(name))[0]
    assert "self.yml is a symbolic link that leads to itself" in problem("self.yml")


def test_a_file_of_100_megabytes_is_refused_unread(parent: Parent) -> None:
    with (parent.project.root / "large.yml").open("wb") as file:
        file.truncate(100 << 20)
    parent.project.write("child.yml", f"include: large.yml\n{JOB}")
    parent.commit()

    assert parent.problems(local("child.yml")) == ["child.yml:1: include: large.yml is larger than 10 MB"]


def test_an_archive_of_endless_data_costs_no_memory(parent: Parent) -> None:
    parent.commit()
    include, fields = parent.generated(JOB)
    [ref] = fields["archives"]["generate"]
    with parent.blob(ref.digest).open("wb") as file, compressed(file) as stream:
        header = bytearray(512)
        header[:5], header[124:136], header[156:157], header[257:263] = b"x.bin", b"20000000000\0", b"0", b"ustar\0"
        stream.write(header)
        for _ in range(1024):
            stream.write(bytes(1 << 20))

    assert parent.problems(include, **fields) == ["the artifact of 'generate' is truncated"]


def test_a_generator_of_500_jobs_is_compiled(parent: Parent) -> None:
    parent.commit()
    include, fields = parent.generated("".join(f"job {number}: {{script: [echo {number}]}}\n" for number in range(500)))

    assert len(parent.jobs(include, **fields)) == 500


def test_a_plan_larger_than_a_clients_is_refused(parent: Parent) -> None:
    parent.commit()
    parent.start(bounds=Bounds(answer_bytes=1 << 20))
    include, fields = parent.generated("".join(f"j{number}: {{script: [{'x' * 99}]}}\n" for number in range(9_000)))

    assert parent.problems(include, **fields) == [
        "the plan of the pipeline is larger than 1 MB; move scripts and variables into files of the repository"
    ]


def test_a_compilation_that_needs_too_much_memory_is_told(parent: Parent) -> None:
    parent.commit()
    program = (
        "import runpy, compiler.task\n"
        "compiler.task.compile_subject = lambda *given, **options: bytearray(2 << 30)\n"
        "runpy.run_module('compiler', run_name='__main__')\n"
    )
    parent.start(command=[sys.executable, "-c", program])

    assert parent.problems(local("x.yml")) == ["compiling the pipeline needs more than 1024 MB of memory"]


def test_a_compilation_that_leaves_no_byte_to_say_so_is_told_all_the_same(parent: Parent) -> None:
    parent.commit()
    # CPython 3.11 raises MemoryError for ever if it can't allocate the number of the line that a `with` has failed at.
    program = (
        "import runpy, compiler.task\n"
        "def fill(*given, **options):\n"
        "    kept = []\n"
        "    while True: kept.append(bytes(40))\n"
        "compiler.task.compile_subject = fill\n"
        "runpy.run_module('compiler', run_name='__main__')\n"
    )
    parent.start(command=[sys.executable, "-c", program], bounds=Bounds(memory_bytes=64 << 20))

    assert parent.problems(local("x.yml")) == ["compiling the pipeline needs more than 64 MB of memory"]


def test_a_compilation_that_computes_for_too_long_is_told(parent: Parent) -> None:
    spin = "import resource; resource.setrlimit(resource.RLIMIT_CPU, (1, 2))\nwhile True: pass"
    parent.start(command=[sys.executable, "-c", spin])

    assert parent.problems(local("x.yml")) == ["compiling the pipeline took too much CPU time"]


def test_a_compiler_that_hangs_is_killed_with_all_that_it_started(parent: Parent, tmp_path: Path) -> None:
    started = tmp_path / "started"
    script = f"sleep 1000 & echo $! > {started}.part; mv {started}.part {started}; wait"
    parent.start(command=["/bin/sh", "-c", script], bounds=Bounds(seconds=1.0, fetch_seconds=0.0))

    assert parent.problems(local("x.yml")) == ["compiling the pipeline took longer than 1 s"]
    inner = int(started.read_text())
    eventually(lambda: not is_running(inner))


@pytest.mark.parametrize(
    ("program", "problem"),
    [
        ("import os; os.kill(os.getpid(), 9)", "the compiler of the pipeline ended unexpectedly (signal 9)"),
        ("raise SystemExit(3)", "the compiler of the pipeline ended unexpectedly (status 3)"),
        ("pass", "the compiler of the pipeline gave no sound plan: Input data was truncated"),
        ("print('x' * 100)", "the compiler of the pipeline gave no sound plan: Expected `object`"),
        ("while True: print('x' * 10_000)", "the plan of the pipeline is larger than 16 MB"),
        (
            "import sys; print('x' * 9_000_000, file=sys.stderr); sys.exit(1)",
            "the compiler of the pipeline ended",
        ),
    ],
)
def test_a_compiler_that_crashes_or_babbles_is_told(parent: Parent, program: str, problem: str) -> None:
    parent.start(command=[sys.executable, "-c", program])

    assert parent.problems(local("x.yml"))[0].startswith(problem)


def test_a_compiler_that_can_not_be_started_is_told(parent: Parent) -> None:
    parent.start(command=["/nowhere/python"])

    [problem] = parent.problems(local("x.yml"))

    assert problem.startswith("the coordinator can't compile the pipeline: [Errno 2]")


def test_a_host_without_git_is_told(parent: Parent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parent.commit()
    request = parent.request(local("child.yml"))
    monkeypatch.setenv("PATH", str(tmp_path))

    answer = parent.compiler.compile(request).result(DEADLINE)

    assert isinstance(answer, NotCompiled)
    assert answer.problems[0].startswith("the coordinator's host has no git")


def test_a_store_that_can_not_be_written_is_told(parent: Parent) -> None:
    parent.commit()
    compiler = parent.compiler
    (parent.state / "children" / "store").rmdir()
    (parent.state / "children" / "store").write_text("a file")

    [problem] = parent.problems(local("child.yml"))

    assert compiler is parent.compiler
    assert problem.startswith("the coordinator can't compile the pipeline: [Errno 20] Not a directory")


def test_a_killed_compiler_leaves_the_next_one_a_sound_store(parent: Parent) -> None:
    parent.project.write("child.yml", JOB)
    parent.commit()
    request = parent.request(local("child.yml"))
    future = parent.compiler.compile(request)
    store = parent.state / "children" / "store"
    eventually(lambda: list(store.glob("partial/*")) or future.done(), every=0.001)
    for pid in compilers(parent):
        os.kill(pid, signal.SIGKILL)

    answer = future.result(DEADLINE)
    assert isinstance(answer, Compiled) or "signal 9" in answer.problems[0]
    assert list(parent.jobs(local("child.yml"))) == ["job"]


def test_closing_kills_what_runs_and_cancels_what_waits(parent: Parent) -> None:
    compiler = parent.start(command=[sys.executable, "-c", HANGING], processes=1)
    running = compiler.compile(parent.request(local("x.yml")))
    waiting = compiler.compile(parent.request(local("x.yml")))
    eventually(lambda: compilers(parent))

    threading.Thread(target=compiler.close).start()

    answer = running.result(DEADLINE)
    assert isinstance(answer, NotCompiled)
    assert "signal 9" in answer.problems[0]
    with pytest.raises(CancelledError):
        waiting.result(DEADLINE)
    assert compilers(parent) == []


def test_a_restarted_coordinator_removes_what_a_killed_one_has_left(parent: Parent) -> None:
    left = parent.state / "children" / "scratch" / "left"
    left.mkdir(parents=True)
    parent.start()

    assert not left.exists()


def compilers(parent: Parent) -> list[int]:
    """The processes that work in the parent's scratch directory."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and os.readlink(entry / "cwd").startswith(f"{parent.state}/children/scratch/"):
                found.append(int(entry.name))
        except OSError:
            continue  # it has ended, or is another user's
    return found


def is_running(pid: int) -> bool:
    """Whether a process runs; one that nobody waits for may stay as a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
