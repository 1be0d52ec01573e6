"""Schedules at a real coordinator: who may do what, each due time once, and durable."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from coordinator.engine.effects import Turn
from coordinator.engine.engine import Engine
from coordinator.engine.settings import Settings
from coordinator.engine.state import Now
from coordinator.projects import Projects
from coordinator.schedules import Schedules
from coordinator.security.roles import Identity
from coordinator.security.vault import Vault
from coordinator.store.columns import as_json
from coordinator.store.database import sqlite_url
from coordinator.store.models import Project
from coordinator.store.store import Store
from protocol import messages as m
from protocol.client import Client
from protocol.errors import LongshoreError, ProtocolError
from protocol.keys import credentials_beside
from protocol.plan import Variable
from protocol.projects import ProjectSpec, trigger_token
from protocol.schedules import ScheduleSpec, ScheduleView
from protocol.statuses import ExecutionStatus as S
from tests.support.coordinator_process import Running, WireWorker
from tests.support.eventually import eventually
from tests.support.plans import job, plan

APP = ProjectSpec(name="group/app", url="https://git.example.org/group/app.git")
NIGHTLY = ScheduleSpec(
    project=APP.name, cron="0 3 * * *", ref="main", variables=[Variable(key="K", value="v")], description="every night"
)
DUE = 1_800_000_000.0


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    monkeypatch.setenv("LONGSHORE_STATE", str(tmp_path / "state"))
    with Running(tmp_path / "state") as made:
        yield made


def beside(running: Running, role: str) -> Client:
    state = running.coordinator.settings.state
    return Client(running.address, credentials=credentials_beside(state, role, running.address))


def add(client: Client, schedule: ScheduleSpec = NIGHTLY, token: str = "t1") -> int:
    return client.request(m.AddSchedule, m.ScheduleAdded, token=token, schedule=schedule).schedule


def listed(client: Client) -> list[ScheduleView]:
    return client.request(m.ListSchedules, m.ScheduleList, project=APP.name).schedules


def advance(client: Client, schedule: int, until: float, **fields: Any) -> None:
    client.request(m.AdvanceSchedule, m.Done, schedule=schedule, considered_until=until, **fields)


def pending(client: Client) -> list[tuple[int, str, list[str]]]:
    """Of each pending trigger: its id, source and variables."""
    found = client.request(m.TakeTriggers, m.PendingTriggers).triggers
    return [(each.id, each.trigger.source, [f"{v.key}={v.value}" for v in each.trigger.variables]) for each in found]


def test_a_due_time_starts_one_run_and_the_schedule_is_busy_until_that_ends(tmp_path: Path, running: Running) -> None:
    with running.client() as owner, beside(running, "launcher") as launcher:
        owner.request(m.AddProject, m.Done, project=APP)
        schedule = add(owner)
        assert add(owner) == schedule, "the same token adds one schedule"
        advance(launcher, schedule, DUE, fire=DUE)
        advance(launcher, schedule, DUE, fire=DUE)  # sent again by a launcher that was killed before the answer
        ((trigger, source, variables),) = pending(launcher)
        assert (source, variables) == ("schedule", ["K=v", "CI_PIPELINE_SCHEDULE_DESCRIPTION=every night"])
        (view,) = listed(owner)
        assert (view.last_due, view.last_status, view.busy, view.considered_until) == (DUE, "pending", True, DUE)
        token = trigger_token(trigger)
        run = launcher.submit_run(plan(job("a")), source=m.Source(trigger=trigger, ref="main"), token=token)
        (view,) = listed(owner)
        assert (view.last_run, view.busy) == (run, True)
    running.close()
    with Running(tmp_path / "state") as again, again.client() as owner:
        (view,) = listed(owner)
        assert (view.spec, view.last_run, view.busy, view.considered_until) == (NIGHTLY, run, True, DUE)
        worker = WireWorker(again.address)
        worker.hello()
        worker.run()
        eventually(lambda: owner.get_run(run).status is S.SUCCESS)
        worker.close()
        (view,) = listed(owner)
        assert (view.last_status, view.busy) == ("success", False)


def test_users_pause_start_and_remove_schedules_and_only_the_launcher_advances_them(running: Running) -> None:
    with running.client() as owner, beside(running, "launcher") as launcher:
        with pytest.raises(LongshoreError, match="there is no project 'group/app'"):
            add(owner)
        owner.request(m.AddProject, m.Done, project=APP)
        schedule = add(owner)
        before = listed(owner)[0].considered_until
        owner.request(m.PauseSchedule, m.Done, schedule=schedule)
        advance(launcher, schedule, DUE, fire=DUE, waiting=None)
        assert pending(launcher) == [], "decided just before the pause"
        owner.request(m.PauseSchedule, m.Done, schedule=schedule, on=False)
        (view,) = listed(owner)
        assert not view.paused
        assert before <= view.considered_until < DUE, "nothing of the pause is missed"
        first = owner.request(m.RunSchedule, m.TriggerAdded, schedule=schedule, token="now")
        again = owner.request(m.RunSchedule, m.TriggerAdded, schedule=schedule, token="now")
        assert (first.outcome, again.outcome, again.trigger) == ("accepted", "already", first.trigger)
        assert [id for id, _, _ in pending(launcher)] == [first.trigger]
        launcher.request(m.SettleTrigger, m.Done, trigger=first.trigger, state="refused", reason="no pipeline file")
        (view,) = listed(owner)
        assert (view.last_status, view.busy, view.note) == ("refused", False, "no pipeline file")
        owner.request(m.ChangeProject, m.Done, name=APP.name, paused=True)
        advance(launcher, schedule, DUE, fire=DUE)
        assert listed(owner)[0].note == "project group/app is paused"
        owner.request(m.RemoveSchedule, m.Done, schedule=schedule)
        with pytest.raises(LongshoreError, match=r"there is no schedule 1; see: longshore schedule list"):
            advance(launcher, schedule, DUE)
        add(owner, token="t2")
        owner.request(m.RemoveProject, m.Done, name=APP.name)
        assert owner.request(m.ListSchedules, m.ScheduleList).schedules == []
        with pytest.raises(LongshoreError, match="AddSchedule is not for a launcher to send"):
            launcher.request(m.AddSchedule, m.ScheduleAdded, token="t3", schedule=NIGHTLY)


def test_a_change_in_the_turn_of_a_due_time_is_not_undone_by_it(tmp_path: Path) -> None:
    def opened() -> Schedules:
        projects = Projects(store, Vault(tmp_path, store))
        return Schedules(store, projects, Engine(Settings(), next_run_id=1, next_job_id=1))

    now, by = Now(DUE, 1.0), Identity("k", "ann", "operator")
    with contextlib.closing(Store(sqlite_url(tmp_path / "longshore.db"))) as store:
        row = (APP.name, as_json(APP), None, False, 0.0, "ann")
        store.keep((0.0, "ann", "operator", "add project", APP.name, ""), (Project, row))
        schedules = opened()
        for token in ("paused", "removed"):
            schedules.answer(m.AddSchedule(id=1, token=token, schedule=NIGHTLY), by)
        for schedule in (1, 2):
            schedules.advance(m.AdvanceSchedule(id=1, schedule=schedule, considered_until=DUE, fire=DUE), now)
        schedules.answer(m.PauseSchedule(id=1, schedule=1), by)
        schedules.answer(m.RemoveSchedule(id=1, schedule=2), by)
        store.write_turn(Turn())
        (view,) = opened().list_schedules(m.ListSchedules(id=1)).schedules
        assert (view.id, view.paused, view.last_due, view.last_status) == (1, True, DUE, "pending")
        with pytest.raises(ProtocolError, match="a finite number"):
            schedules.advance(m.AdvanceSchedule(id=1, schedule=1, considered_until=float("nan")), now)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"cron": "0 3 * *"}, "needs five fields"),
        ({"timezone": "Mars/Olympus"}, "unknown time zone"),
        ({"ref": "--upload-pack=x"}, "is no branch or tag"),
        ({"variables": [Variable(key="1 2", value="")]}, "bad variable name"),
        ({"variables": [Variable(key=f"K{i}", value="") for i in range(101)]}, "at most 100 variables"),
        ({"description": "x" * 5000}, "at most 4096 characters"),
    ],
)
def test_a_bad_schedule_is_refused_by_the_coordinator(running: Running, changes: dict[str, Any], says: str) -> None:
    import msgspec

    with running.client() as owner:
        owner.request(m.AddProject, m.Done, project=APP)
        with pytest.raises(LongshoreError, match=says):
            add(owner, msgspec.structs.replace(NIGHTLY, **changes))
