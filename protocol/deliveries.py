"""What the coordinator tells others: commit statuses to forges, messages to channels. Pure data; see docs/team.md."""

from __future__ import annotations

from typing import Literal, get_args

import msgspec

from protocol.statuses import ExecutionStatus
from protocol.views import View

ChannelTrigger = Literal["change", "failure", "always"]
"""What a channel is told: broken, fixed and, once a day, still broken; each failure; the end of each run."""
Event = Literal["broken", "still broken", "fixed", "failed", "success", "canceled", "skipped"]
"""The end of a run as messages name it: a change, or else its status."""
DeliveryState = Literal["pending", "delivered", "failed"]
CHANNEL_TRIGGERS: tuple[str, ...] = get_args(ChannelTrigger)
WEB_SCHEMES = ("http", "https")
"""Schemes of addresses that get signed JSON; all others are those of chats and mail."""
CONTEXT = "longshore"
"""Context of a run's commit status; that of a job has its name after a slash."""


class CommitStatus(View, frozen=True, kw_only=True, omit_defaults=True):
    """The status of a commit in one context, which a newer one replaces."""

    project: str
    sha: str
    context: str
    status: ExecutionStatus
    ref: str = ""
    run: int | None = None
    description: str = ""


class RunMessage(View, frozen=True, kw_only=True, omit_defaults=True):
    """The end of a run. Times are seconds since the epoch; `seconds` is how long it took."""

    event: Event
    project: str
    run: int
    status: ExecutionStatus
    ref: str = ""
    sha: str = ""
    title: str = ""
    user: str = ""
    source: str = ""
    failed_jobs: list[str] = msgspec.field(default_factory=list)
    finished_at: float = 0.0
    seconds: float | None = None


class ChannelSpec(View, frozen=True, kw_only=True, omit_defaults=True):
    """Where messages about a project go. `url` is an address of Apprise, or http(s):// for signed JSON.

    `branches` are patterns of branches and tags; without any, all runs count, those of merge requests too. `secret`
    signs the JSON.
    """

    project: str
    url: str
    on: ChannelTrigger = "change"
    branches: list[str] = msgspec.field(default_factory=list)
    secret: str = ""

    def __repr__(self) -> str:  # keeps the address, which may have a password, out of logs and assertions
        return f"ChannelSpec(project={self.project!r}, on={self.on!r})"


class ChannelView(View, frozen=True, kw_only=True, omit_defaults=True):
    """One channel as readers see it: `address` is its URL without passwords and tokens."""

    id: int
    project: str
    address: str
    on: ChannelTrigger = "change"
    branches: list[str] = msgspec.field(default_factory=list)
    created_at: float = 0.0
    created_by: str = ""


class DeliveryView(View, frozen=True, kw_only=True, omit_defaults=True):
    """One delivery as readers see it. `to` is a commit's context or a channel's address."""

    project: str
    to: str
    about: str
    state: DeliveryState
    attempts: int = 0
    not_before: float = 0.0
    error: str = ""
    changed_at: float = 0.0


class PendingDelivery(View, frozen=True, kw_only=True, omit_defaults=True):
    """A delivery that is due: a status, or a message with its channel.

    `key` identifies it and `seq` its version: a newer status of the same context replaces an older one. Deliveries of
    one `lane` are made one after the other. `attempts` have failed so far.
    """

    key: str
    seq: int
    lane: str
    attempts: int = 0
    created_at: float = 0.0
    status: CommitStatus | None = None
    message: RunMessage | None = None
    channel: ChannelSpec | None = None
