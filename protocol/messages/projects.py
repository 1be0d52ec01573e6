"""Messages about projects and triggers: from users, the web server and the launcher. Pure data."""

from __future__ import annotations

from typing import Literal

import msgspec

from protocol.messages.shared import Message
from protocol.projects import PendingTrigger, ProjectSpec, ProjectView, TriggerSpec, TriggerState, TriggerView

# --- to the coordinator ----------------------------------------------------------------------------------------------


class AddProject(Message, frozen=True, kw_only=True, tag="add_project"):
    """Adds a project. `hook_secret` verifies its webhooks. Answer: Done."""

    id: int
    project: ProjectSpec
    hook_secret: str | None = None


class ChangeProject(Message, frozen=True, kw_only=True, tag="change_project"):
    """Changes of a project what is given: its settings (all of them), its pause, its hook secret. Answer: Done."""

    id: int
    name: str
    project: ProjectSpec | None = None
    paused: bool | None = None
    hook_secret: str | None = None


class RemoveProject(Message, frozen=True, kw_only=True, tag="remove_project"):
    """Removes a project; its runs stay. Answer: Done, with the number of triggers that are now refused."""

    id: int
    name: str


class ListProjects(Message, frozen=True, kw_only=True, tag="list_projects"):
    """Answer: ProjectList."""

    id: int


class ShowProject(Message, frozen=True, kw_only=True, tag="show_project"):
    """A project and its newest triggers. Answer: ProjectDetail."""

    id: int
    name: str
    triggers: int = 20


class ListTriggers(Message, frozen=True, kw_only=True, tag="list_triggers"):
    """Triggers of all projects or one, newest first, with ids below `before` if given. Answer: TriggerList."""

    id: int
    project: str | None = None
    limit: int = 100
    before: int | None = None


class GetTrigger(Message, frozen=True, kw_only=True, tag="get_trigger"):
    """Answer: TriggerDetail."""

    id: int
    trigger: int


class GetHookSecret(Message, frozen=True, kw_only=True, tag="get_hook_secret"):
    """The secret that verifies a project's webhooks. Answer: SecretValue; empty without one."""

    id: int
    project: str


class RevealSecret(Message, frozen=True, kw_only=True, tag="reveal_secret"):
    """The value of the secret `name` of a project, or else of the one for all projects. Answer: SecretValue."""

    id: int
    project: str
    name: str


class AddTrigger(Message, frozen=True, kw_only=True, tag="add_trigger"):
    """Asks for a run, durably. Answer: TriggerAdded, after the commit."""

    id: int
    trigger: TriggerSpec


class TakeTriggers(Message, frozen=True, kw_only=True, tag="take_triggers"):
    """The oldest triggers that wait for the launcher, none of the projects in `without`. Answer: PendingTriggers."""

    id: int
    limit: int = 100
    without: list[str] = msgspec.field(default_factory=list)


class SettleTrigger(Message, frozen=True, kw_only=True, tag="settle_trigger"):
    """Ends a trigger that starts no run; one that does is ended by SubmitRun. Answer: Done."""

    id: int
    trigger: int
    state: Literal["refused", "skipped"]
    reason: str


# --- from the coordinator --------------------------------------------------------------------------------------------


class ProjectList(Message, frozen=True, kw_only=True, tag="project_list"):
    """Answer to ListProjects, by name."""

    id: int
    projects: list[ProjectView]


class ProjectDetail(Message, frozen=True, kw_only=True, tag="project_detail"):
    """Answer to ShowProject; triggers are newest first."""

    id: int
    project: ProjectView
    triggers: list[TriggerView]


class TriggerList(Message, frozen=True, kw_only=True, tag="trigger_list"):
    """Answer to ListTriggers."""

    id: int
    triggers: list[TriggerView]


class TriggerDetail(Message, frozen=True, kw_only=True, tag="trigger_detail"):
    """Answer to GetTrigger."""

    id: int
    trigger: TriggerView


class SecretValue(Message, frozen=True, kw_only=True, tag="secret_value"):
    """Answer to GetHookSecret and RevealSecret."""

    id: int
    value: str

    def __repr__(self) -> str:  # keeps the secret out of logs and assertions
        return f"SecretValue(id={self.id})"


class TriggerAdded(Message, frozen=True, kw_only=True, tag="trigger_added"):
    """Answer to AddTrigger: it is durable (accepted), was before (already), or starts no run (refused: `reason`).

    `trigger` is its id, 0 if refused; of one that was there before, `state` and `run` are what came of it.
    """

    id: int
    outcome: Literal["accepted", "already", "refused"]
    trigger: int = 0
    reason: str = ""
    state: TriggerState = "pending"
    run: int | None = None


class PendingTriggers(Message, frozen=True, kw_only=True, tag="pending_triggers"):
    """Answer to TakeTriggers, oldest first. A trigger stays pending until it is settled or its run is submitted."""

    id: int
    triggers: list[PendingTrigger] = msgspec.field(default_factory=list)


FromTeam = ListProjects | ShowProject | ListTriggers | GetTrigger | AddTrigger | TakeTriggers | SettleTrigger
"""Handled in the coordinator's turns, as other messages of clients."""
Administrative = AddProject | ChangeProject | RemoveProject | GetHookSecret | RevealSecret
"""Handled as administrative messages: rare, and written at once."""
ToTeam = ProjectList | ProjectDetail | TriggerList | TriggerDetail | SecretValue | TriggerAdded | PendingTriggers
