"""What workers and clients both exchange with the coordinator: the base of all messages, blobs, errors."""

from __future__ import annotations

from typing import Literal

import msgspec

from protocol.names import CoordinatorId


class Message(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", omit_defaults=True):
    """Base of all messages."""


MOST_WORKERS_ASKED = 500


class BlobGet(Message, frozen=True, kw_only=True, tag="blob_get"):
    """Requests bytes of a blob. Answer: BlobData (+payload). Workers and clients may send it."""

    id: int
    digest: str
    offset: int
    length: int


class BlobPut(Message, frozen=True, kw_only=True, tag="blob_put"):
    """(+payload) Bytes of a blob of `size` bytes whose sha256 is `digest`, in order. Answer: BlobState.

    An empty payload only requests the number of bytes received. Workers and clients may send it.
    """

    id: int
    digest: str
    size: int
    offset: int


class BlobData(Message, frozen=True, kw_only=True, tag="blob_data"):
    """(+payload) Answer to BlobGet; `size` is the blob's total size."""

    id: int
    digest: str
    offset: int
    size: int


class BlobState(Message, frozen=True, kw_only=True, tag="blob_state"):
    """Answer to BlobPut: the number of bytes `received`; `complete` once all arrived and the digest matched."""

    id: int
    digest: str
    received: int
    complete: bool


class GetGoneWorkers(Message, frozen=True, kw_only=True, tag="get_gone_workers"):
    """Requests those of the named workers, at most MOST_WORKERS_ASKED, that are gone for good. Answer: GoneWorkers.

    Workers and clients may send it.
    """

    id: int
    workers: list[str]


class GoneWorkers(Message, frozen=True, kw_only=True, tag="gone_workers"):
    """Answer to GetGoneWorkers: those that have been silent for long and have no unfinished attempts.

    Their leftovers may be removed.
    """

    id: int
    workers: list[str]


class Welcome(Message, frozen=True, kw_only=True, tag="welcome"):
    """Answer to a hello (worker or client). `feed` is the XPUB address to connect to.

    `epoch` is new with each start of the coordinator; `coordinator` is its lasting id. For a worker, `session` is that
    of the answered hello, and `keep` lists those of its attempts that are still wanted; the worker removes all others.
    """

    protocol: int
    coordinator: CoordinatorId
    epoch: str
    feed: str
    heartbeat: float = 5.0
    session: str = ""
    keep: list[str] = msgspec.field(default_factory=list)
    draining: bool = False


class Error(Message, frozen=True, kw_only=True, tag="error"):
    """Answer to a failed request. `code` is a short name; `message` is for people."""

    id: int | None = None
    code: Literal[
        "bad_frame",
        "unknown_type",
        "bad_field",
        "too_large",
        "bad_version",
        "not_found",
        "bad_request",
        "not_introduced",
        "not_yours",
        "forbidden",
        "revoked",
        "unavailable",
        "internal",
    ]
    message: str
