"""The launcher's watch at a real coordinator: killed between any two of its steps, each due time starts one run."""

from __future__ import annotations

from pathlib import Path

import pytest

from protocol import messages as m
from protocol.client import Client
from protocol.keys import credentials_beside
from protocol.projects import ProjectSpec, TriggerSpec
from protocol.schedules import ScheduleSpec
from team.schedule_watch import ScheduleWatch
from tests.support.coordinator_process import Running

PROJECT = "group/app"
HOUR = 3600.0


def test_each_due_time_starts_one_run_though_every_watch_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tmp_path / "state"
    monkeypatch.setenv("LONGSHORE_STATE", str(state))
    with Running(state) as running, running.client() as owner:
        owner.request(m.AddProject, m.Done, project=ProjectSpec(name=PROJECT, url="https://git.example.org/a/b"))
        for token, overlap in enumerate(("allow", "skip", "queue")):
            spec = ScheduleSpec(project=PROJECT, cron="0 * * * *", timezone="Asia/Kathmandu", overlap=overlap)  # type: ignore[arg-type]
            owner.request(m.AddSchedule, m.ScheduleAdded, token=str(token), schedule=spec)
        (begin, *_) = (each.considered_until for each in owner.request(m.ListSchedules, m.ScheduleList).schedules)
        keys = credentials_beside(state, "launcher", running.address)
        with Client(running.address, credentials=keys) as launcher:
            for step in range(12):  # four hours, in steps of twenty minutes
                ScheduleWatch().step(launcher, begin + step * HOUR / 3)
            again = ScheduleWatch()
            for _ in range(3):
                again.step(launcher, begin + 4 * HOUR - 1)
        keys_of = [trigger.key for trigger in _triggers(running)]
        allow = [key for key in keys_of if key.startswith("schedule:1:")]
        assert len(allow) == len(set(allow)) == 4
        assert all(float(key.rpartition(":")[2]) % HOUR == 900.0 for key in allow), "Nepal is 5:45 ahead"
        others = [key for key in keys_of if key not in allow]
        assert sorted(key[:11] for key in others) == ["schedule:2:", "schedule:3:"], "their first runs have not ended"
        _, skipped, queued = owner.request(m.ListSchedules, m.ScheduleList).schedules
        assert "its last trigger was not over" in skipped.note
        assert queued.waiting_due == float(allow[-1].rpartition(":")[2])
        assert "waits for the end of its last trigger" in queued.note


def _triggers(running: Running) -> list[TriggerSpec]:
    keys = credentials_beside(running.coordinator.settings.state, "launcher", running.address)
    with Client(running.address, credentials=keys) as launcher:
        return [each.trigger for each in launcher.request(m.TakeTriggers, m.PendingTriggers).triggers]
