"""What one peer or project asks beyond its bounds is refused, clearly; a storm of strangers disturbs no run."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec
import pytest

from cli.render.json_views import rfc3339
from coordinator.engine.settings import Settings
from coordinator.maintenance.retention import Retention
from coordinator.security.limits import Limits, parse_limits
from coordinator.security.quota import LEAST, Counted, Quota
from protocol import messages as m
from protocol.addresses import parse_tcp
from protocol.client import Client
from protocol.errors import ProtocolError, UsageError
from protocol.plan import ArtifactsSpec, Plan, Resources, ServiceSpec
from protocol.statuses import ExecutionStatus as S
from protocol.views import ArtifactRef
from protocol.workspace import TarWorkspace
from tests.conftest import ROOT, Images
from tests.security.joining import join
from tests.support.coordinator_process import Running, WireWorker
from tests.support.eventually import DEADLINE, eventually
from tests.support.plans import job, plan
from tests.support.system import System, repository

STRANGERS = int(os.environ.get("LONGSHORE_STRANGERS", "2500"))
"""Ten thousand take most of a minute; they are for a run of their own."""
GREETING = bytes([0xFF, 0, 0, 0, 0, 0, 0, 0, 1, 0x7F, 3, 0]) + b"CURVE".ljust(20, b"\0") + bytes(32)
"""ZMTP 3.0's, up to where a handshake would begin."""


def test_a_project_has_no_more_unfinished_runs_than_its_limit(tmp_path: Path) -> None:
    with Running(tmp_path / "state", limits=Limits(runs_per_project=2)) as running, running.client() as client:
        runs = [client.submit_run(plan(job("a"))) for _ in range(2)]
        with pytest.raises(UsageError, match="2 unfinished runs; the limit runs_per_project is 2"):
            client.submit_run(plan(job("a")))
        client.cancel(runs[0])
        client.submit_run(plan(job("a")))


def test_a_run_a_log_and_a_blob_have_limits(tmp_path: Path) -> None:
    limits = Limits(jobs_per_run=2, log_bytes=100, blob_bytes=1000)
    with Running(tmp_path / "state", limits=limits) as running, running.client() as client:
        with pytest.raises(UsageError, match="3 jobs; the limit jobs_per_run is 2"):
            client.submit_run(plan(job("a"), job("b"), job("c")))
        with pytest.raises(UsageError, match="the limit log_bytes is 100"):
            client.submit_run(plan(job("a", resources=Resources(log_limit=101))))
        large = tmp_path / "large"
        large.write_bytes(bytes(1001))
        with pytest.raises(UsageError, match="the limit blob_bytes is 1000"):
            client.upload(large)


def blob(client: Client, folder: Path, content: bytes) -> tuple[str, int]:
    """Uploads bytes."""
    (file := folder / "content").write_bytes(content)
    return client.upload(file)


def test_what_no_run_names_counts_for_the_key_that_has_put_it(tmp_path: Path) -> None:
    with Running(tmp_path / "state", limits=Limits(unnamed_bytes=2 * LEAST)) as running, running.client() as client:
        digest, size = blob(client, tmp_path, b"workspace")
        blob(client, tmp_path, b"another")
        with pytest.raises(UsageError, match="the limit unnamed_bytes is"):
            blob(client, tmp_path, b"one too many")
        assert blob(client, tmp_path, b"workspace") == (digest, size)  # it is there
        with running.client(credentials=join(running, "operator", "otto")) as otto:
            blob(otto, tmp_path, b"of otto's own account")
        client.submit_run(plan(job("a")), TarWorkspace(digest=digest, size=size))
        artifact, size = blob(client, tmp_path, b"one too many")
        worker = WireWorker(running.address)
        worker.hello()
        worker.run(artifacts=[ArtifactRef(kind="archive", digest=artifact, size=size)])
        blob(client, tmp_path, b"and another")
        worker.close()


def test_a_project_has_no_more_workspaces_and_artifacts_than_its_limit(tmp_path: Path) -> None:
    def of(project: str) -> Plan:
        return msgspec.structs.replace(plan(job("a")), project=project)

    def counted() -> Mapping[str, int]:
        return running.coordinator.housekeeper.counted.by_project

    retention = Retention(every=0.1, runs_for=0.0)
    limits = Limits(project_bytes=1500)
    with Running(tmp_path / "state", limits=limits, retention=retention) as running, running.client() as client:
        for number in range(2):
            digest, size = blob(client, tmp_path, str(number).encode() * 1000)
            client.submit_run(of("p"), TarWorkspace(digest=digest, size=size))
        for _ in range(2):
            with pytest.raises(UsageError, match=r"'p' has 2000 bytes .* the limit project_bytes is 1500"):
                client.submit_run(of("p"))
            eventually(lambda: counted() == {"p": 2000})  # again, as the housekeeper has counted
        assert client.submit_run(of("q")) == 3
        client.cancel(1)  # and so it goes, with its workspace

        def may_submit() -> bool:
            with contextlib.suppress(UsageError):
                return bool(client.submit_run(of("p")))
            return False

        eventually(may_submit)


def test_a_blob_is_charged_once_whenever_the_housekeeper_looks() -> None:
    quota = Quota(Limits(project_bytes=1500))
    for digest in ("a", "b"):
        quota.put(b"key", digest, 1000, now=1.0)
        quota.name("p", digest, 1000)
        quota.count(Counted(5.0, {}, set()))  # it has looked before the turn was written
    with pytest.raises(ProtocolError, match="'p' has 2000 bytes"):
        quota.check("p")
    quota.written(6.0)
    quota.count(Counted(5.5, {"p": 2000}, {"a", "b"}))  # it had begun before, and has looked after
    with pytest.raises(ProtocolError, match="'p' has 2000 bytes"):
        quota.check("p")
    quota.put(b"key", "c", 1000, now=6.0)
    quota.name("p", "c", 1000)
    quota.written(6.5)
    quota.count(Counted(7.0, {}, set()))  # all are gone
    quota.check("p")


def test_a_worker_that_was_taken_over_can_not_fill_the_disk_with_a_log(tmp_path: Path) -> None:
    with Running(tmp_path / "state", engine=Settings(log_limit=10_000)) as running, running.client() as client:
        worker = WireWorker(running.address)
        worker.hello()
        client.submit_run(plan(job("a", services=[ServiceSpec(name="db")])))
        attempt = worker.accept().attempt
        for name in ("db", "b", "c"):
            worker.send(m.LogChunk(attempt=attempt, offset=0, stream=f"service-{name}"), b"ready")
        assert "already has a log for every service" in worker.expect(m.Error).message
        assert "already has a log for every service" in worker.expect(m.Error).message
        worker.send(m.LogChunk(attempt=attempt, offset=4 << 20, stream="service-db"), b"x" * 2000)
        assert worker.expect(m.Error).code == "too_large"
        for at in (0, 10_000):
            worker.send(m.LogChunk(attempt=attempt, offset=at), b"x" * 10_000)
        assert "at most 10000 bytes" in worker.expect(m.Error).message
        assert worker.expect(m.DiscardAttempt).attempt == attempt
        assert client.get_job(1, "a").services == ["db"]
        assert client.get_log(1, "a")[0].size == 10_000
        assert "limit of 10000 bytes" in str(client.get_job(1, "a").attempts[0].message)
        assert client.get_job(1, "a").attempts[0].status is S.FAILED
        worker.close()


def test_times_that_a_worker_tells_are_such_as_a_clock_can_show(tmp_path: Path) -> None:
    with Running(tmp_path / "state") as running, running.client() as client:
        worker = WireWorker(running.address)
        worker.hello()
        begun = time.time()
        for ago in (1e300, -1e300):
            keep = ArtifactsSpec(expire_in=1e300) if ago > 0 else None
            run = client.submit_run(plan(job("a", artifacts=keep)))
            attempt = worker.accept().attempt
            worker.status(attempt, 2, S.RUNNING, ago=ago)
            artifact = ArtifactRef(kind="archive", digest="0" * 64, size=1, expires_at=1e300)
            worker.status(attempt, 3, S.SUCCESS, ago=ago, log_length=0, artifacts=[artifact])
            view = client.get_run(run).stages[0].jobs[0]
            assert view.started_at
            assert view.finished_at
            assert begun - 1 < view.started_at < time.time() + 1
            assert begun - 1 < view.finished_at < time.time() + 1
            assert (rfc3339(view.artifacts[0].expires_at) is not None) == (keep is not None)
        worker.close()


def test_a_connection_that_sends_too_fast_is_told_and_others_are_not_held_up(tmp_path: Path) -> None:
    with Running(tmp_path / "state", limits=Limits(messages_per_second=200)) as running, running.client() as client:
        worker = WireWorker(running.address)
        worker.hello()
        for _ in range(1000):
            worker.send(m.Heartbeat())
        assert "messages_per_second" in worker.expect(m.Error).message
        took = []
        for _ in range(20):
            begun = time.monotonic()
            client.list_runs()
            took.append(time.monotonic() - begun)
        assert min(took) < 1
        worker.close()


def test_statuses_that_come_together_are_counted_and_bounded(tmp_path: Path) -> None:
    with Running(tmp_path / "state", limits=Limits(messages_per_second=200)) as running:
        worker = WireWorker(running.address)
        worker.hello()
        statuses = [m.JobStatus(attempt="77.1", seq=1, status=S.RUNNING)] * (m.MOST_STATUSES + 1)
        worker.send(m.JobStatuses(statuses=statuses))
        refused = worker.expect(m.Error)
        assert (refused.code, refused.message) == ("too_large", "a message has at most 500 statuses")
        for _ in range(4):
            worker.send(m.JobStatuses(statuses=statuses[1:]))
        assert "messages_per_second" in worker.expect(m.Error).message
        worker.close()


@pytest.mark.parametrize("text", ["", "runs", "runs_per_project", "runs_per_project=", "runs_per_project=0", "x=1"])
def test_a_limit_that_there_is_not_is_one_clear_line(text: str) -> None:
    with pytest.raises(UsageError, match="known limits: blob_bytes, "):
        parse_limits([text])
    assert parse_limits(["blob_bytes=5"]) == msgspec.structs.replace(Limits(), blob_bytes=5)


@pytest.fixture
def open_files() -> Iterator[None]:
    """Room for all the strangers in this process."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    if before[1] < STRANGERS + 1000:
        pytest.skip(f"this host allows {before[1]} open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.usefixtures("open_files")
def test_thousands_of_connections_that_say_nothing_or_garbage_do_not_disturb_a_run(
    tmp_path: Path, images: Images
) -> None:
    folder = tmp_path / "system"
    folder.mkdir()
    system = System(folder)
    strangers: list[socket.socket] = []
    try:
        system.start_coordinator()
        system.start_worker("w1", "--slots", "2")
        system.wait_for_workers(1)
        assert system.address
        script = '{script: ["for i in 1 2 3 4 5 6; do echo $i; sleep 1; done"], image: "longshore/busybox:test"}'
        project = repository(tmp_path / "project", {".gitlab-ci.yml": f"a: {script}\nb: {script}\n"})
        run = system.submit(project)
        where = parse_tcp(system.address)
        dice = random.Random(6)
        memory = rss(system)
        for number in range(STRANGERS):
            strangers.append(stranger(where.host, where.port, number, dice))
            if number % 500 == 0:
                with Client(system.address, timeout=DEADLINE) as client:
                    client.list_runs()
        view = system.finished(run)
        assert view["status"] == "success"
        assert system.log(run, "a").splitlines()[-6:] == list("123456")
        again = system.run(project)
        assert again.status == 0, again.err
        assert rss(system) - memory < 400 << 20
    finally:
        for each in strangers:
            each.close()
        system.stop()


def stranger(host: str, port: int, number: int, dice: random.Random) -> socket.socket:
    """A connection that says nothing, half a greeting, a greeting without a handshake, or garbage."""
    made = socket.create_connection((host, port), timeout=20)
    kind = number % 4
    with contextlib.suppress(OSError):
        if kind == 1:
            made.sendall(GREETING[: dice.randrange(1, 40)])
        elif kind == 2:
            made.sendall(GREETING)
        elif kind == 3:
            made.sendall(dice.randbytes(dice.randrange(1, 2000)))
    return made


def rss(system: System) -> int:
    """Bytes of memory that the coordinator has."""
    (process,) = [process for process in system.processes if process.name == "coordinator"]
    status = Path(f"/proc/{process.popen.pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) << 10


def test_a_flood_of_garbage_from_an_enrolled_peer_costs_nobody_anything(tmp_path: Path) -> None:
    with Running(tmp_path / "state") as running, running.client() as client:
        worker = WireWorker(running.address)
        worker.hello()
        client.submit_run(plan(job("a")))
        attempt = worker.accept().attempt
        dice = random.Random(1)
        for _ in range(50_000):
            worker.send_raw(dice.randbytes(dice.randrange(1, 200)))
        fresh = WireWorker(running.address)
        fresh.hello(attempts=[m.HeldAttempt(attempt=attempt, status=S.RUNNING)])
        fresh.settle()
        assert client.get_run(1).stages[0].jobs[0].status in (S.RUNNING, S.PREPARING)
        worker.close()
        fresh.close()


def test_limits_of_the_command_line_are_checked(tmp_path: Path) -> None:
    folder = tmp_path / "system"
    folder.mkdir()
    done = System(folder).command("coordinator", "--bind", "tcp://127.0.0.1:0", "--limit", "nothing=1")
    assert done.status == 2
    assert "known limits: blob_bytes" in done.err


FLOOD_AND_DIE = """
import pathlib, sys, time
import zmq
from coordinator.server import Coordinator
from coordinator.settings import CoordinatorSettings
from protocol.dealer import connect_socket

coordinator = Coordinator(CoordinatorSettings(state=pathlib.Path(sys.argv[1]), bind="tcp://127.0.0.1:0"))
coordinator.start()
context = zmq.Context()
peers = [connect_socket(context, zmq.DEALER, coordinator.address, send_limit=0) for _ in range(10)]
until = time.monotonic() + 2
while time.monotonic() < until:  # until the peers, who read none of their answers, can take no more
    for peer in peers:
        for _ in range(300):
            peer.send(bytes(20))
    coordinator.turn()
for peer in peers:
    for _ in range(3000):
        peer.send(bytes(2000))
time.sleep(0.5)  # the coordinator is busy, and messages wait unread,
context.destroy(0)  # when all of them are gone at once
time.sleep(3.5)  # the time in which ZeroMQ's heartbeats would have been due
coordinator.turn()
print("alive")
"""


def test_peers_that_flood_and_die_while_the_coordinator_is_busy_do_not_end_it(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FLOOD_AND_DIE, str(tmp_path / "state")], capture_output=True, text=True, cwd=ROOT
    )
    assert done.stdout == "alive\n", done.stderr
