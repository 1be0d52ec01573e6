"""A webhook's delivery and what it reports: the types that all forges share. Pure data and checks."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from typing import TypeVar
from urllib.parse import parse_qs

import msgspec

from protocol.decoders import from_json
from protocol.errors import UsageError
from protocol.projects import MergeRequest, TriggerSpec

NO_COMMIT = "0" * 40
"""Commit id with which forges report that a ref did not exist before, or no longer does."""
SHA = re.compile(r"[0-9a-f]{7,64}")
"""A commit id; Bitbucket Cloud abbreviates those of pull requests."""
BAD_REF = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|^[-/]|/$|\.$|\.lock(/|$)|(^|/)\.")
"""Characters and sequences that git refuses in ref names, and a leading `-`, which would be an option."""
MAX_REF = 255
"""Characters of a ref's name, as in GitLab."""
MAX_TEXT = 1000
"""Characters of a title or name."""
MAX_DESCRIPTION = 10_000
"""Characters of a merge request's description; `CI_MERGE_REQUEST_DESCRIPTION` has fewer."""
MAX_LABELS = 100
FORM = b"payload="

T = TypeVar("T")


class Delivery(msgspec.Struct, frozen=True):
    """One HTTP request of a forge. The headers' names are in lower case."""

    headers: Mapping[str, str]
    body: bytes

    def header(self, name: str) -> str:
        """A header's value; empty if it is missing."""
        return self.headers.get(name.lower(), "")

    @property
    def digest(self) -> str:
        """The body's sha256: the same for each repetition of a delivery, whatever its headers claim."""
        return hashlib.sha256(self.body).hexdigest()

    def json(self, kind: type[T]) -> T:
        """The body as a `kind`, from JSON or a form with JSON in `payload`. Raises UsageError.

        The content type does not matter: curl calls everything a form.
        """
        text: bytes | str = self.body
        if self.body.startswith(FORM):
            try:
                text = parse_qs(self.body.decode("ascii"), max_num_fields=10).get("payload", [""])[0]
            except ValueError:
                raise UsageError("the form is malformed") from None
        try:
            return from_json(text, kind)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise UsageError(f"the payload is not what its event has: {error}") from None


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a delivery reports: reasons for runs, or why there are none.

    `repository` is the path of the repository it is about, such as `group/name`, and `urls` are its addresses. The
    triggers' project is empty; a key that is not empty identifies a change better than the delivery does.
    """

    repository: str = ""
    urls: list[str] = msgspec.field(default_factory=list)
    triggers: list[TriggerSpec] = msgspec.field(default_factory=list)
    ignored: str = ""


class Forge(msgspec.Struct, frozen=True):
    """How one kind of forge signs and words its deliveries.

    `marks` are headers of which each delivery has one. `is_signed` tells whether a delivery was signed with a secret;
    `report` reads it, and raises UsageError for a malformed one. `delivery_id` is the forge's own id of a delivery, if
    its sender can't choose it freely or it is all there is; else the body's digest identifies the delivery.
    """

    name: str
    title: str
    marks: tuple[str, ...]
    is_signed: Callable[[Delivery, str], bool]
    report: Callable[[Delivery], Report]
    delivery_id: Callable[[Delivery], str] = lambda delivery: delivery.digest


def pushed(ref: str, before: str, after: str, *, title: str = "", author: str = "", user: str = "") -> Report:
    """The change of one pushed ref, named in full. Raises UsageError for a malformed one."""
    if is_nothing(after):
        return Report(ignored=f"{ref} was deleted")
    if (name := ref.removeprefix("refs/heads/")) != ref:
        tag = False
    elif (name := ref.removeprefix("refs/tags/")) != ref:
        tag = True
    else:
        return Report(ignored=f"{ref} is neither a branch nor a tag")
    return Report(
        triggers=[
            TriggerSpec(
                project="",
                key="",
                source="push",
                ref=name,
                tag=tag,
                sha=after,
                before_sha=before or NO_COMMIT,
                title=title,
                author=author,
                user=user,
            )
        ]
    )


def requested(
    request: MergeRequest, sha: str, *, user: str, from_fork: bool, author: str = "", key: str = ""
) -> Report:
    """A merge request whose head `sha` was not tested yet."""
    return Report(
        triggers=[
            TriggerSpec(
                project="",
                key=key,
                source="merge_request_event",
                ref=request.source_branch,
                sha=sha,
                title=request.title,
                author=author,
                user=user,
                merge_request=request,
                from_fork=from_fork,
            )
        ]
    )


def person(name: str, email: str | None) -> str:
    """An author as git writes it, NAME <EMAIL>."""
    return f"{name} <{email}>" if email else name


def is_nothing(sha: str) -> bool:
    """Whether a commit id means that there is none."""
    return not sha.strip("0")


def first_line(text: str | None) -> str:
    """A commit message's title."""
    return (text or "").strip().partition("\n")[0]


def checked(report: Report) -> Report:
    """The report, with texts cut to their limits. Raises UsageError for refs and ids that git would refuse."""
    return msgspec.structs.replace(report, triggers=[_checked(trigger) for trigger in report.triggers])


def _checked(trigger: TriggerSpec) -> TriggerSpec:
    check_ref(trigger.ref)
    _check_sha(trigger.sha)
    request = trigger.merge_request
    if trigger.before_sha:
        _check_sha(trigger.before_sha)
    if request is not None:
        check_ref(request.target_branch)
        if request.target_sha:
            _check_sha(request.target_sha)
        request = msgspec.structs.replace(
            request,
            title=_text(request.title),
            description=_text(request.description, MAX_DESCRIPTION),
            url=_text(request.url),
            source_project=_text(request.source_project),
            source_project_url=_text(request.source_project_url),
            labels=[_text(label) for label in request.labels[:MAX_LABELS]],
            assignees=[_text(assignee) for assignee in request.assignees[:MAX_LABELS]],
            milestone=_text(request.milestone),
        )
    return msgspec.structs.replace(
        trigger,
        title=_text(trigger.title),
        author=_text(trigger.author),
        user=_text(trigger.user),
        merge_request=request,
    )


def check_ref(name: str) -> None:
    """Raises UsageError for a name that no branch or tag can have."""
    if not name or len(name) > MAX_REF or BAD_REF.search(name):
        raise UsageError(f"{name[:MAX_REF]!r} is not the name of a branch or tag")


def _check_sha(sha: str) -> None:
    if not SHA.fullmatch(sha):
        raise UsageError(f"{sha[:MAX_REF]!r} is not a commit id")


def _text(text: str, most: int = MAX_TEXT) -> str:
    return text.replace("\0", "")[:most]
