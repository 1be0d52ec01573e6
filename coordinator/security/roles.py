"""Permissions: the message types that each role may send. Pure."""

from __future__ import annotations

from typing import get_args

import msgspec

from protocol import admin
from protocol import messages as m
from protocol.admin import Role

Kinds = frozenset[type[m.Message]]

EVERYTHING: Kinds = frozenset(get_args(m.ToCoordinator) + get_args(admin.ToCoordinator))
ENTERS: Kinds = frozenset((m.ClientHello, admin.Enrol))
READS: Kinds = ENTERS | {
    m.ListRuns,
    m.GetRun,
    m.GetJob,
    m.GetLog,
    m.FindLines,
    m.ListWorkers,
    m.ListEnvironments,
    m.ListReleases,
    m.ListTestResults,
    m.GetSnapshot,
    m.BlobGet,
    m.ListProjects,
    m.ShowProject,
    m.ListTriggers,
    m.ListSchedules,
    m.ListChannels,
    m.ListDeliveries,
    m.GetTrigger,
}
STARTS: Kinds = frozenset(
    (m.TakeTriggers, m.SettleTrigger, m.RevealSecret, m.AdvanceSchedule, m.TakeDeliveries, m.SettleDelivery)
)
"""Only for the launcher."""
ACTS: Kinds = (
    READS
    | frozenset(get_args(m.FromClient) + get_args(m.FromBoth) + get_args(admin.ForOperators)) - STARTS
    | frozenset((m.AddProject, m.ChangeProject, m.RemoveProject, *get_args(m.ChangesSchedules | m.ChangesChannels)))
)
TAKES_HOOKS: Kinds = READS | {m.AddTrigger, m.GetHookSecret}
LAUNCHES: Kinds = READS | STARTS | {m.AddTrigger, m.SubmitRun, m.GetWorkspaces, m.BlobPut}
WORKS: Kinds = ENTERS | frozenset(get_args(m.FromWorker) + get_args(m.FromBoth))
"""A worker says hello as a client too: it identifies the coordinator before it adopts containers."""
ALLOWED: dict[Role, Kinds] = {
    "owner": EVERYTHING,
    "operator": ACTS,
    "viewer": READS,
    "worker": WORKS,
    "web": TAKES_HOOKS,
    "launcher": LAUNCHES,
}


class Identity(msgspec.Struct, frozen=True):
    """The holder of a key, with the message types that it may send (`allowed`)."""

    key: str
    name: str
    role: Role

    @property
    def allowed(self) -> Kinds:
        """The message types that the role may send."""
        return ALLOWED[self.role]

    def __str__(self) -> str:
        return f"{self.role} {self.name!r}"
