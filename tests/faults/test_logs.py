"""Logs that are large, fast or strange: every byte is kept up to the limit, and nobody's memory grows with them.

What is stored is compared with what was printed by hash; what is printed is a function of a few numbers.
"""

from __future__ import annotations

import hashlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from protocol.events import LogAppended, log_topic
from tests.faults.fleet import Fleet
from tests.faults.invariants import whole_log
from tests.support.eventually import DEADLINE, eventually
from tests.support.system import Process, jobs_of, repository

MIB = 1 << 20
HELD_UP = 20.0
"""Seconds between two lines of a job that another job's log would hold up: far more than a busy machine takes."""
PIPELINE = """
default: {image: "longshore/busybox:test"}
loud:
  x-longshore: {log_limit: LIMIT}
  script:
    - COMMAND
quiet:
  needs: []
  script: ['for i in 1 2 3 4 5 6 7 8 9 10; do cut -d" " -f1 /proc/uptime; sleep 0.2; done']
"""
BLOCK = 'awk "BEGIN { for (i = 0; i < 65536; i++) printf \\"%015d\\\\n\\", i }" > /tmp/block'
"""Makes a file of 1 MiB, in lines of 16 bytes."""
BLOCK_BYTES = b"".join(b"%015d\n" % number for number in range(65536))
LONG_LINE = 'head -c {size} /dev/zero | tr "\\\\000" x; echo'
STRANGE = (
    r'i=0; while [ $i -lt 200 ]; do printf "\\377\\376\\000\\200 %d\\r\\033[31m\\303\\050\\n" $i; i=$((i+1)); done'
)
STRANGE_BYTES = b"".join(b"\xff\xfe\x00\x80 %d\r\x1b[31m\xc3\x28\n" % number for number in range(200))


REST = "x" * 64
FAST_BLOCK = f'awk "BEGIN {{ for (i = 0; i < 10000; i++) printf \\"%05d %s\\\\n\\", i, \\"{REST}\\" }}" > /tmp/block'
FAST_BLOCK_BYTES = b"".join(b"%05d %s\n" % (number, REST.encode()) for number in range(10_000))
"""10,000 lines of 70 characters."""


def pipeline(command: str, limit: str = "1g") -> str:
    return PIPELINE.replace("COMMAND", "'" + command.replace("'", "''") + "'").replace("LIMIT", limit)


@contextmanager
def watching(*processes: Process) -> Iterator[dict[str, int]]:
    """The most memory, in bytes, that each process has while this lasts."""
    peaks: dict[str, int] = {}
    done = threading.Event()

    def look() -> None:
        while not done.wait(0.1):
            for process in processes:
                for line in Path(f"/proc/{process.popen.pid}/status").read_text().splitlines():
                    if line.startswith("VmRSS:"):
                        peaks[process.name] = max(peaks.get(process.name, 0), int(line.split()[1]) << 10)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield peaks
    finally:
        done.set()
        thread.join()


@contextmanager
def arrivals(fleet: Fleet) -> Iterator[list[str]]:
    """By the feed: of which job each piece of a log is, in the order in which they come."""
    jobs = {"1.1": "loud", "2.1": "quiet"}
    arrived: list[str] = []
    ready, done = threading.Event(), threading.Event()

    def listen() -> None:
        with fleet.client() as client, closing(client.feed()) as feed:
            for attempt in jobs:
                feed.subscribe(log_topic(attempt))
            ready.set()
            while not done.is_set():
                event = feed.receive(0.1)
                if event and isinstance(event[0], LogAppended) and not event[0].complete:
                    arrived.append(jobs[event[0].attempt])

    thread = threading.Thread(target=listen)
    thread.start()
    try:
        assert ready.wait(DEADLINE)
        yield arrived
    finally:
        done.set()
        thread.join()


def check_progress(arrived: list[str]) -> None:
    """Lines of the quiet job came while the loud one printed."""
    loud = [at for at, job in enumerate(arrived) if job == "loud"]
    assert arrived[loud[0] : loud[-1]].count("quiet") > 1


def output(log: bytes) -> bytes:
    """What a job has printed, without the echo of its command."""
    assert log.startswith(b"$ ")
    return log.partition(b"\n")[2]


def run_loud(fleet: Fleet, tmp_path: Path, text: str, within: float = 120.0) -> tuple[bytes, dict[str, int]]:
    """The log of the loud job, and the most memory that coordinator and worker needed."""
    worker = fleet.add_worker("w", slots=2)
    fleet.wait_for_workers(1)
    assert worker.process is not None
    assert fleet.coordinator is not None
    project = repository(tmp_path / "project", {".gitlab-ci.yml": text})
    with watching(worker.process, fleet.coordinator) as peaks:
        run = fleet.submit(project)
        view = fleet.finished(run, within=within)
    assert {name: job["status"] for name, job in jobs_of(view).items()} == {"loud": "success", "quiet": "success"}
    ticks = [float(line) for line in fleet.log(run, "quiet").splitlines() if not line.startswith("$")]
    assert max(after - before for before, after in pairwise(ticks)) < HELD_UP
    with fleet.client() as client:
        return whole_log(client, run, "loud"), peaks


@pytest.mark.parametrize("mebibytes", [48, pytest.param(1000, marks=[pytest.mark.long, pytest.mark.timeout(900)])])
def test_a_large_log_is_stored_to_the_byte_in_bounded_memory(fleet: Fleet, tmp_path: Path, mebibytes: int) -> None:
    loop = f"{BLOCK}; i=0; while [ $i -lt {mebibytes} ]; do cat /tmp/block; i=$((i+1)); done"
    with arrivals(fleet) as arrived:
        log, peaks = run_loud(fleet, tmp_path, pipeline(loop), within=600)
    wanted = hashlib.sha256()
    for _ in range(mebibytes):
        wanted.update(BLOCK_BYTES)
    print(f"{mebibytes} MiB stored; at most so many bytes of memory: {peaks}")
    assert len(output(log)) == mebibytes * MIB
    assert hashlib.sha256(output(log)).hexdigest() == wanted.hexdigest()
    assert max(peaks.values()) < 250 * MIB, peaks
    if mebibytes > 100:  # less may be over before the other job has begun
        check_progress(arrived)


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_job_of_a_hundred_thousand_lines_a_second_loses_none(fleet: Fleet, tmp_path: Path) -> None:
    """Ten seconds of it, a tenth of a second's lines at a time."""
    loop = f"{FAST_BLOCK}; i=0; while [ $i -lt 100 ]; do cat /tmp/block; sleep 0.09; i=$((i+1)); done"
    with arrivals(fleet) as arrived:
        log, peaks = run_loud(fleet, tmp_path, pipeline(loop))
    print(f"1,000,000 lines stored; at most so many bytes of memory: {peaks}")
    assert hashlib.sha256(output(log)).digest() == hashlib.sha256(100 * FAST_BLOCK_BYTES).digest()
    assert max(peaks.values()) < 250 * MIB, peaks
    check_progress(arrived)


@pytest.mark.parametrize(
    "size", [10_000_000, pytest.param(100 * MIB, marks=[pytest.mark.long, pytest.mark.timeout(600)])]
)
def test_one_endless_line_is_a_log_as_any_other(fleet: Fleet, tmp_path: Path, size: int) -> None:
    log, peaks = run_loud(fleet, tmp_path, pipeline(LONG_LINE.format(size=size)))
    assert hashlib.sha256(output(log)).digest() == hashlib.sha256(b"x" * size + b"\n").digest()
    assert max(peaks.values()) < 250 * MIB, peaks


def test_bytes_that_are_no_text_are_stored_as_they_are(fleet: Fleet, tmp_path: Path) -> None:
    log, _ = run_loud(fleet, tmp_path, pipeline(STRANGE))
    assert output(log) == STRANGE_BYTES


def test_of_a_log_past_its_limit_head_and_tail_are_kept_and_the_result_is_untouched(
    fleet: Fleet, tmp_path: Path
) -> None:
    loop = f"{BLOCK}; i=0; while [ $i -lt 30 ]; do cat /tmp/block; i=$((i+1)); done; echo the end"
    log, _ = run_loud(fleet, tmp_path, pipeline(loop, "2m"))
    head, _, rest = log.partition(b"\n[longshore: ")
    said, _, tail = rest.partition(b"]\n")
    assert output(head) == (30 * BLOCK_BYTES)[: len(output(head))]
    assert tail == (30 * BLOCK_BYTES + b"the end\n")[-len(tail) :]
    assert len(head) + len(tail) == 2 * MIB
    echo = len(head) - len(output(head))
    assert int(said.split()[0]) == echo + 30 * MIB + len(b"the end\n") - 2 * MIB


@pytest.mark.long
def test_the_log_of_a_job_whose_worker_and_coordinator_come_and_go_is_whole(fleet: Fleet, tmp_path: Path) -> None:
    worker = fleet.add_worker("w", slots=1)
    fleet.wait_for_workers(1)
    loop = f"echo begun; sleep 1; {BLOCK}; i=0; while [ $i -lt 12 ]; do cat /tmp/block; sleep 0.3; i=$((i+1)); done"
    run = fleet.submit(repository(tmp_path / "project", {".gitlab-ci.yml": pipeline(loop)}), "--job", "loud")
    eventually(lambda: "begun" in fleet.logged(run, "loud"))
    assert worker.process is not None
    assert fleet.coordinator is not None
    os.kill(worker.process.popen.pid, signal.SIGSTOP)
    time.sleep(2)
    os.kill(worker.process.popen.pid, signal.SIGCONT)
    time.sleep(1)
    fleet.coordinator.kill()
    time.sleep(1)
    worker.process.kill()
    fleet.mend()
    assert fleet.finished(run)["status"] == "success"
    with fleet.client() as client:
        assert output(whole_log(client, run, "loud")) == b"begun\n" + 12 * BLOCK_BYTES
