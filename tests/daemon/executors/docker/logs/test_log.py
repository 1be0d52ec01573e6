"""A job's log: the exact bytes, in order, whole, from any offset, as they come."""

from __future__ import annotations

import hashlib
import threading
from functools import partial
from pathlib import Path

import docker
import pytest
from docker.types import LogConfig

from daemon.executors.base import Dependencies
from daemon.executors.docker.api_client import DockerClient
from daemon.executors.docker.executor import DockerExecutor
from daemon.executors.docker.logs.follower import LOST
from daemon.executors.docker.logs.stored import read_tail
from daemon.executors.docker.sandbox import DockerSandbox
from daemon.runtime.thread_pool import THREADS, Task
from protocol.messages import Assignment
from tests.support.docker_jobs import WORKER, container_name
from tests.support.eventually import eventually
from tests.support.images import BUSYBOX, DEBIAN
from tests.support.plans import assignment
from tests.support.system import UNTIL_TOLD


def opened(executor: DockerExecutor, job: Assignment) -> DockerSandbox:
    """The job, running."""
    sandbox = executor.sandbox(job)
    assert isinstance(sandbox, DockerSandbox)
    sandbox.prepare(None)
    sandbox.release(Dependencies())
    return sandbox


def log_of(sandbox: DockerSandbox, offset: int = 0) -> bytes:
    """Its log from an offset on, to its end."""
    log = bytearray()
    sandbox.follow_log(offset, log.extend)
    return bytes(log)


def test_bytes_that_are_no_text_and_a_last_line_without_an_end_are_kept(executor: DockerExecutor) -> None:
    sandbox = opened(executor, assignment(r"printf 'a\377\000\r\n\033[31mred\n\n\036longshore end'; printf ' no end'"))
    expected = b"a\xff\0\r\n\x1b[31mred\n\n\x1elongshore end no end"
    assert log_of(sandbox).split(b"\n", 1)[1] == expected
    sandbox.wait()
    assert log_of(sandbox).split(b"\n", 1)[1] == expected


def test_output_and_errors_come_in_the_order_in_which_they_were_written(executor: DockerExecutor) -> None:
    count = 500
    job = assignment(f"for i in $(seq {count}); do echo out $i; echo err $i >&2; done")
    expected = [f"{kind} {i}" for i in range(1, count + 1) for kind in ("out", "err")]
    assert log_of(opened(executor, job)).decode().splitlines()[1:] == expected


def test_lines_longer_than_the_engine_s_pieces_keep_their_ends(executor: DockerExecutor) -> None:
    sizes = [16382, 16383, 16384, 16385, 20000, 32767, 32768, 32769, 100_000]
    job = assignment(*(f"head -c {size} /dev/zero | tr '\\0' x; echo; echo next" for size in sizes), image=DEBIAN)
    lines = log_of(opened(executor, job)).decode().splitlines()
    assert [len(line) for line in lines[1::3]] == sizes
    assert set(lines[2::3]) == {"next"}


def test_a_large_log_is_exact_by_hash_from_every_offset(executor: DockerExecutor) -> None:
    noise = "head -c 299999 /dev/urandom; printf x"  # with an end of a line as its last byte, it could not be told
    job = assignment(noise, "seq 20000", "head -c 1000000 /dev/zero | tr '\\0' x", image=DEBIAN)
    sandbox = opened(executor, job)
    followed = log_of(sandbox)
    sandbox.wait()
    parts = followed.split(b"$ seq 20000\n")
    numbers, zeros = parts[1].split(b"$ head -c 1000000 /dev/zero | tr '\\0' x\n")
    assert len(parts[0].split(b"\n", 1)[1]) == 300_000
    assert hashlib.sha256(numbers).digest() == hashlib.sha256(b"".join(b"%d\n" % n for n in range(1, 20_001))).digest()
    assert zeros == b"x" * 1_000_000
    for offset in (0, 1, 16384, 345_678, len(followed), len(followed) + 5):
        assert log_of(sandbox, offset) == followed[offset:]


def test_lines_come_while_the_job_runs(executor: DockerExecutor, docker_client: docker.DockerClient) -> None:
    job = assignment("echo first", UNTIL_TOLD, "echo second")
    sandbox = opened(executor, job)
    log = bytearray()
    told = False

    def sink(data: bytes) -> None:
        nonlocal told
        log.extend(data)
        if not told and b"\nfirst\n" in log:
            told = True
            docker_client.containers.get(container_name(job)).exec_run(["touch", "/told"])

    sandbox.follow_log(0, sink)
    assert log.decode().splitlines() == ["$ echo first", "first", f"$ {UNTIL_TOLD}", "$ echo second", "second"]


def test_a_sink_that_blocks_slows_the_log_and_not_the_job(
    executor: DockerExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than is read ahead, and than fits into all buffers on the way."""
    monkeypatch.setattr("daemon.executors.docker.logs.attached.MAX_BACKLOG_BYTES", 200_000)
    count = 200_000
    sandbox = opened(executor, assignment(f"seq {count}"))
    go_on = threading.Event()
    log = bytearray()

    def sink(data: bytes) -> None:
        go_on.wait(60)
        log.extend(data)

    follower = threading.Thread(target=sandbox.follow_log, args=(0, sink))
    follower.start()
    assert sandbox.wait().exit_code == 0
    assert not log
    go_on.set()
    follower.join(60)
    assert log == b"".join([b"$ seq %d\n" % count, *(b"%d\n" % number for number in range(1, count + 1))])


def test_what_a_sink_raises_ends_the_following(executor: DockerExecutor) -> None:
    sandbox = opened(executor, assignment("echo one", "sleep 600"))

    class Enough(Exception):
        pass

    def sink(data: bytes) -> None:
        raise Enough

    try:
        sandbox.follow_log(0, sink)
        raise AssertionError("it went on")
    except Enough:
        pass
    sandbox.kill()
    assert log_of(sandbox).startswith(b"$ echo one\n")


def test_a_killed_job_s_log_is_whole_up_to_its_last_byte(executor: DockerExecutor, tmp_path: Path) -> None:
    sandbox = opened(executor, assignment("echo one", "printf 'no end'; sleep 600"))
    log = bytearray()

    def sink(data: bytes) -> None:
        log.extend(data)
        if b"sleep" in log:
            threading.Timer(0.3, sandbox.kill).start()

    sandbox.follow_log(0, sink)
    assert sandbox.wait().exit_code == 137
    assert log.rstrip(b"\n").endswith(b"no end")
    assert log_of(sandbox) == bytes(log)


def test_what_the_engine_drops_of_a_log_that_nobody_reads_in_time_is_said_in_it_and_the_job_is_not_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the sizes of what is really gigabytes."""
    for module in ("multiplexed", "stored"):
        monkeypatch.setattr(f"daemon.executors.docker.logs.{module}.MAX_HELD_BYTES", 1 << 20)

    def daemon() -> DockerExecutor:
        return DockerExecutor(WORKER, coordinator=WORKER, directory=tmp_path / "cache", max_log_bytes=2 << 20)

    first = daemon()
    line = "x" * 4000
    printed = [b"%04d %s\n" % (number, line.encode()) for number in range(1500)] + [b"all is printed\n"]
    loop = f'awk "BEGIN {{ for (i = 0; i < 1500; i++) printf \\"%04d %s\\\\n\\", i, \\"{line}\\" }}"'
    job = assignment(loop, "echo all is printed; sleep 600")
    try:
        sandbox = first.sandbox(job)
        assert isinstance(sandbox, DockerSandbox)
        sandbox.prepare(None)
        sandbox.release(Dependencies())
        early, slow = bytearray(), daemon().sandbox(job)
        go_on = threading.Event()

        def sink(data: bytes) -> None:
            go_on.wait(60)
            early.extend(data)

        follower = threading.Thread(target=slow.follow_log, args=(0, sink))
        follower.start()
        THREADS.start(Task(partial(sandbox.follow_log, 0, lambda data: None), "drain"))
        eventually(lambda: b"\nall is printed\n" in read_tail(DockerClient(), container_name(job), 10_000))
        assert [found.state for found in daemon().find()] == ["running"]
        go_on.set()
        late = daemon().sandbox(job)
        threading.Timer(0.5, late.kill).start()
        log = bytearray()
        late.follow_log(1000, log.extend)
        follower.join(60)
        assert [found.state for found in daemon().find()] == ["exited"]
        assert log.startswith(LOST)
        rest = bytes(log.removeprefix(LOST))
        assert len(rest) > 1 << 20
        assert b"".join(printed).endswith(rest.replace(b"$ echo all is printed; sleep 600\n", b""))
        assert LOST in early
        for one in (late, slow):
            assert one.warnings == ["part of its log is lost: it printed more than the engine keeps"]
    finally:
        first.sweep(set())


@pytest.mark.usefixtures("images")
def test_the_end_of_a_log_has_whole_lines_only(docker_client: docker.DockerClient) -> None:
    """Half a secret would not be known for one."""
    line = "a secret of 32 characters, or so"
    for lines, most, kept in ((3, 1000, 3), (300, 100, 3), (300, 10_000, 99), (1, 20, 0)):
        container = docker_client.containers.run(
            BUSYBOX, ["sh", "-c", f"for i in $(seq {lines}); do echo '{line}'; done"], detach=True,
            log_config=LogConfig(type="local"),
        )  # fmt: skip
        try:
            container.wait()
            assert read_tail(DockerClient(), str(container.id), most).decode().splitlines() == [line] * kept
        finally:
            container.remove()


def test_a_silence_longer_than_any_patience_with_the_engine_is_not_taken_for_an_end(
    executor: DockerExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An hour of it is no other thing: nothing here counts the seconds of a silence but what is shortened."""
    monkeypatch.setattr("daemon.executors.docker.api_client.CALL_TIMEOUT", 5.0)
    monkeypatch.setattr("daemon.executors.docker.logs.stored.QUIET_SECONDS", 0.3)
    monkeypatch.setattr("daemon.executors.docker.logs.attached.QUIET_SECONDS", 0.3)
    job = assignment("echo one", "sleep 6", "echo two")
    sandbox = opened(executor, job)
    other = DockerExecutor(WORKER, coordinator=WORKER, directory=tmp_path / "cache").sandbox(job)
    logs = bytearray(), bytearray()
    followers = [
        threading.Thread(target=sandbox.follow_log, args=(0, logs[0].extend)),
        threading.Thread(target=other.follow_log, args=(0, logs[1].extend)),
    ]
    for follower in followers:
        follower.start()
    assert (sandbox.wait().exit_code, other.wait().exit_code) == (0, 0)
    for follower in followers:
        follower.join(60)
    assert logs[0] == logs[1] == b"$ echo one\none\n$ sleep 6\n$ echo two\ntwo\n"
