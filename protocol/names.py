"""Formats of ids and names that become parts of file names and container names. Pure data.

Every side checks them, those of messages on decoding, as their sender may be compromised.
"""

from __future__ import annotations

import re
from typing import Annotated

import msgspec

CHUNK_BYTES = 1 << 20
"""Piece size in bytes into which senders cut logs and blobs."""

DIGEST = re.compile(r"[0-9a-f]{64}")
OBJECT_ID = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
"""A git object's full id: sha1 or sha256, by the repository's object format."""
ATTEMPT_ID = re.compile(r"(?P<job>[0-9]{1,19})\.(?P<number>[0-9]{1,9})")
WORKER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
"""A worker's name, which becomes a container label and part of file names."""

Digest = Annotated[str, msgspec.Meta(pattern=rf"\A{DIGEST.pattern}\Z")]
"""A blob's sha256."""
AttemptId = Annotated[str, msgspec.Meta(pattern=rf"\A{ATTEMPT_ID.pattern}\Z")]
"""JOB.NUMBER."""
ReportKind = Annotated[str, msgspec.Meta(pattern=r"\A[a-z][a-z0-9_]{0,63}\Z")]
"""The kind of a report, such as `sast`: a part of file names on workers."""
CoordinatorId = Annotated[str, msgspec.Meta(pattern=r"\A[0-9A-Za-z]{1,64}\Z")]
