"""Deliveries of Forgejo and Gitea. Forgejo sends Gitea's headers too."""

from __future__ import annotations

import msgspec

from protocol.projects import MergeRequest
from web.hooks.delivery import Delivery, Forge, Report, first_line, person, pushed, requested
from web.hooks.signatures import is_hex_hmac

STARTING = ("opened", "reopened", "synchronized")
"""Actions on a pull request after which it has a head that was not tested."""


class Repository(msgspec.Struct):
    """The repository of an event."""

    full_name: str
    clone_url: str = ""
    ssh_url: str = ""
    html_url: str = ""


class User(msgspec.Struct):
    """An account."""

    login: str = ""
    email: str = ""


class Author(msgspec.Struct):
    """A commit's author."""

    name: str = ""
    email: str = ""


class Commit(msgspec.Struct):
    """A pushed commit."""

    id: str
    message: str = ""
    author: Author = msgspec.field(default_factory=Author)


class Push(msgspec.Struct):
    """Event `push`, of branches and tags."""

    ref: str
    before: str
    after: str
    repository: Repository
    head_commit: Commit | None = None
    commits: list[Commit] | None = None
    pusher: User | None = None


class Side(msgspec.Struct):
    """Head or base of a pull request."""

    ref: str
    sha: str
    repo_id: int = 0
    label: str = ""
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
    user: User | None = None
    draft: bool = False
    labels: list[Label] | None = None
    id: int = 0
    html_url: str = ""
    assignees: list[User] | None = None
    milestone: Milestone | None = None


class PullRequestEvent(msgspec.Struct):
    """Event `pull_request`."""

    action: str
    pull_request: PullRequest
    repository: Repository
    sender: User | None = None


def _is_signed(delivery: Delivery, secret: str) -> bool:
    given = delivery.header("x-forgejo-signature") or delivery.header("x-gitea-signature")
    return is_hex_hmac(given, secret, delivery.body)


def _report(delivery: Delivery) -> Report:
    event = delivery.header("x-forgejo-event") or delivery.header("x-gitea-event")
    if event == "push":
        return _of_push(delivery.json(Push))
    if event in ("pull_request", "pull_request_sync"):
        return _of_pull_request(delivery.json(PullRequestEvent))
    return Report(ignored=f"event {event[:50]!r} starts no run")


def _of_push(push: Push) -> Report:
    commits = push.commits or []
    head = push.head_commit or next((commit for commit in commits if commit.id == push.after), None)
    report = pushed(
        push.ref,
        push.before,
        push.after,
        title=first_line(head.message) if head else "",
        author=person(head.author.name, head.author.email) if head else "",
        user=push.pusher.login if push.pusher else "",
    )
    return _of_repository(report, push.repository)


def _of_pull_request(event: PullRequestEvent) -> Report:
    request, head, base = event.pull_request, event.pull_request.head, event.pull_request.base
    if event.action not in STARTING:
        return _of_repository(Report(ignored=f"{event.action[:50]!r} starts no run"), event.repository)
    pushed_for_review = head.ref.startswith("refs/")  # AGit: its author need not be allowed to push branches
    branch = head.label if pushed_for_review else head.ref
    merge_request = MergeRequest(
        iid=str(request.number),
        id=str(request.id),
        title=request.title,
        description=request.body or "",
        url=request.html_url,
        source_branch=branch,
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
        from_fork=pushed_for_review or head.repo is None or head.repo_id != base.repo_id,
    )
    return _of_repository(report, event.repository)


def _of_repository(report: Report, repository: Repository) -> Report:
    urls = [repository.clone_url, repository.ssh_url, repository.html_url]
    return msgspec.structs.replace(report, repository=repository.full_name, urls=[url for url in urls if url])


GITEA = Forge(
    name="gitea",
    title="Forgejo, Gitea",
    marks=("x-forgejo-event", "x-gitea-event"),
    is_signed=_is_signed,
    report=_report,
)
