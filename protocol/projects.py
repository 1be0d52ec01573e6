"""Projects that start runs by themselves, and the triggers of these runs. Pure data.

A project is a repository that the coordinator's side mirrors. A trigger is one reason for a run: a push, a merge
request, a time. See docs/team.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Literal, get_args
from urllib.parse import urlsplit

import msgspec

from protocol.errors import UsageError
from protocol.plan import Variable
from protocol.views import View

PipelineSource = Literal["push", "merge_request_event", "schedule", "api", "web", "trigger"]
"""CI_PIPELINE_SOURCE of a run."""
ForgeKind = Literal["gitea", "github", "gitlab", "bitbucket", "plain"]
"""The server that a project's repository is on. Forgejo is a Gitea; `plain` is any other that sends JSON."""
TriggerState = Literal["pending", "launched", "refused", "skipped"]
PIPELINE_SOURCES: tuple[str, ...] = get_args(PipelineSource)
STATUS_FORGES: tuple[ForgeKind, ...] = ("gitea", "github", "gitlab")
"""Kinds of forges that take commit statuses."""
FORGE_KINDS: tuple[str, ...] = get_args(ForgeKind)

LONGEST_PROJECT = 255
MOST_SEGMENTS = 21
"""A project's name and 20 groups, as in GitLab."""
_SEGMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_ENDINGS = (".git", ".atom", ".")
_SCHEMES = ("http", "https", "ssh", "git", "file")
_SCP = re.compile(r"(?:[A-Za-z0-9._~-]+@)?[A-Za-z0-9][A-Za-z0-9._-]*:(?!//)[^:]+\Z")
_CONTROL = re.compile(r"[\x00-\x20\x7f-\x9f]")


class Part(View, frozen=True, kw_only=True, omit_defaults=True):
    """Base of this module's types. Fields that hold their default are not sent."""


class Forge(Part, frozen=True, kw_only=True):
    """The server to which statuses go. `api` is the address of its API; empty: derived from the project's address.

    `token` is the name of the secret with the access token. `per_job`: each job has a status too, not only the run.
    """

    kind: ForgeKind = "plain"
    api: str = ""
    token: str = ""
    per_job: bool = False


class ProjectSpec(Part, frozen=True, kw_only=True):
    """What a user sets of a project.

    `name` is GROUP/NAME, `url` what git fetches from; empty for one that is only pushed to Longshore itself. Without
    `default_branch`, it is that of the repository's HEAD.
    `poll_seconds` is how often the repository is asked for changes; None: never. `credentials` is the name of a secret:
    a password or token, or USER:PASSWORD. Patterns of branches and tags are those of `fnmatch`; `protected_branches`
    None means the default branch.
    """

    name: str
    url: str = ""
    default_branch: str = ""
    poll_seconds: float | None = None
    credentials: str = ""
    protected_branches: list[str] | None = None
    protected_tags: list[str] = msgspec.field(default_factory=list)
    forge: Forge | None = None

    def protects(self, ref: str, default_branch: str, *, tag: bool = False) -> bool:
        """Whether a branch or tag is protected."""
        if tag:
            return _matches(ref, self.protected_tags)
        if self.protected_branches is None:
            return ref != "" and ref == (self.default_branch or default_branch)
        return _matches(ref, self.protected_branches)


class ProjectView(Part, frozen=True, kw_only=True):
    """One project as readers see it."""

    project: ProjectSpec
    paused: bool = False
    has_hook_secret: bool = False
    created_at: float = 0.0
    created_by: str = ""


class MergeRequest(Part, frozen=True, kw_only=True):
    """A merge request (pull request) at its newest commit.

    `fetch_ref` is the ref of the target's repository that has its commit, such as `refs/pull/7/head`. Projects are
    GROUP/NAME as on the forge; `labels` and `assignees` are names, `author` is a login.
    """

    iid: str
    id: str = ""
    title: str = ""
    description: str = ""
    url: str = ""
    source_branch: str
    source_project: str = ""
    source_project_url: str = ""
    target_branch: str
    target_sha: str = ""
    fetch_ref: str = ""
    author: str = ""
    draft: bool = False
    labels: list[str] = msgspec.field(default_factory=list)
    assignees: list[str] = msgspec.field(default_factory=list)
    milestone: str = ""


class TriggerSpec(Part, frozen=True, kw_only=True):
    """One reason for a run.

    `key` identifies it within its project: a repetition starts nothing. `ref` is a branch or tag without `refs/`; empty
    means the default branch. Without `sha`, it is the ref's newest commit. `title` and `author` (NAME <EMAIL>) are
    those of the commit, `user` is who caused it. `from_fork`: the commit is one of another repository, whose authors
    need not be trusted. `variables` have the precedence of `--var`. `pushed`: the commit was pushed to Longshore, and
    is in the project's repository of pushes (see `places`).
    """

    project: str
    key: str
    source: PipelineSource
    ref: str = ""
    tag: bool = False
    sha: str = ""
    before_sha: str = ""
    title: str = ""
    author: str = ""
    user: str = ""
    merge_request: MergeRequest | None = None
    from_fork: bool = False
    variables: list[Variable] = msgspec.field(default_factory=list)
    pushed: bool = False


class PendingTrigger(Part, frozen=True, kw_only=True):
    """A trigger that waits for the launcher, with its project."""

    id: int
    trigger: TriggerSpec
    project: ProjectView
    created_at: float = 0.0


class TriggerView(Part, frozen=True, kw_only=True):
    """One trigger as readers see it: without variables. `reason` says why it started no run."""

    id: int
    project: str
    source: PipelineSource
    state: TriggerState
    ref: str = ""
    tag: bool = False
    sha: str = ""
    title: str = ""
    author: str = ""
    user: str = ""
    merge_request: str = ""
    from_fork: bool = False
    run: int | None = None
    reason: str = ""
    created_at: float = 0.0
    settled_at: float | None = None


def trigger_token(trigger: int) -> str:
    """The token of the run that a trigger starts: at most one."""
    return f"{TRIGGER_TOKEN}{trigger}"


TRIGGER_TOKEN = "trigger-"


def check_project_name(name: str) -> None:
    """Refuses what is no GROUP/NAME by GitLab's rules for paths. Raises UsageError."""
    segments = name.split("/")
    bad = next((part for part in segments if not _SEGMENT.fullmatch(part) or part.lower().endswith(_ENDINGS)), None)
    if bad is not None or not 2 <= len(segments) <= MOST_SEGMENTS or len(name) > LONGEST_PROJECT:
        raise UsageError(
            f"{name[:LONGEST_PROJECT]!r} is no project's name; give GROUP/NAME, of letters, digits, '_', '-' and '.', "
            "each part beginning with a letter, a digit or '_' and not ending in '.', '.git' or '.atom'"
        )


def check_project_url(url: str) -> None:
    """Refuses an address that git would not fetch from, or that has a password; none is one too. Raises UsageError."""
    if not url:
        return
    if url.startswith("-") or _CONTROL.search(url):
        raise UsageError(f"{url[:100]!r} is no repository's address: it begins with '-' or has white space")
    if is_local(url) or _SCP.match(url):
        return
    try:
        parts = urlsplit(url)
        known = parts.scheme in _SCHEMES and bool(parts.hostname) and bool(parts.path.strip("/"))
    except ValueError:
        known = False
        parts = urlsplit("")
    if not known:
        raise UsageError(f"{url[:100]!r} is no address of a repository; give https://HOST/PATH, ssh://, or a /PATH")
    if parts.password is not None or (parts.username and parts.scheme in ("http", "https")):
        raise UsageError("an address must not have a user or password; set a secret, and name it with --credentials")


def is_local(url: str) -> bool:
    """Whether a repository is on the coordinator's own disk."""
    return url.startswith(("/", "file:///"))


def _matches(ref: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(ref, pattern) for pattern in patterns)
