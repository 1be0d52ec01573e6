"""Deliveries of GitHub."""

from __future__ import annotations

import msgspec

from protocol.projects import MergeRequest
from web.hooks.delivery import Delivery, Forge, Report, first_line, person, pushed, requested
from web.hooks.signatures import is_hex_hmac

STARTING = ("opened", "reopened", "synchronize")
"""Actions on a pull request after which it has a head that was not tested."""


class Repository(msgspec.Struct):
    """The repository of an event."""

    full_name: str
    id: int = 0
    clone_url: str = ""
    ssh_url: str = ""
    html_url: str = ""


class Account(msgspec.Struct):
    """A user."""

    login: str = ""


class Person(msgspec.Struct):
    """An author or pusher."""

    name: str = ""
    email: str | None = None


class Commit(msgspec.Struct):
    """The newest pushed commit."""

    id: str
    message: str = ""
    author: Person = msgspec.field(default_factory=Person)


class Push(msgspec.Struct):
    """Event `push`, of branches and tags."""

    ref: str
    before: str
    after: str
    repository: Repository
    head_commit: Commit | None = None
    sender: Account | None = None
    pusher: Person | None = None


class Side(msgspec.Struct):
    """Head or base of a pull request. A deleted fork has no `repo`."""

    ref: str
    sha: str
    repo: Repository | None = None


class Label(msgspec.Struct):
    """A label of a pull request."""

    name: str = ""


class Milestone(msgspec.Struct):
    """A milestone of a pull request."""

    title: str = ""


class PullRequest(msgspec.Struct):
    """A pull request."""

    number: int
    head: Side
    base: Side
    title: str = ""
    body: str | None = None
    user: Account | None = None
    draft: bool = False
    labels: list[Label] | None = None
    id: int = 0
    html_url: str = ""
    assignees: list[Account] | None = None
    milestone: Milestone | None = None


class PullRequestEvent(msgspec.Struct):
    """Event `pull_request`."""

    action: str
    pull_request: PullRequest
    repository: Repository
    sender: Account | None = None


def _is_signed(delivery: Delivery, secret: str) -> bool:
    return is_hex_hmac(delivery.header("x-hub-signature-256"), secret, delivery.body, prefix="sha256=")


def _report(delivery: Delivery) -> Report:
    event = delivery.header("x-github-event")
    if event == "push":
        return _of_push(delivery.json(Push))
    if event == "pull_request":
        return _of_pull_request(delivery.json(PullRequestEvent))
    return Report(ignored=f"event {event[:50]!r} starts no run")


def _of_push(push: Push) -> Report:
    head = push.head_commit
    report = pushed(
        push.ref,
        push.before,
        push.after,
        title=first_line(head.message) if head else "",
        author=person(head.author.name, head.author.email) if head else "",
        user=push.sender.login if push.sender else push.pusher.name if push.pusher else "",
    )
    return _of_repository(report, push.repository)


def _of_pull_request(event: PullRequestEvent) -> Report:
    request, head, base = event.pull_request, event.pull_request.head, event.pull_request.base
    if event.action not in STARTING:
        return _of_repository(Report(ignored=f"{event.action[:50]!r} starts no run"), event.repository)
    merge_request = MergeRequest(
        iid=str(request.number),
        id=str(request.id),
        title=request.title,
        description=request.body or "",
        url=request.html_url,
        source_branch=head.ref,
        source_project=head.repo.full_name if head.repo else "",
        source_project_url=head.repo.html_url if head.repo else "",
        target_branch=base.ref,
        target_sha=base.sha,
        fetch_ref=f"refs/pull/{request.number}/head",
        author=request.user.login if request.user else "",
        draft=request.draft,
        labels=[label.name for label in request.labels or []],
        assignees=[assignee.login for assignee in request.assignees or []],
        milestone=request.milestone.title if request.milestone else "",
    )
    report = requested(
        merge_request,
        head.sha,
        user=event.sender.login if event.sender else "",
        from_fork=head.repo is None or head.repo.id != event.repository.id,
    )
    return _of_repository(report, event.repository)


def _of_repository(report: Report, repository: Repository) -> Report:
    urls = [repository.clone_url, repository.ssh_url, repository.html_url]
    return msgspec.structs.replace(report, repository=repository.full_name, urls=[url for url in urls if url])


GITHUB = Forge(
    name="github",
    title="GitHub",
    marks=("x-github-event",),
    is_signed=_is_signed,
    report=_report,
)
