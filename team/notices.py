"""Messages about runs as channels get them: text for people, signed JSON for programs. Pure."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime
from typing import Literal
from urllib.parse import unquote, urlsplit

from protocol.deliveries import RunMessage
from team.forges import USER_AGENT, Request

SIGNATURE = "X-Longshore-Signature"
EVENT = "X-Longshore-Event"
DELIVERY = "X-Longshore-Delivery"
SHORT_SHA = 8
_WORDS = {
    "broken": "is broken",
    "still broken": "is still broken",
    "fixed": "is fixed",
    "failed": "failed",
    "success": "passed",
    "canceled": "was canceled",
    "skipped": "was skipped",
}


def link(message: RunMessage, web_url: str) -> str:
    """The address of the run's page; empty without a `web_url`."""
    return f"{web_url}/runs/{message.run}" if web_url else ""


def title(message: RunMessage) -> str:
    """A subject line."""
    return f"{message.project} {message.ref}: {_WORDS[message.event]}".replace("  ", " ")


def text(message: RunMessage, web_url: str) -> str:
    """A message for people, as plain text."""
    lines = [f"Run {message.run} of {message.project} {message.ref} {_WORDS[message.status.value]}."]
    if message.sha:
        lines.append(f"Commit {message.sha[:SHORT_SHA]}: {_one_line(message.title)}".rstrip(": "))
    if message.user:
        lines.append(f"By {_one_line(message.user)}")
    if message.failed_jobs:
        lines.append(f"Failed: {', '.join(map(_one_line, message.failed_jobs))}")
    if address := link(message, web_url):
        lines.append(address)
    return "\n".join(lines)


def kind(message: RunMessage) -> Literal["success", "failure", "warning", "info"]:
    """Apprise's type of a message, by which chats choose its colour."""
    if message.event in ("fixed", "success"):
        return "success"
    if message.event in ("broken", "still broken", "failed"):
        return "failure"
    return "warning" if message.event == "canceled" else "info"


def webhook(message: RunMessage, url: str, secret: str, delivery: str, web_url: str) -> Request:
    """A message as signed JSON: the signature is the HMAC-SHA256 of the body with the channel's secret.

    `delivery` is the same for each attempt, so that a receiver knows repetitions.
    """
    finished = datetime.fromtimestamp(message.finished_at, UTC).isoformat(timespec="milliseconds")
    document = {
        "event": message.event.replace(" ", "_"),
        "project": message.project,
        "run": message.run,
        "status": message.status.value,
        "ref": message.ref,
        "sha": message.sha,
        "title": message.title,
        "user": message.user,
        "source": message.source,
        "failed_jobs": message.failed_jobs,
        "finished_at": finished.replace("+00:00", "Z"),
        "seconds": message.seconds,
        "url": link(message, web_url) or None,
    }
    body = json.dumps(document).encode()
    url, credentials = _without_user(url)
    headers = {
        "Content-Type": "application/json",
        "User-Agent": USER_AGENT,
        EVENT: message.event.replace(" ", "_"),
        DELIVERY: hashlib.sha256(delivery.encode()).hexdigest(),
        SIGNATURE: f"sha256={hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}",
    }
    return Request(url, headers | credentials, body)


def _without_user(url: str) -> tuple[str, dict[str, str]]:
    """An address without user and password, and the header that they are sent in."""
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    if not at:
        return url, {}
    basic = base64.b64encode(unquote(user).encode()).decode()
    return parts._replace(netloc=host).geturl(), {"Authorization": f"Basic {basic}"}


def _one_line(text: str) -> str:
    return " ".join(text.split())
