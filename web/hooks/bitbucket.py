"""Deliveries of Bitbucket: Cloud, and Data Center (once Server)."""

from __future__ import annotations

import msgspec

from protocol.projects import MergeRequest, TriggerSpec
from web.hooks.delivery import NO_COMMIT, Delivery, Forge, Report, first_line, pushed, requested
from web.hooks.signatures import is_hex_hmac

CLOUD_REQUESTS = ("pullrequest:created", "pullrequest:updated")
SERVER_REQUESTS = ("pr:opened", "pr:from_ref_updated")


class Link(msgspec.Struct):
    """An address."""

    href: str = ""


class Links(msgspec.Struct):
    """Addresses of a repository."""

    html: Link = msgspec.field(default_factory=Link)


class CloudRepository(msgspec.Struct):
    """A repository of Bitbucket Cloud."""

    full_name: str
    uuid: str = ""
    links: Links = msgspec.field(default_factory=Links)


class CloudUser(msgspec.Struct):
    """An account of Bitbucket Cloud."""

    display_name: str = ""
    nickname: str = ""


class CloudAuthor(msgspec.Struct):
    """A commit's author, `Name <address>`."""

    raw: str = ""


class CloudCommit(msgspec.Struct):
    """A commit of Bitbucket Cloud."""

    hash: str
    message: str = ""
    author: CloudAuthor = msgspec.field(default_factory=CloudAuthor)


class CloudRef(msgspec.Struct):
    """A branch or tag."""

    name: str
    type: str
    target: CloudCommit


class CloudChange(msgspec.Struct):
    """A pushed ref: no `new` if it was deleted, no `old` if it was created."""

    new: CloudRef | None = None
    old: CloudRef | None = None


class CloudChanges(msgspec.Struct):
    """The refs of one push."""

    changes: list[CloudChange]


class CloudPush(msgspec.Struct):
    """Event `repo:push`."""

    push: CloudChanges
    repository: CloudRepository
    actor: CloudUser | None = None


class CloudBranch(msgspec.Struct):
    """A branch of a pull request."""

    name: str


class CloudSide(msgspec.Struct):
    """Source or destination of a pull request."""

    branch: CloudBranch
    commit: CloudCommit
    repository: CloudRepository | None = None


class CloudPullRequest(msgspec.Struct):
    """A pull request of Bitbucket Cloud."""

    id: int
    source: CloudSide
    destination: CloudSide
    title: str = ""
    description: str | None = None
    author: CloudUser | None = None
    links: Links = msgspec.field(default_factory=Links)
    draft: bool = False


class CloudPullRequestEvent(msgspec.Struct):
    """Events `pullrequest:*`."""

    pullrequest: CloudPullRequest
    repository: CloudRepository
    actor: CloudUser | None = None


class ServerProject(msgspec.Struct):
    """A project of Data Center, which has repositories."""

    key: str


class ServerRepository(msgspec.Struct):
    """A repository of Data Center."""

    slug: str
    project: ServerProject
    id: int = 0

    @property
    def path(self) -> str:
        """The end of its clone URL's path."""
        return f"{self.project.key}/{self.slug}"


class ServerUser(msgspec.Struct):
    """An account of Data Center."""

    name: str = ""


class ServerChange(msgspec.Struct, rename="camel"):
    """A pushed ref."""

    ref_id: str
    from_hash: str
    to_hash: str


class ServerPush(msgspec.Struct):
    """Event `repo:refs_changed`."""

    changes: list[ServerChange]
    repository: ServerRepository
    actor: ServerUser | None = None


class ServerSide(msgspec.Struct, rename="camel"):
    """Source or destination of a pull request."""

    display_id: str
    latest_commit: str
    repository: ServerRepository


class ServerAuthor(msgspec.Struct):
    """A pull request's author."""

    user: ServerUser = msgspec.field(default_factory=ServerUser)


class ServerPullRequest(msgspec.Struct, rename="camel"):
    """A pull request of Data Center."""

    id: int
    from_ref: ServerSide
    to_ref: ServerSide
    title: str = ""
    description: str = ""
    author: ServerAuthor = msgspec.field(default_factory=ServerAuthor)
    draft: bool = False


class ServerPullRequestEvent(msgspec.Struct, rename="camel"):
    """Events `pr:*`."""

    pull_request: ServerPullRequest
    actor: ServerUser | None = None


def _is_signed(delivery: Delivery, secret: str) -> bool:
    return is_hex_hmac(delivery.header("x-hub-signature"), secret, delivery.body, prefix="sha256=")


def _report(delivery: Delivery) -> Report:
    event = delivery.header("x-event-key")
    if event == "repo:push":
        return _of_cloud_push(delivery.json(CloudPush))
    if event in CLOUD_REQUESTS:
        return _of_cloud_request(delivery.json(CloudPullRequestEvent))
    if event == "repo:refs_changed":
        return _of_server_push(delivery.json(ServerPush))
    if event in SERVER_REQUESTS:
        return _of_server_request(delivery.json(ServerPullRequestEvent))
    return Report(ignored=f"event {event[:50]!r} starts no run")


def _of_cloud_push(event: CloudPush) -> Report:
    triggers: list[TriggerSpec] = []
    user = event.actor.nickname or event.actor.display_name if event.actor else ""
    for change in event.push.changes:
        if (new := change.new) is None:
            continue
        folder = "tags" if "tag" in new.type else "heads"
        triggers += pushed(
            f"refs/{folder}/{new.name}",
            change.old.target.hash if change.old else NO_COMMIT,
            new.target.hash,
            title=first_line(new.target.message),
            author=new.target.author.raw,
            user=user,
        ).triggers
    return _of_cloud(event.repository, triggers, "only deleted refs")


def _of_cloud_request(event: CloudPullRequestEvent) -> Report:
    request, source, target = event.pullrequest, event.pullrequest.source, event.pullrequest.destination
    if source.repository is None or source.repository.uuid != event.repository.uuid:
        return _of_cloud(event.repository, [], "Bitbucket Cloud has no ref of a fork's pull request to fetch")
    report = requested(
        MergeRequest(
            iid=str(request.id),
            id=str(request.id),
            title=request.title,
            description=request.description or "",
            url=request.links.html.href,
            source_branch=source.branch.name,
            source_project=source.repository.full_name,
            source_project_url=source.repository.links.html.href,
            target_branch=target.branch.name,
            target_sha=target.commit.hash,
            author=request.author.nickname if request.author else "",
            draft=request.draft,
        ),
        source.commit.hash,
        user=event.actor.nickname if event.actor else "",
        from_fork=False,
        key=f"bitbucket pull request {request.id} {source.commit.hash}",  # edits of its title are "updated" too
    )
    return _of_cloud(event.repository, report.triggers, "")


def _of_cloud(repository: CloudRepository, triggers: list[TriggerSpec], otherwise: str) -> Report:
    html = repository.links.html.href
    return Report(
        repository=repository.full_name,
        urls=[html] if html else [],
        triggers=triggers,
        ignored="" if triggers else otherwise,
    )


def _of_server_push(event: ServerPush) -> Report:
    triggers: list[TriggerSpec] = []
    for change in event.changes:
        user = event.actor.name if event.actor else ""
        triggers += pushed(change.ref_id, change.from_hash, change.to_hash, user=user).triggers
    return Report(
        repository=event.repository.path, triggers=triggers, ignored="" if triggers else "no changed branch or tag"
    )


def _of_server_request(event: ServerPullRequestEvent) -> Report:
    request, source, target = event.pull_request, event.pull_request.from_ref, event.pull_request.to_ref
    report = requested(
        MergeRequest(
            iid=str(request.id),
            id=str(request.id),
            title=request.title,
            description=request.description,
            source_branch=source.display_id,
            source_project=source.repository.path,
            target_branch=target.display_id,
            target_sha=target.latest_commit,
            author=request.author.user.name,
            fetch_ref=f"refs/pull-requests/{request.id}/from",
            draft=request.draft,
        ),
        source.latest_commit,
        user=event.actor.name if event.actor else "",
        from_fork=source.repository.id != target.repository.id,
    )
    return msgspec.structs.replace(report, repository=target.repository.path)


BITBUCKET = Forge(
    name="bitbucket",
    title="Bitbucket",
    marks=("x-event-key",),
    is_signed=_is_signed,
    report=_report,
)
