"""Run submission: the single entry point for new runs, from clients and from jobs with `trigger`.

Validates uploads, limits and quota, which only the coordinator can; creates the run in the engine and audits it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import msgspec

from coordinator.engine.children import TOKEN_PREFIX
from coordinator.engine.engine import Engine
from coordinator.engine.state import Now
from coordinator.files.base import Blobs
from coordinator.projects import Projects
from coordinator.security.limits import Limits
from coordinator.security.quota import Quota
from coordinator.store.base import RunStore
from protocol import messages as m
from protocol.errors import ProtocolError
from protocol.plan import Plan
from protocol.projects import TRIGGER_TOKEN
from protocol.workspace import Workspace

LONGEST_TOKEN = 200

log = logging.getLogger(__name__)

Audit = Callable[[bytes | None, Now, str, str, str], None]
"""Records an action of a key's holder in the audit: action, subject, detail."""


class Submission:
    """Validates and starts runs."""

    def __init__(
        self,
        engine: Engine,
        store: RunStore,
        blobs: Blobs,
        limits: Limits,
        quota: Quota,
        audit: Audit,
        projects: Projects,
    ) -> None:
        self._engine = engine
        self._store = store
        self._blobs = blobs
        self._limits = limits
        self._quota = quota
        self._audit = audit
        self._projects = projects

    def submit(self, request: m.SubmitRun, key: bytes | None, now: Now) -> m.RunSubmitted:
        """Starts a run for the holder of `key`, once per token.

        Raises ProtocolError for a bad token, a missing workspace, or an exceeded limit or quota.
        """
        if not 1 <= len(request.token) <= LONGEST_TOKEN or "\0" in request.token:
            raise ProtocolError("bad_field", f"a token has 1 to {LONGEST_TOKEN} characters")
        if request.token.startswith(TOKEN_PREFIX):
            raise ProtocolError("bad_field", f"a token that begins with {TOKEN_PREFIX!r} is a child run's")
        trigger = request.source.trigger
        if trigger is not None:
            source = self._projects.source_of(request.source, request.token)
            request = msgspec.structs.replace(request, source=source)
        elif request.token.startswith(TRIGGER_TOKEN):
            raise ProtocolError("bad_field", f"a token that begins with {TRIGGER_TOKEN!r} is a trigger's")
        for _, workspace in _workspaces(request):
            self._check_blobs(workspace)
        known = self._store.run_by_token(request.token)
        if known is None:
            self._check_limits(request.plan)
        reply = self._engine.submit_run(request, now, known=known)
        if reply.run != known:
            log.info("submitted: %s, %d jobs", request.plan.name, len(request.plan.jobs), extra={"run": reply.run})
            source = request.source
            detail = " ".join(filter(None, [request.plan.project, source.ref, source.sha[:12], source.user]))
            self._audit(key, now, "submit", f"run {reply.run}", detail)
        if trigger is not None:
            self._projects.launched(trigger, reply.run, now)
        for project, workspace in _workspaces(request):
            self.name(project, workspace)
        return reply

    def claim(self, project: str, workspace: Workspace) -> None:
        """Protects an uploaded workspace of a job that is about to refer to it.

        Raises ProtocolError if it is not complete, or the project is over its quota.
        """
        self._check_blobs(workspace)
        self._quota.check(project)

    def name(self, project: str, workspace: Workspace) -> None:
        """Counts a workspace to which a job refers in its project's quota."""
        for blob in workspace.blobs:
            self._quota.name(project, blob.digest, blob.size)

    def submit_child(self, attempt: str, plan: Plan, origin: m.Origin, now: Now) -> None:
        """Starts the run that a job has asked for with this attempt, or fails the job if a limit is exceeded.

        Its workspace is that of its origin, which is stored.
        """
        try:
            self._check_limits(plan)
        except ProtocolError as error:
            self._engine.child_refused(attempt, [str(error)], now)
            return
        run = self._engine.child_compiled(attempt, plan, origin, now)
        if run is not None:
            log.info("started by attempt %s: %s, %d jobs", attempt, plan.name, len(plan.jobs), extra={"run": run})

    def _check_limits(self, plan: Plan) -> None:
        self._limits.check_submission(plan, self._engine.unfinished())
        self._quota.check(plan.project)

    def _check_blobs(self, workspace: Workspace) -> None:
        for blob in workspace.blobs:
            size = self._blobs.claim(blob.digest)
            if size is None:
                raise ProtocolError("bad_request", f"the workspace's blob {blob.digest} was not uploaded completely")
            if size != blob.size:
                message = f"the workspace's blob {blob.digest} has {size} bytes, not {blob.size}"
                raise ProtocolError("bad_request", message)


def _workspaces(request: m.SubmitRun) -> Iterator[tuple[str, Workspace]]:
    """The workspaces of a submission, each with its project."""
    if request.workspace is not None:
        yield request.plan.project, request.workspace
    for origin in request.projects:
        if origin.workspace is not None:
            yield origin.project, origin.workspace
