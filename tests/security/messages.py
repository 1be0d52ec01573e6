"""A message of every type that a coordinator takes."""

from __future__ import annotations

from coordinator.security.roles import EVERYTHING
from protocol import messages as m
from protocol.deliveries import ChannelSpec
from protocol.projects import ProjectSpec, TriggerSpec
from protocol.schedules import ScheduleSpec
from protocol.statuses import ExecutionStatus as S
from tests.support.plans import job, plan


def one_of_each() -> list[m.Message]:
    """One of each, as small as can be."""
    fields: dict[str, object] = {
        "id": 1, "attempt": "1.1", "protocol": 1, "name": "w1", "session": "s", "seq": 1, "status": S.RUNNING,
        "offset": 0, "digest": "0" * 64, "length": 1, "size": 1, "run": 1, "job": "a", "worker": "w1", "token": "t",
        "plan": plan(job("a")), "key": "nobody", "secret": "no", "role": "viewer", "value": "12345678",
        "statuses": [], "workers": [], "schedule": 1, "channel": 1, "considered_until": 1.0,
        "command": "c", "signal": "INT", "rows": 1, "columns": 1,
        "project": "p", "trigger": TriggerSpec(project="g/p", key="k", source="push"),
    }  # fmt: skip
    made = []
    for kind in sorted(EVERYTHING, key=lambda kind: kind.__name__):
        info = {field: fields[field] for field in kind.__struct_fields__ if field in fields}
        if kind is m.GetLog:
            info["attempt"] = 1
        if kind in (m.AddProject, m.ChangeProject):
            info["project"] = ProjectSpec(name="g/p", url="https://example.org/g/p")
        if kind in (m.SettleTrigger, m.GetTrigger):
            info["trigger"] = 1
        if kind is m.SettleTrigger:
            info |= {"state": "skipped", "reason": "none"}
        if kind is m.AddSchedule:
            info["schedule"] = ScheduleSpec(project="g/p", cron="0 3 * * *")
        if kind is m.AddChannel:
            info["channel"] = ChannelSpec(project="g/p", url="mailto://example.org")
        if kind is m.SettleDelivery:
            info |= {"state": "delivered"}
        made.append(kind(**info))
    return made
