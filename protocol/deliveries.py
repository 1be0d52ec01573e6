"""What the coordinator tells others: commit statuses to forges, messages to channels. Pure data; see docs/team.md."""

from __future__ import annotations

import re
from typing import Literal, get_args
from urllib.parse import urlsplit

import msgspec

from protocol.errors import UsageError
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
LOCAL_SCHEMES = frozenset(
    ("syslog", "rsyslog", "dbus", "glib", "gio", "gnome", "kde", "qt", "macosx", "windows", "file")
)
"""Schemes of Apprise that act on the sender's own host."""
LONGEST_URL = 4096
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\x00-\x20\x7f]*")
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


def is_signed(url: str) -> bool:
    """Whether an address gets signed JSON, and no text."""
    return url.partition("://")[0].lower() in WEB_SCHEMES


def shown(url: str) -> str:
    """An address without what may be secret: user, password, path and query, which hold tokens in chats' addresses.

    Of signed JSON, the path is shown, which is no secret; of mail, the receiver's host.
    """
    scheme, _, rest = url.partition("://")
    host = rest.partition("?")[0].partition("/")[0].rpartition("@")[2]
    if is_signed(url):
        return f"{scheme}://{host}{urlsplit(url).path}"
    if scheme.lower() in ("mailto", "mailtos"):
        return f"{scheme}://{host}"
    return f"{scheme}://..."


def check_address(url: str) -> None:
    """Refuses what is no address of a channel. Raises UsageError, which does not repeat the address."""
    scheme = url.partition("://")[0].lower() if _ADDRESS.fullmatch(url) and len(url) <= LONGEST_URL else ""
    if not scheme:
        raise UsageError("this is no address of a channel; use https://HOST/PATH, mailtos://... or slack://...")
    if scheme in LOCAL_SCHEMES:
        raise UsageError(f"{scheme}:// would act on the coordinator's own host; use a service that others read")
