"""Delivers what the coordinator's outbox has: statuses to forges, messages to channels. One part of the launcher.

Each delivery is made at least once: a crash between an arrival and its acknowledgement repeats it. Those of one lane
are made one after the other, so that a newer status never overtakes an older one; lanes do not wait for each other.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from io import StringIO
from typing import Any, Literal, cast
from urllib.parse import unquote

import msgspec
import urllib3

from protocol import messages as m
from protocol.client import Client
from protocol.deliveries import ChannelSpec, PendingDelivery, RunMessage, is_signed, shown
from protocol.errors import LongshoreError, reason_of
from protocol.projects import ProjectSpec
from team import forges, notices

log = logging.getLogger(__name__)

SIDE_BY_SIDE = 16
"""Lanes that are delivered at the same time."""
TAKEN = 100
FIRST_PAUSE = 5.0
LONGEST_PAUSE = 3600.0
"""Seconds between two attempts: the first is doubled with each."""
LONGEST_RETRY_AFTER = 6 * 3600.0
"""Maximum seconds that a server may ask for."""
SHORTEST_SECRET = 4
"""Characters of a part of an address from which on it is kept out of errors."""
CONNECT_SECONDS = 10.0
READ_SECONDS = 20.0
ANSWER_BYTES = 64 << 10
"""Bytes of an answer that are read."""
REFUSED_FOR_GOOD = frozenset({400, 404, 405, 410, 411, 413, 414, 415, 422})
"""Answers of a forge that a repetition would only get again."""
GONE = 410


class Outcome(msgspec.Struct, frozen=True):
    """How an attempt ended. `retry_after` is the pause that the server asked for, in seconds."""

    state: Literal["pending", "delivered", "failed"]
    error: str = ""
    retry_after: float = 0.0


Attempt = Callable[[], Outcome]
Outcomes = list[tuple[PendingDelivery, Outcome]]


def pause(attempts: int, first: float = FIRST_PAUSE) -> float:
    """Seconds until the next attempt, after so many."""
    return float(min(first * 2 ** min(attempts, 30), LONGEST_PAUSE))


class Outbox:
    """One part of the launcher; see `team.launcher.Part`."""

    def __init__(self, *, first_pause: float = FIRST_PAUSE) -> None:
        self._first_pause = first_pause
        self._pool = ThreadPoolExecutor(SIDE_BY_SIDE, thread_name_prefix="outbox")
        self._http = urllib3.PoolManager(
            num_pools=50, maxsize=2, retries=False, timeout=urllib3.Timeout(CONNECT_SECONDS, READ_SECONDS)
        )
        self._flying: dict[str, Future[Outcomes]] = {}  # by lane

    def close(self) -> None:
        """Drops what has not begun. What is under way is delivered again by the next process."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._http.clear()

    def step(self, client: Client, now: float) -> None:
        """Settles attempts that have ended, and begins those that are due. Raises LongshoreError if the coordinator
        can't be reached; the next call tries again.
        """
        for lane, future in list(self._flying.items()):
            if future.done():
                for delivery, outcome in future.result():
                    self._settle(client, delivery, outcome)
                del self._flying[lane]
        if len(self._flying) >= SIDE_BY_SIDE:
            return
        taken = client.request(m.TakeDeliveries, m.PendingDeliveries, limit=TAKEN)
        if not taken.deliveries:
            return
        projects = {view.project.name: view.project for view in client.request(m.ListProjects, m.ProjectList).projects}
        lanes: dict[str, list[tuple[PendingDelivery, Attempt]]] = {}
        for delivery in taken.deliveries:
            if delivery.lane in self._flying or (delivery.lane not in lanes and len(lanes) >= SIDE_BY_SIDE):
                continue
            attempt = self._attempt(client, delivery, projects, taken.web_url)
            lanes.setdefault(delivery.lane, []).append((delivery, attempt))
        for lane, attempts in lanes.items():
            self._flying[lane] = self._pool.submit(_each, attempts)

    def _settle(self, client: Client, delivery: PendingDelivery, outcome: Outcome) -> None:
        again = max(pause(delivery.attempts, self._first_pause), min(outcome.retry_after, LONGEST_RETRY_AFTER))
        client.request(
            m.SettleDelivery,
            m.Done,
            key=delivery.key,
            seq=delivery.seq,
            state=outcome.state,
            not_before=time.time() + again if outcome.state == "pending" else 0.0,
            error=outcome.error,
        )
        if outcome.state == "pending":
            log.info("%s: %s; trying again in %.0f s", delivery.lane, outcome.error, again)

    def _attempt(
        self, client: Client, delivery: PendingDelivery, projects: dict[str, ProjectSpec], web_url: str
    ) -> Attempt:
        """What to do for a delivery, in a thread."""
        if delivery.status is not None:
            project = projects.get(delivery.status.project)
            if project is None or project.forge is None or not project.forge.token:
                return partial(Outcome, "failed", "the project has no forge with a token any more")
            try:
                secret = client.request(m.RevealSecret, m.SecretValue, project=project.name, name=project.forge.token)
                request = forges.request(project, delivery.status, secret.value, web_url)
            except LongshoreError as error:
                return partial(Outcome, "pending", str(error))
            return partial(self._set_status, request)
        if delivery.message is None or delivery.channel is None:
            return partial(Outcome, "failed", "the channel was removed, or its row in the database is invalid")
        if is_signed(delivery.channel.url):
            channel, message = delivery.channel, delivery.message
            request = notices.webhook(message, channel.url, channel.secret, delivery.key, web_url)
            return partial(self._post_message, request)
        return partial(tell, delivery.channel, delivery.message, web_url)

    # in threads

    def _set_status(self, request: forges.Request) -> Outcome:
        status, headers, answer = self._post(request)
        if 200 <= status < 300 or forges.is_repeated(status, answer):
            return Outcome("delivered")
        error = f"{request.url} answered {status}: {_excerpt(answer)}"
        return Outcome("failed" if status in REFUSED_FOR_GOOD else "pending", error, retry_after(headers, time.time()))

    def _post_message(self, request: forges.Request) -> Outcome:
        status, headers, answer = self._post(request)
        if 200 <= status < 300:
            return Outcome("delivered")
        error = f"answered {status}: {_excerpt(answer)}"
        return Outcome("failed" if status == GONE else "pending", error, retry_after(headers, time.time()))

    def _post(self, request: forges.Request) -> tuple[int, Mapping[str, str], bytes]:
        response = self._http.request(
            "POST", request.url, body=request.body, headers=request.headers, redirect=False, preload_content=False
        )
        try:
            return response.status, response.headers, response.read(ANSWER_BYTES)
        finally:
            response.close()


def _each(attempts: list[tuple[PendingDelivery, Attempt]]) -> Outcomes:
    """Makes the deliveries of a lane, up to the first that is to be tried again: the next would fail alike, or must
    not overtake it.
    """
    outcomes: Outcomes = []
    for delivery, attempt in attempts:
        outcome = _guarded(attempt)
        outcomes.append((delivery, outcome))
        if outcome.state == "pending":
            break
    return outcomes


def _guarded(attempt: Attempt) -> Outcome:
    try:
        return attempt()
    except (urllib3.exceptions.HTTPError, OSError) as error:
        return Outcome("pending", f"{type(error).__name__}: {reason_of(error)}"[:500])
    except Exception as error:
        log.exception("a delivery failed")
        return Outcome("pending", f"{type(error).__name__}")


_apprise = threading.Lock()
"""Apprise captures its log per process: one message at a time, so that a failure names its own reason."""


def tell(channel: ChannelSpec, message: RunMessage, web_url: str) -> Outcome:
    """Sends a message by mail or chat."""
    import apprise

    logging.getLogger("apprise").propagate = False  # its lines have addresses with their passwords
    with _apprise, _captured() as captured:
        sender = apprise.Apprise()
        if not sender.add(channel.url):
            return Outcome("failed", "Apprise does not know this address")
        kind = apprise.NotifyType(notices.kind(message))
        arrived = sender.notify(
            title=notices.title(message), body=notices.text(message, web_url), notify_type=kind, body_format="text"
        )
        said = captured.getvalue().strip()
    return Outcome("delivered") if arrived else Outcome("pending", _without(channel.url, said) or "it was refused")


def _captured() -> AbstractContextManager[StringIO]:
    import apprise

    capture: Any = apprise.LogCapture
    return cast("AbstractContextManager[StringIO]", capture(level=logging.WARNING, fmt="%(message)s"))


def _without(url: str, text: str) -> str:
    """The last line of a log, without anything that is part of the address."""
    line = text.splitlines()[-1] if text else ""
    public = shown(url)
    parts = [part for part in _parts(url) if len(part) >= SHORTEST_SECRET and part not in public]
    for part in sorted(parts, key=len, reverse=True):
        line = line.replace(part, "[...]")
    return line


def _parts(url: str) -> list[str]:
    rest = url.partition("://")[2]
    return [word for text in (rest, unquote(rest)) for word in re.split(r"[/?&=@:,]", text)]


def _excerpt(answer: bytes) -> str:
    return " ".join(answer.decode(errors="replace").split())[:200]


def retry_after(headers: Mapping[str, str], now: float) -> float:
    """The pause that a server asks for, in seconds: as a number or date, or GitHub's time of its limit's end."""
    asked = headers.get("Retry-After", "").strip()
    if asked.isdecimal():
        return float(asked)
    if asked:
        try:
            at = parsedate_to_datetime(asked)
        except ValueError:
            return 0.0
        return max(0.0, (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - now)
    reset = headers.get("X-RateLimit-Reset", "").strip()
    if headers.get("X-RateLimit-Remaining") == "0" and reset.isdecimal():
        return max(0.0, min(float(reset), datetime.max.timestamp()) - now)
    return 0.0
