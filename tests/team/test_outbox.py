"""Statuses and messages at real receivers: HTTP and SMTP on loopback, a real coordinator, and the launcher's part."""

from __future__ import annotations

import email
import email.policy
import hashlib
import hmac
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import Envelope

from protocol import admin
from protocol import messages as m
from protocol.client import Client
from protocol.deliveries import ChannelSpec, DeliveryView
from protocol.errors import LongshoreError
from protocol.keys import credentials_beside
from protocol.projects import Forge, ProjectSpec, TriggerSpec, trigger_token
from protocol.statuses import ExecutionStatus as S
from protocol.statuses import FailureReason
from team.outbox import LONGEST_PAUSE, Outbox, pause, retry_after
from tests.support.coordinator_process import Running, WireWorker
from tests.support.eventually import eventually
from tests.support.http_receiver import HttpReceiver
from tests.support.plans import job, plan

SHA = "0123456789" * 4
PROJECT = "group/app"


class Team:
    """A coordinator with a project, a worker, and the launcher's outbox, which the test drives."""

    def __init__(self, state: Path, forge: str, **settings: Any) -> None:
        self._state, self._settings = state, settings
        self.start()
        forge_spec = Forge(kind="gitea", api=f"{forge}/api/v1", token="FORGE", per_job=False)
        project = ProjectSpec(name=PROJECT, url="https://git.example.org/group/app.git", forge=forge_spec)
        self.owner.request(m.AddProject, m.Done, project=project)
        self.owner.request(admin.SetSecret, m.Done, name="FORGE", value="forge-token", project=PROJECT)

    def start(self) -> None:
        self.running = Running(self._state, web_url="https://ci.example.org/", **self._settings)
        self.owner = self.running.client()
        keys = credentials_beside(self._state, "launcher", self.running.address)
        self.launcher = Client(self.running.address, credentials=keys)
        self.worker = WireWorker(self.running.address)
        self.worker.hello()
        self.outbox = Outbox(first_pause=0.01)

    def stop(self) -> None:
        self.outbox.close()
        self.worker.close()
        self.owner.close()
        self.launcher.close()
        self.running.close()

    def submit(self, key: str, **source: Any) -> int:
        spec = TriggerSpec(project=PROJECT, key=key, source="push", ref="main", sha=SHA)
        trigger = self.owner.request(m.AddTrigger, m.TriggerAdded, trigger=spec).trigger
        made = m.Source(**{"trigger": trigger, "ref": "main", "sha": SHA, "title": "Add a thing", **source})
        wanted = plan(job("unit"), project=PROJECT)
        return self.launcher.submit_run(wanted, source=made, token=trigger_token(trigger))

    def run(self, key: str, status: S = S.SUCCESS) -> int:
        run = self.submit(key)
        code = 0 if status is S.SUCCESS else 1
        reason = None if status is S.SUCCESS else FailureReason.SCRIPT_FAILURE
        self.worker.run(status=status, exit_code=code, failure_reason=reason)
        eventually(lambda: self.owner.get_run(run).status is status)
        return run

    def deliver(self, until: Callable[[], Any]) -> None:
        """Drives the outbox until a condition holds."""

        def done() -> bool:
            self.outbox.step(self.launcher, time.time())
            return bool(until())

        eventually(done)

    def deliveries(self) -> list[DeliveryView]:
        return self.owner.request(m.ListDeliveries, m.DeliveryList, project=PROJECT).deliveries

    def quiet(self) -> bool:
        return all(each.state != "pending" for each in self.deliveries())


@pytest.fixture
def forge() -> Iterator[HttpReceiver]:
    with HttpReceiver() as made:
        yield made


@pytest.fixture
def team(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forge: HttpReceiver) -> Iterator[Team]:
    monkeypatch.setenv("LONGSHORE_STATE", str(tmp_path / "state"))
    made = Team(tmp_path / "state", forge.url)
    try:
        yield made
    finally:
        made.stop()


def states(forge: HttpReceiver) -> list[str]:
    return [each.json["state"] for each in forge.received]


def test_a_runs_status_arrives_in_order_with_a_link_and_the_last_one_wins(team: Team, forge: HttpReceiver) -> None:
    run = team.submit("d1")
    team.deliver(lambda: states(forge) == ["pending"])
    (first,) = forge.received
    assert first.path == f"/api/v1/repos/group/app/statuses/{SHA}"
    assert first.headers["authorization"] == "token forge-token"
    assert first.json["target_url"] == f"https://ci.example.org/runs/{run}"
    forge.answer = (503, {"Retry-After": "0"}, b"down for maintenance")
    assignment = team.worker.accept()
    team.worker.status(assignment.attempt, 2, S.RUNNING)
    team.deliver(lambda: any(each.attempts for each in team.deliveries()))
    (waiting,) = team.deliveries()
    assert "answered 503: down for maintenance" in waiting.error
    team.worker.status(assignment.attempt, 3, S.SUCCESS, exit_code=0, log_length=0)
    eventually(lambda: team.owner.get_run(run).status is S.SUCCESS)
    team.outbox.close()  # both sides end with the outcome undelivered
    team.stop()
    before = len(forge.received)
    forge.answer = (201, {}, b"{}")
    team.start()
    team.deliver(team.quiet)
    assert states(forge)[before:] == ["success"], "what was replaced meanwhile is never sent"
    assert [each.state for each in team.deliveries()] == ["delivered"]


def test_a_refusal_is_shown_and_a_refused_trigger_fails_its_commit(team: Team, forge: HttpReceiver) -> None:
    forge.answers = [(404, {}, b"no such repository")]
    spec = TriggerSpec(project=PROJECT, key="bad", source="push", ref="main", sha=SHA)
    trigger = team.owner.request(m.AddTrigger, m.TriggerAdded, trigger=spec).trigger
    reason = "the pipeline file is invalid:\nline 3"
    team.launcher.request(m.SettleTrigger, m.Done, trigger=trigger, state="refused", reason=reason)
    team.deliver(team.quiet)
    (shown,) = team.deliveries()
    assert shown.state == "failed"
    assert "answered 404: no such repository" in shown.error
    body = forge.received[0].json
    assert (body["state"], body["description"]) == ("failure", "the pipeline file is invalid:")


def test_jobs_have_statuses_of_their_own_and_a_silent_receiver_holds_nobody_up(team: Team, forge: HttpReceiver) -> None:
    project = team.owner.request(m.ShowProject, m.ProjectDetail, name=PROJECT).project.project
    assert project.forge is not None
    per_job = msgspec.structs.replace(project, forge=msgspec.structs.replace(project.forge, per_job=True))
    team.owner.request(m.ChangeProject, m.Done, name=PROJECT, project=per_job)
    with HttpReceiver() as silent:
        silent.open.clear()
        channel = ChannelSpec(project=PROJECT, url=silent.url, secret="signing-key", on="always")
        team.owner.request(m.AddChannel, m.ChannelAdded, token="t1", channel=channel)
        team.run("d1", S.FAILED)
        wanted = {("longshore/push", "failure"), ("longshore/push/unit", "failure")}
        team.deliver(lambda: {(each.json["context"], each.json["state"]) for each in forge.received} >= wanted)
        team.deliver(lambda: silent.received)
        assert [each.state for each in team.deliveries()].count("pending") == 1


def test_nothing_is_delivered_while_the_database_is_behind(team: Team, forge: HttpReceiver) -> None:
    team.submit("d1")
    queries = team.running.coordinator.queries
    queries.stored_only = True  # as in a stall
    for _ in range(3):
        team.outbox.step(team.launcher, time.time())
    assert forge.received == []
    queries.stored_only = False
    team.deliver(lambda: states(forge) == ["pending"])


class Mailbox:
    """A handler of a real SMTP server."""

    def __init__(self) -> None:
        self.mails: list[Any] = []

    async def handle_DATA(self, server: object, session: object, envelope: Envelope) -> str:
        assert isinstance(envelope.content, bytes)
        self.mails.append(email.message_from_bytes(envelope.content, policy=email.policy.default))
        return "250 OK"


class _AnyPort(Controller):
    def _trigger_server(self) -> None:
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()  # type: ignore[no-untyped-call]


@contextmanager
def smtp() -> Iterator[tuple[Mailbox, int]]:
    mailbox = Mailbox()
    controller = _AnyPort(mailbox, hostname="127.0.0.1", port=0)
    controller.start()
    try:
        yield mailbox, controller.port
    finally:
        controller.stop()


def test_channels_are_told_of_changes_by_mail_and_signed_json(team: Team, forge: HttpReceiver) -> None:
    def add(token: str, **channel: Any) -> int:
        spec = ChannelSpec(project=PROJECT, **channel)
        return team.owner.request(m.AddChannel, m.ChannelAdded, token=token, channel=spec).channel

    with smtp() as (mailbox, port), HttpReceiver() as hook:
        address = f"mailto://127.0.0.1:{port}?from=ci@example.org&to=team@example.org"
        mail = add("t1", url=address)
        add("t2", url=f"{hook.url}/told", secret="signing-key", on="always", branches=["main"])
        hook.answers = [(500, {}, b"")]
        runs = [team.run("d1"), team.run("d2", S.FAILED), team.run("d3", S.FAILED), team.run("d4")]
        team.deliver(team.quiet)
        subjects = [mail["Subject"] for mail in mailbox.mails]
        assert subjects == ["group/app main: is broken", "group/app main: is fixed"]
        body = mailbox.mails[0].get_body(("plain",)).get_content()
        assert f"https://ci.example.org/runs/{runs[1]}" in body
        assert "Failed: unit" in body
        assert mailbox.mails[0]["To"] == "team@example.org"
        told = [(each.json["event"], each.json["run"]) for each in hook.received]
        assert told == [
            ("success", runs[0]),
            ("success", runs[0]),  # again, after the 500, before any other
            ("broken", runs[1]),
            ("failed", runs[2]),
            ("fixed", runs[3]),
        ]
        for each in hook.received:
            signature = hmac.new(b"signing-key", each.body, hashlib.sha256).hexdigest()
            assert each.headers["x-longshore-signature"] == f"sha256={signature}"
        first, again, *_ = (each.headers["x-longshore-delivery"] for each in hook.received)
        assert first == again
    channels = team.owner.request(m.ListChannels, m.ChannelList, project=PROJECT).channels
    assert [channel.address for channel in channels] == [f"mailto://127.0.0.1:{port}", f"{hook.url}/told"]
    team.run("d5", S.FAILED)  # nobody listens any more
    team.deliver(lambda: sum(bool(each.attempts) and each.state == "pending" for each in team.deliveries()) == 2)
    team.owner.request(m.RemoveChannel, m.Done, project=PROJECT, channel=mail)
    assert sum(each.error == "the channel was removed" for each in team.deliveries()) == 1


def test_addresses_are_sealed_and_never_shown(team: Team, tmp_path: Path) -> None:
    def add(url: str) -> None:
        spec = ChannelSpec(project=PROJECT, url=url, secret="signing-key")
        team.owner.request(m.AddChannel, m.ChannelAdded, token=uuid4().hex, channel=spec)

    add("mailtos://ann:pass-word@mail.example.org?to=a@example.org")
    add("slack://token-a1/token-b2/token-c3/#general")
    add("https://user:pass-word@hooks.example.org/in?key=query-key")
    text = repr(team.owner.request(m.ListChannels, m.ChannelList))
    text += repr(team.owner.request(admin.GetAudit, admin.AuditList).lines)
    stored = b"".join(path.read_bytes() for path in (tmp_path / "state").glob("longshore.db*")).decode("latin-1")
    for secret in ("pass-word", "token-b2", "token-c3", "query-key", "signing-key"):
        assert secret not in text + stored
    for bad, says in (("not an address", "no address of a channel"), ("syslog://", "the coordinator's own host")):
        with pytest.raises(LongshoreError, match=says):
            add(bad)
    keys = credentials_beside(tmp_path / "state", "web", team.running.address)
    with (
        Client(team.running.address, credentials=keys) as web,
        pytest.raises(LongshoreError, match="TakeDeliveries is not for a"),
    ):
        web.request(m.TakeDeliveries, m.PendingDeliveries)


def test_pauses_grow_and_a_server_may_ask_for_longer_ones() -> None:
    pauses = [pause(attempts) for attempts in range(60)]
    assert pauses[:3] == [5.0, 10.0, 20.0]
    assert max(pauses) == pauses[-1] == LONGEST_PAUSE
    now = 1_800_000_000.0
    assert retry_after({"Retry-After": "120"}, now) == 120
    assert retry_after({"Retry-After": "Fri, 15 Jan 2027 08:01:00 GMT"}, now) == 60
    assert retry_after({"Retry-After": "soon"}, now) == 0
    assert retry_after({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1800000030"}, now) == 30
    assert retry_after({}, now) == 0
