"""Formats of ids that become parts of file names and container names. Pure data.

Every side checks them on decoding a message, as their sender may be compromised.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

CHUNK_BYTES = 1 << 20
"""Piece size in bytes into which senders cut logs and blobs."""

Digest = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]
"""A blob's sha256."""
AttemptId = Annotated[str, msgspec.Meta(pattern=r"\A[0-9]{1,19}\.[0-9]{1,9}\Z")]
"""JOB.NUMBER."""
CoordinatorId = Annotated[str, msgspec.Meta(pattern=r"\A[0-9A-Za-z]{1,64}\Z")]
