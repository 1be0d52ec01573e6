"""The feed client: whatever happens to the coordinator or the network, the model catches up, for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from protocol import messages as m
from protocol.errors import CoordinatorUnreachable, UsageError
from protocol.events import LogAppended, RunChanged, log_topic
from protocol.statuses import ExecutionStatus
from tests.support.eventually import aeventually
from tests.support.fake_feed import FakeFeed
from tests.support.views import run_summary
from tui.client import connection as link_module
from tui.client import feed_client as feed_module
from tui.client.feed_client import FeedClient
from tui.client.model import ConnectionState, Model

S = ExecutionStatus


@pytest.fixture
def coordinator() -> Iterator[FakeFeed]:
    """A coordinator that has one run, and a snapshot of it."""
    coordinator = FakeFeed()
    coordinator.runs = {1: run_summary(1)}  # type: ignore[attr-defined]

    def answer(request: m.Message) -> tuple[m.Message, bytes | None] | None:
        if isinstance(request, m.GetSnapshot):
            runs = list(coordinator.runs.values())  # type: ignore[attr-defined]
            snapshot = m.Snapshot(id=request.id, epoch=coordinator.epoch, seq=coordinator.seq, runs=runs, workers=[])
            return snapshot, None
        return None

    coordinator.answer = answer
    yield coordinator
    coordinator.stop()


@pytest_asyncio.fixture
async def client(coordinator: FakeFeed) -> AsyncIterator[FeedClient]:
    """A client that has connected."""
    client = FeedClient(coordinator.address, Model(), lambda: None)
    client.start()
    await aeventually(lambda: client.model.runs and b"state" in coordinator.subscriptions)
    yield client
    await client.stop()


def change(coordinator: FakeFeed, status: ExecutionStatus) -> None:
    """Changes the run and tells so."""
    coordinator.runs[1] = run_summary(1, status)  # type: ignore[attr-defined]
    coordinator.publish(RunChanged(run=run_summary(1, status)))


async def test_events_reach_the_model(coordinator: FakeFeed, client: FeedClient) -> None:
    change(coordinator, S.FAILED)
    await aeventually(lambda: client.model.runs[1].status is S.FAILED)
    assert coordinator.snapshots == 1
    assert client.model.connection is ConnectionState.ONLINE


async def test_a_lost_event_in_between_is_made_up_for(coordinator: FakeFeed, client: FeedClient) -> None:
    coordinator.beats = False
    coordinator.runs[2] = run_summary(2)  # type: ignore[attr-defined]
    coordinator.lose()
    change(coordinator, S.FAILED)
    await aeventually(lambda: 2 in client.model.runs and client.model.runs[1].status is S.FAILED)


async def test_a_lost_last_event_is_made_up_for(coordinator: FakeFeed, client: FeedClient) -> None:
    coordinator.runs[2] = run_summary(2)  # type: ignore[attr-defined]
    coordinator.lose()
    await aeventually(lambda: 2 in client.model.runs)


async def test_a_restart_of_the_coordinator_is_said_and_caught_up_with(
    coordinator: FakeFeed, client: FeedClient
) -> None:
    del coordinator.runs[1]  # type: ignore[attr-defined]
    coordinator.runs[2] = run_summary(2)  # type: ignore[attr-defined]
    coordinator.restart()
    await aeventually(lambda: set(client.model.runs) == {2})
    notes = [entry.note for entry in client.model.journal if entry.note]
    assert "connection lost: the coordinator has restarted" in notes
    assert notes[-1] == "connected: the coordinator has restarted"
    assert client.model.connection is ConnectionState.ONLINE


async def test_silence_is_said_and_ends_by_itself(
    coordinator: FakeFeed, client: FeedClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_module, "SILENCE", 0.5)
    monkeypatch.setattr(link_module, "HELLO_TIMEOUT", 0.3)
    coordinator.beats = False
    await aeventually(lambda: client.model.connection is ConnectionState.RECONNECTING)
    coordinator.beats = True
    await aeventually(lambda: client.model.connection is ConnectionState.ONLINE)


async def test_a_request_that_was_asked_before_a_restart_is_answered_after_it(
    coordinator: FakeFeed, client: FeedClient
) -> None:
    answer = coordinator.answer
    coordinator.silent = True
    request = asyncio.create_task(client.request(m.ListWorkers, m.WorkerList))
    await asyncio.sleep(0.1)
    coordinator.answer = lambda r: (
        (m.WorkerList(id=r.id, workers=[]), None) if isinstance(r, m.ListWorkers) else answer(r)
    )
    coordinator.restart()
    coordinator.silent = False
    assert (await request).workers == []


async def test_a_request_that_nobody_answers_fails_in_the_end(
    coordinator: FakeFeed, client: FeedClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_module, "REQUEST_TIMEOUT", 0.2)
    coordinator.silent = True
    with pytest.raises(CoordinatorUnreachable):
        await client.request(m.ListWorkers, m.WorkerList)


async def test_a_refusal_is_raised_as_what_it_is(coordinator: FakeFeed, client: FeedClient) -> None:
    coordinator.answer = lambda r: (m.Error(id=r.id, code="not_found", message="there is no run 7"), None)  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match="there is no run 7"):
        await client.request(m.GetRun, m.RunDetail, run=7)


async def test_only_logs_that_are_followed_are_subscribed_to(coordinator: FakeFeed, client: FeedClient) -> None:
    heard: list[tuple[int, bytes]] = []
    client.follow_log("1.1", lambda event, data: heard.append((event.offset, data)))
    await aeventually(lambda: log_topic("1.1") in coordinator.subscriptions)
    coordinator.publish(LogAppended(attempt="1.1", offset=5), b"bytes", topic=log_topic("1.1"))
    await aeventually(lambda: heard == [(5, b"bytes")])
    client.unfollow_log("1.1")
    await aeventually(lambda: log_topic("1.1") not in coordinator.subscriptions)


async def test_a_dashboard_that_is_opened_first_waits_for_its_coordinator() -> None:
    client = FeedClient("tcp://127.0.0.1:9", Model(), lambda: None)
    client.start()
    await asyncio.sleep(0.2)
    assert client.model.connection is ConnectionState.CONNECTING
    await client.stop()
