"""Searches of logs keep nobody waiting: neither the loop nor other clients."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from threading import Event

import pytest

from coordinator.files.log_store import LogStore
from coordinator.log_searches import LogSearches, Wanted
from protocol import messages as m
from protocol.client import Client
from protocol.errors import UsageError
from protocol.log_lines import Line
from tests.support.coordinator_thread import ScriptedWorker, Server
from tests.support.eventually import DEADLINE, eventually
from tests.support.plans import job, plan

T = 1_700_000_000.0
LINE = b"x" * 99 + b"\n"


class HeldUp(LogStore):
    """Logs that can't be read until they may be."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.may_read = Event()

    def read(self, attempt: str, offset: int, length: int, stream: str = "job") -> bytes:
        assert self.may_read.wait(DEADLINE)
        return super().read(attempt, offset, length, stream)


@pytest.fixture
def logs(tmp_path: Path) -> Iterator[HeldUp]:
    logs = HeldUp(tmp_path)
    logs.append("1.1", 0, b"one\ntwo\n")
    logs.flush()
    yield logs
    logs.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A coordinator."""
    server = Server(tmp_path)
    yield server
    server.stop()


@pytest.fixture
def worker(server: Server) -> Iterator[ScriptedWorker]:
    """One worker with four slots."""
    worker = ScriptedWorker(server.address)
    yield worker
    worker.stop()


def wanted(id: int, **fields: object) -> Wanted:
    query = m.FindLines(id=id, run=1, job="a", **fields)  # type: ignore[arg-type]
    return Wanted(query, "1.1", 8, True)


def test_the_loop_never_waits_and_clients_take_turns(logs: HeldUp) -> None:
    woken = Event()
    searches = LogSearches(logs, woken.set)
    for id in (1, 2, 3):
        searches.add(b"greedy", wanted(id))
    searches.add(b"modest", wanted(4, pattern="two", backwards=True, limit=1))
    searches.add(b"revoked", wanted(5))
    searches.drop_key(b"revoked")
    assert searches.answers() == []
    logs.may_read.set()
    found: list[tuple[bytes, m.Message]] = []
    eventually(lambda: _collect(searches, found) == 4)
    assert woken.is_set()
    assert [(route, getattr(answer, "id", 0)) for route, answer in found] == [
        (b"greedy", 1),
        (b"greedy", 2),
        (b"modest", 4),
        (b"greedy", 3),
    ]
    assert found[2][1] == m.FoundLines(
        id=4, attempt_id="1.1", lines=[Line(4, None, b"two")], next=4, end=8, complete=True
    )
    searches.close()


def _collect(searches: LogSearches, found: list[tuple[bytes, m.Message]]) -> int:
    found += searches.answers()
    return len(found)


def test_a_client_finds_lines_part_by_part(server: Server, worker: ScriptedWorker) -> None:
    server.submit(plan(job("a"), job("later", "second")))
    worker.begin("a")
    worker.log("a", b"first\n", at=T)
    worker.log("a", LINE * 100_000, at=T + 1)
    worker.log("a", b"last\nunfinished", at=T + 2)
    with Client(server.address) as client:

        def find(**fields: object) -> m.FoundLines:
            return client.request(m.FindLines, m.FoundLines, run=1, **{"job": "a", **fields})

        part = find(pattern="^(first|last)")
        assert [(line.at, line.text) for line in part.lines] == [(1_700_000_000_000, b"first")]
        assert not part.done
        assert client.get_run(1).id == 1
        rest = find(pattern="^(first|last)", offset=part.next)
        assert ([line.text for line in rest.lines], rest.done, rest.complete) == ([b"last"], True, False)
        assert rest.end == len(LINE) * 100_000 + len(b"first\nlast\n")
        assert [line.text for line in find(backwards=True, limit=1, whole=True).lines] == [b"unfinished"]
        assert [line.text for line in find(since=1_700_000_001_001).lines] == [b"last"]
        assert (find(job="later").attempt_id, find(job="later").done) == (None, True)
        for fields, problem in (
            ({"pattern": "("}, "is not a regular expression"),
            ({"limit": 0}, "1 or more"),
            ({"offset": -1}, "0 or more"),
            ({"attempt": 7}, "no attempt 7"),
            ({"stream": "../x"}, "bad log name"),
        ):
            with pytest.raises(UsageError, match=problem):
                find(**fields)
