"""Deliveries of GitLab: with a secret token, or signed as Standard Webhooks are."""

from __future__ import annotations

import msgspec

from protocol.projects import MergeRequest
from web.hooks.delivery import Delivery, Forge, Report, first_line, is_nothing, person, pushed, requested
from web.hooks.signatures import is_same, is_standard_signature

STARTING = ("open", "reopen")
"""Actions on a merge request after which it has a head that was not tested; `update` is one if it has an `oldrev`."""

MAX_ID = 64
"""Characters of a delivery's id that count."""


class Project(msgspec.Struct):
    """A project of an event."""

    path_with_namespace: str
    git_http_url: str = ""
    git_ssh_url: str = ""
    web_url: str = ""
    http_url: str = ""
    ssh_url: str = ""


class Person(msgspec.Struct):
    """An author or user."""

    name: str = ""
    username: str = ""
    email: str = ""


class Commit(msgspec.Struct):
    """A pushed commit."""

    id: str
    message: str = ""
    author: Person = msgspec.field(default_factory=Person)


class Push(msgspec.Struct):
    """Events `push` and `tag_push`. `checkout_sha` is the commit, also of an annotated tag; null after a deletion."""

    ref: str
    before: str
    after: str
    project: Project
    checkout_sha: str | None = None
    commits: list[Commit] | None = None
    user_username: str | None = None
    user_name: str | None = None


class Label(msgspec.Struct):
    """A label of a merge request."""

    title: str = ""


class Attributes(msgspec.Struct):
    """A merge request. `oldrev` is the head before an `update` that changed it."""

    iid: int
    source_branch: str
    target_branch: str
    source_project_id: int
    target_project_id: int
    last_commit: Commit
    target: Project
    source: Project | None = None
    title: str = ""
    description: str | None = None
    action: str = ""
    oldrev: str | None = None
    draft: bool = False
    labels: list[Label] | None = None
    id: int = 0
    url: str = ""


class MergeRequestEvent(msgspec.Struct):
    """Event `merge_request`."""

    object_attributes: Attributes
    project: Project
    user: Person | None = None
    assignees: list[Person] | None = None


class Kind(msgspec.Struct):
    """An event's kind."""

    object_kind: str = ""


def _is_signed(delivery: Delivery, secret: str) -> bool:
    token = is_same(delivery.header("x-gitlab-token"), secret)
    signature = is_standard_signature(
        delivery.header("webhook-signature"),
        secret,
        delivery.header("webhook-id"),
        delivery.header("webhook-timestamp"),
        delivery.body,
    )
    return token or signature


def _delivery_id(delivery: Delivery) -> str:
    """GitLab's id of a delivery, which its repetitions keep, beside the digest: two equal pushes have equal bodies."""
    id = delivery.header("webhook-id") or delivery.header("idempotency-key") or delivery.header("x-gitlab-event-uuid")
    return f"{delivery.digest} {id[:MAX_ID]}" if id else delivery.digest


def _report(delivery: Delivery) -> Report:
    kind = delivery.json(Kind).object_kind
    if kind in ("push", "tag_push"):
        return _of_push(delivery.json(Push))
    if kind == "merge_request":
        return _of_merge_request(delivery.json(MergeRequestEvent))
    return Report(ignored=f"event {kind[:50]!r} starts no run")


def _of_push(push: Push) -> Report:
    commit = "" if is_nothing(push.after) else push.checkout_sha or push.after
    head = next((commit for commit in push.commits or [] if commit.id == push.after), None)
    report = pushed(
        push.ref,
        push.before,
        commit,
        title=first_line(head.message) if head else "",
        author=person(head.author.name, head.author.email) if head else "",
        user=push.user_username or push.user_name or "",
    )
    return _of_project(report, push.project)


def _of_merge_request(event: MergeRequestEvent) -> Report:
    request = event.object_attributes
    new_head = request.action in STARTING or (request.action == "update" and request.oldrev)
    if not new_head:
        return _of_project(Report(ignored=f"{request.action[:50]!r} without new commits starts no run"), event.project)
    commit = request.last_commit
    merge_request = MergeRequest(
        iid=str(request.iid),
        id=str(request.id),
        title=request.title,
        description=request.description or "",
        url=request.url,
        source_branch=request.source_branch,
        source_project=request.source.path_with_namespace if request.source else "",
        source_project_url=request.source.web_url if request.source else "",
        target_branch=request.target_branch,
        author=event.user.username if event.user and request.action == "open" else "",
        fetch_ref=f"refs/merge-requests/{request.iid}/head",
        draft=request.draft,
        labels=[label.title for label in request.labels or []],
        assignees=[assignee.username for assignee in event.assignees or []],
    )
    report = requested(
        merge_request,
        commit.id,
        author=person(commit.author.name, commit.author.email),
        user=event.user.username if event.user else "",
        from_fork=request.source_project_id != request.target_project_id,
    )
    return _of_project(report, event.project)


def _of_project(report: Report, project: Project) -> Report:
    urls = [project.git_http_url, project.git_ssh_url, project.web_url, project.http_url, project.ssh_url]
    return msgspec.structs.replace(report, repository=project.path_with_namespace, urls=[url for url in urls if url])


GITLAB = Forge(
    name="gitlab",
    title="GitLab",
    marks=("x-gitlab-event",),
    is_signed=_is_signed,
    report=_report,
    delivery_id=_delivery_id,
)
