"""What ids look like on the wire that become parts of file names and of containers' names. Pure data.

They are checked as a message is decoded, by every side: whoever sends them may have been taken over.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

CHUNK_BYTES = 1 << 20
"""What senders cut logs and blobs to."""

Digest = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]
"""A blob's sha256."""
AttemptId = Annotated[str, msgspec.Meta(pattern=r"\A[0-9]{1,19}\.[0-9]{1,9}\Z")]
"""JOB.NUMBER."""
CoordinatorId = Annotated[str, msgspec.Meta(pattern=r"\A[0-9A-Za-z]{1,64}\Z")]
