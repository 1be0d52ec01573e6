"""Run submission: the single entry point for new runs, from clients and from any other trigger.

Validates uploads, limits and quota, which only the coordinator can; creates the run in the engine and audits it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from coordinator.engine.engine import Engine
from coordinator.engine.state import Now
from coordinator.files.base import Blobs
from coordinator.security.limits import Limits
from coordinator.security.quota import Quota
from coordinator.store.base import RunStore
from protocol import messages as m
from protocol.errors import ProtocolError
from protocol.views import ParentJob

LONGEST_TOKEN = 200

log = logging.getLogger(__name__)

Audit = Callable[[bytes | None, Now, str, str, str], None]
"""Records an action of a key's holder in the audit: action, subject, detail."""


class Submission:
    """Validates and starts runs."""

    def __init__(
        self, engine: Engine, store: RunStore, blobs: Blobs, limits: Limits, quota: Quota, audit: Audit
    ) -> None:
        self._engine = engine
        self._store = store
        self._blobs = blobs
        self._limits = limits
        self._quota = quota
        self._audit = audit

    def submit(
        self, request: m.SubmitRun, key: bytes | None, now: Now, *, parent: ParentJob | None = None
    ) -> m.RunSubmitted:
        """Starts a run for the holder of `key`, once per token. `parent` is the job that triggered it.

        Raises ProtocolError for a bad token, a missing workspace, or an exceeded limit or quota.
        """
        if not 1 <= len(request.token) <= LONGEST_TOKEN or "\0" in request.token:
            raise ProtocolError("bad_field", f"a token has 1 to {LONGEST_TOKEN} characters")
        self._check_workspace(request)
        known = self._store.run_by_token(request.token)
        if known is None:
            self._limits.check_submission(request, self._engine.unfinished())
            self._quota.check(request.plan.project)
        reply = self._engine.submit_run(request, now, known=known, parent=parent)
        if reply.run != known:
            log.info("submitted: %s, %d jobs", request.plan.name, len(request.plan.jobs), extra={"run": reply.run})
            source = request.source
            detail = " ".join(filter(None, [request.plan.project, source.ref, source.sha[:12], source.user]))
            self._audit(key, now, "submit", f"run {reply.run}", detail)
        if request.workspace is not None:
            self._quota.name(request.plan.project, request.workspace, request.workspace_size)
        return reply

    def _check_workspace(self, request: m.SubmitRun) -> None:
        if request.workspace is None:
            return
        size = self._blobs.size(request.workspace)
        if size is None:
            raise ProtocolError("bad_request", f"the workspace {request.workspace} was not uploaded completely")
        if size != request.workspace_size:
            raise ProtocolError(
                "bad_request", f"the workspace {request.workspace} has {size} bytes, not {request.workspace_size}"
            )
