"""Projects that start runs by themselves, and the triggers of these runs. Knows no socket, no git and no forge.

Projects are few and rarely change: they are kept in memory, and each change is written durably on its own. Triggers are
written with the turn that takes them, and answered after its commit; see docs/team.md.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import cast

import msgspec
from peewee import Expression, fn

from coordinator.engine.state import Now
from coordinator.security.roles import Identity
from coordinator.security.vault import NAME, Vault
from coordinator.store.columns import as_json, load, text
from coordinator.store.models import Project, RunTrigger
from coordinator.store.rows import Row
from coordinator.store.store import Store
from protocol import messages as m
from protocol.errors import ProtocolError, UsageError
from protocol.projects import (
    PendingTrigger,
    ProjectSpec,
    ProjectView,
    TriggerSpec,
    TriggerState,
    TriggerView,
    check_project_name,
    check_project_url,
    is_local,
    trigger_token,
)

log = logging.getLogger(__name__)

MOST_PROJECTS = 10_000
MOST_PENDING = 100_000
"""Triggers that may wait for the launcher; further ones are refused for now."""
MOST_IN_ANSWER = 1000
KEPT_SECONDS = 90 * 86_400.0
"""Time for which an ended trigger is kept, and a repeated delivery known."""
LONGEST_KEY = 200
LONGEST_TEXT = 4096
LONGEST_HOOK_SECRET = 4096
SHORTEST_POLL = 5.0
"""Minimum seconds between two polls of a project."""
REMOVED = "the project was removed"
HOOK_SECRET = "hook secret"
"""In place of a secret's name, which has no space."""


class Projects:
    """The projects and triggers of one coordinator. Raises ProtocolError for refused requests."""

    def __init__(self, store: Store, vault: Vault) -> None:
        self._store = store
        self._vault = vault
        self._projects: dict[str, ProjectView] = {}
        self._hook_secrets: dict[str, str] = {}  # sealed
        self.on_removal: list[Callable[[str, Identity], None]] = []
        for name, spec, hook_secret, paused, at, by in store.all(Project.select()):
            try:
                project = load(ProjectSpec, spec)
            except ValueError as error:
                log.error("ignoring project %r: its row in the database is invalid (%s)", name, error)
                continue
            self._projects[name] = ProjectView(
                project=project,
                paused=bool(paused),
                has_hook_secret=hook_secret is not None,
                created_at=at,
                created_by=by,
            )
            if hook_secret is not None:
                self._hook_secrets[name] = hook_secret
        self._next_trigger = store.newest(RunTrigger) + 1
        pending = store.all(RunTrigger.select().where(RunTrigger.state == "pending"))
        self._pending = len(pending)
        for row in pending:
            if row[1] not in self._projects:  # a coordinator was killed while it removed the project
                self._settle(row, "refused", time.time(), reason=REMOVED)

    def __bool__(self) -> bool:
        return bool(self._projects)

    # changes of projects, each durable at once

    def answer(self, message: m.Message, by: Identity) -> m.Message:
        """Executes an administrative request and returns the reply."""
        match message:
            case m.AddProject():
                return self._add(message, by)
            case m.ChangeProject():
                return self._change(message, by)
            case m.RemoveProject():
                return self._remove(message, by)
            case m.GetHookSecret():
                sealed = self._hook_secrets.get(self.known(message.project).project.name)
                value = self._vault.open((message.project, HOOK_SECRET), sealed) if sealed is not None else ""
                return m.SecretValue(id=message.id, value=value)
            case m.RevealSecret():
                return m.SecretValue(id=message.id, value=self._vault.reveal(message.project, message.name))
        raise AssertionError(type(message))

    def _add(self, message: m.AddProject, by: Identity) -> m.Done:
        project = message.project
        same = next((name for name in self._projects if name.casefold() == project.name.casefold()), None)
        if same is not None:
            raise ProtocolError("bad_request", f"there is a project {same!r} already; change it: longshore project set")
        if len(self._projects) >= MOST_PROJECTS:
            raise ProtocolError("bad_request", f"there are {MOST_PROJECTS} projects already")
        view = ProjectView(project=project, created_at=time.time(), created_by=by.name)
        self._keep(view, message.hook_secret, by, "add project")
        return m.Done(id=message.id, count=1)

    def _change(self, message: m.ChangeProject, by: Identity) -> m.Done:
        view = self.known(message.name)
        if message.project is not None:
            if message.project.name != message.name:
                raise ProtocolError("bad_request", "a project keeps its name; add another one instead")
            view = msgspec.structs.replace(view, project=message.project)
        action = "change project"
        if message.paused is not None:
            view = msgspec.structs.replace(view, paused=message.paused)
            action = "pause project" if message.paused else "resume project"
        self._keep(view, message.hook_secret, by, action)
        return m.Done(id=message.id, count=1)

    def _keep(self, view: ProjectView, hook_secret: str | None, by: Identity, action: str) -> None:
        """Writes a project; a `hook_secret` of None leaves it as it is."""
        project = view.project
        _check(project, by)
        sealed = self._hook_secrets.get(project.name)
        if hook_secret is not None:
            if not 1 <= len(hook_secret) <= LONGEST_HOOK_SECRET or "\0" in hook_secret:
                raise ProtocolError("bad_request", f"a hook's secret has 1 to {LONGEST_HOOK_SECRET} characters")
            sealed = self._vault.seal((project.name, HOOK_SECRET), hook_secret)
        view = msgspec.structs.replace(view, has_hook_secret=sealed is not None)
        row = (project.name, as_json(project), sealed, view.paused, view.created_at, view.created_by)
        line = (time.time(), by.name, by.role, action, project.name, project.url)
        self._store.keep(line, (Project, row))
        self._projects[project.name] = view
        if sealed is not None:
            self._hook_secrets[project.name] = sealed

    def _remove(self, message: m.RemoveProject, by: Identity) -> m.Done:
        view = self.known(message.name)
        line = (time.time(), by.name, by.role, "remove project", message.name, view.project.url)
        self._store.remove(line, Project, Project.name == message.name)
        del self._projects[message.name]
        for remove in self.on_removal:
            remove(message.name, by)
        self._hook_secrets.pop(message.name, None)
        which = (RunTrigger.project == message.name) & (RunTrigger.state == "pending")
        rows = {row[0]: row for row in self._store.all(RunTrigger.select().where(which))}
        rows |= {row[0]: row for row in self._store.queued(RunTrigger) if row[1] == message.name}
        pending = [row for row in rows.values() if row[4] == "pending"]
        for row in pending:
            self._settle(row, "refused", time.time(), reason=REMOVED)
        return m.Done(id=message.id, count=len(pending))

    def find(self, name: str) -> ProjectSpec | None:
        """The settings of the project of that name, if there is one."""
        view = self._projects.get(name)
        return view.project if view is not None else None

    def known(self, name: str) -> ProjectView:
        """The project of that name. Raises ProtocolError if there is none."""
        view = self._projects.get(name)
        if view is None:
            raise ProtocolError("not_found", f"there is no project {name[:100]!r}; see: longshore project list")
        return view

    # triggers, durable with the turn

    def add_trigger(self, message: m.AddTrigger, now: Now) -> m.TriggerAdded:
        """Accepts a trigger, once for each key of its project. The reply holds after the turn's commit."""
        spec = message.trigger
        view = self.known(spec.project)
        _check_trigger(spec)
        if (known := self._by_key(spec)) is not None:
            id, _, _, _, state, run, reason, _, _ = known
            return m.TriggerAdded(
                id=message.id, outcome="already", trigger=id, reason=reason, state=cast("TriggerState", state), run=run
            )
        if view.paused:
            return m.TriggerAdded(
                id=message.id, outcome="refused", state="refused", reason=f"project {spec.project} is paused"
            )
        if self._pending >= MOST_PENDING:
            raise ProtocolError("unavailable", f"{MOST_PENDING} triggers wait for their runs; try again later")
        trigger = self._next_trigger
        self._next_trigger += 1
        self._pending += 1
        json = as_json(spec)
        self._store.queue(RunTrigger, (trigger, spec.project, spec.key, json, "pending", None, "", now.wall, None))
        return m.TriggerAdded(id=message.id, outcome="accepted", trigger=trigger)

    def settle_trigger(self, message: m.SettleTrigger, now: Now) -> m.Done:
        """Ends a trigger that starts no run; one that has ended stays as it is."""
        row = self._row(message.trigger)
        if row[4] != "pending":
            return m.Done(id=message.id, count=0)
        self._settle(row, message.state, now.wall, reason=message.reason[:LONGEST_TEXT])
        return m.Done(id=message.id, count=1)

    def trigger(self, trigger: int) -> TriggerSpec:
        """A trigger as it was added."""
        return load(TriggerSpec, self._row(trigger)[3])

    def source_of(self, source: m.Source, token: str) -> m.Source:
        """The source of a run that a trigger starts, with what the trigger says of it.

        Raises ProtocolError if the trigger has ended without a run.
        """
        assert source.trigger is not None
        if token != trigger_token(source.trigger):
            raise ProtocolError("bad_field", f"the run of trigger {source.trigger} has its own token")
        row = self._row(source.trigger)
        if row[4] not in ("pending", "launched"):
            raise ProtocolError("bad_request", f"trigger {source.trigger} was {row[4]}: {row[6]}")
        spec = load(TriggerSpec, row[3])
        protected = bool(source.protected) and not spec.from_fork
        return msgspec.structs.replace(
            source, event=spec.source, fork=source.fork or spec.from_fork, protected=protected
        )

    def launched(self, trigger: int, run: int, now: Now) -> None:
        """Ends a trigger with its run, in the turn that starts the run."""
        row = self._row(trigger)
        if row[4] == "pending":
            self._settle(row, "launched", now.wall, run=run)

    def _settle(self, row: Row, state: TriggerState, at: float, *, run: int | None = None, reason: str = "") -> None:
        self._pending -= 1
        self._store.queue(RunTrigger, (*row[:4], state, run, text(reason), row[7], at))

    def _row(self, trigger: int) -> Row:
        """A trigger as it is after this turn."""
        queued = next((row for row in self._store.queued(RunTrigger) if row[0] == trigger), None)
        if queued is not None:
            return queued
        rows = self._store.all(RunTrigger.select().where(RunTrigger.id == trigger))
        if not rows:
            raise ProtocolError("not_found", f"there is no trigger {trigger}")
        return rows[0]

    def _by_key(self, spec: TriggerSpec) -> Row | None:
        for row in self._store.queued(RunTrigger):
            if (row[1], row[2]) == (spec.project, spec.key):
                return row
        which = (RunTrigger.project == spec.project) & (RunTrigger.key == spec.key)
        found = self._store.all(RunTrigger.select().where(which))
        return found[0] if found else None

    def prune(self, now: Now) -> None:
        """Forgets triggers that ended long ago."""
        self._store.prune(RunTrigger, RunTrigger.id, _old(now.wall))

    # for readers, after the commit

    def list_projects(self, message: m.ListProjects) -> m.ProjectList:
        """All projects, by name."""
        return m.ProjectList(id=message.id, projects=[view for _, view in sorted(self._projects.items())])

    def show_project(self, message: m.ShowProject) -> m.ProjectDetail:
        """One project with its newest triggers."""
        view = self.known(message.name)
        triggers = self._triggers(message.name, message.triggers, None)
        return m.ProjectDetail(id=message.id, project=view, triggers=triggers)

    def list_triggers(self, message: m.ListTriggers) -> m.TriggerList:
        """Triggers, newest first."""
        return m.TriggerList(id=message.id, triggers=self._triggers(message.project, message.limit, message.before))

    def get_trigger(self, message: m.GetTrigger) -> m.TriggerDetail:
        """One trigger."""
        rows = self._store.all(RunTrigger.select().where(RunTrigger.id == message.trigger))
        if not rows:
            raise ProtocolError("not_found", f"there is no trigger {message.trigger}")
        return m.TriggerDetail(id=message.id, trigger=_view(rows[0]))

    def take_triggers(self, message: m.TakeTriggers) -> m.PendingTriggers:
        """Pending triggers, oldest first. Those of a project that is not there any more are left out."""
        if not self._pending:
            return m.PendingTriggers(id=message.id)
        waiting = RunTrigger.state == "pending"
        if message.without:
            waiting &= RunTrigger.project.not_in(message.without[:MOST_IN_ANSWER])
        query = RunTrigger.select().where(waiting).order_by(RunTrigger.id)
        found = []
        for row in self._store.all(query.limit(_bounded(message.limit))):
            project = self._projects.get(row[1])
            if project is not None:
                spec = load(TriggerSpec, row[3])
                found.append(PendingTrigger(id=row[0], trigger=spec, project=project, created_at=row[7]))
        return m.PendingTriggers(id=message.id, triggers=found)

    def _triggers(self, project: str | None, limit: int, before: int | None) -> list[TriggerView]:
        query = RunTrigger.select().order_by(RunTrigger.id.desc()).limit(_bounded(limit))
        which = [] if project is None else [RunTrigger.project == project]
        which += [] if before is None else [RunTrigger.id < before]
        return [_view(row) for row in self._store.all(query.where(*which) if which else query)]


def _old(now: float) -> Expression:
    """Triggers that ended long ago. The newest one stays, whatever its age: no id, and no token, is used again."""
    newest = RunTrigger.select(fn.MAX(RunTrigger.id))
    return (RunTrigger.settled_at < now - KEPT_SECONDS) & (RunTrigger.id < newest)


def _check(project: ProjectSpec, by: Identity) -> None:
    """Refuses bad settings. Raises ProtocolError."""
    try:
        check_project_name(project.name)
        check_project_url(project.url)
    except UsageError as error:
        raise ProtocolError("bad_request", str(error)) from None
    if is_local(project.url) and by.role != "owner":
        raise ProtocolError(
            "forbidden", "only the coordinator's owner may add a repository on its disk; give an address of a server"
        )
    if project.poll_seconds is not None and project.poll_seconds < SHORTEST_POLL:
        raise ProtocolError("bad_request", f"a project is polled at most every {SHORTEST_POLL:g} s")
    secrets = [project.credentials, project.forge.token if project.forge else ""]
    for name in filter(None, secrets):
        if not NAME.fullmatch(name):
            raise ProtocolError("bad_request", f"{name[:100]!r} is no secret's name: longshore secret set NAME")
    patterns = [project.default_branch, *(project.protected_branches or []), *project.protected_tags]
    if any(len(pattern) > LONGEST_TEXT or "\0" in pattern for pattern in (project.url, *patterns)):
        raise ProtocolError("bad_request", f"an address, branch or pattern has at most {LONGEST_TEXT} characters")


def _check_trigger(spec: TriggerSpec) -> None:
    if not 1 <= len(spec.key) <= LONGEST_KEY or "\0" in spec.key:
        raise ProtocolError("bad_field", f"a trigger's key has 1 to {LONGEST_KEY} characters")
    if any("\0" in value or len(value) > LONGEST_TEXT for value in (spec.ref, spec.sha, spec.before_sha)):
        raise ProtocolError("bad_field", f"a ref or commit has at most {LONGEST_TEXT} characters, and no NUL")


def _view(row: Row) -> TriggerView:
    id, project, _, spec, state, run, reason, created, settled = row
    trigger = load(TriggerSpec, spec)
    return TriggerView(
        id=id,
        project=project,
        source=trigger.source,
        state=cast("TriggerState", state),
        ref=trigger.ref,
        tag=trigger.tag,
        sha=trigger.sha,
        title=trigger.title,
        author=trigger.author,
        user=trigger.user,
        merge_request=trigger.merge_request.iid if trigger.merge_request else "",
        from_fork=trigger.from_fork,
        run=run,
        reason=reason,
        created_at=created,
        settled_at=settled,
    )


def _bounded(limit: int) -> int:
    return max(0, min(limit, MOST_IN_ANSWER))
