"""What a job leaves, completed with what only its plan knows: when it expires. Pure."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from protocol.plan import JobPlan
from protocol.views import PAGES, ArtifactRef, Pages

LONGEST_KEPT = 100 * 366 * 86_400.0
"""Maximum `expire_in` in seconds, so that expiry dates stay within the range of date types."""


def with_expiry(job: JobPlan, refs: Iterable[ArtifactRef], now: float) -> list[ArtifactRef]:
    """A job's artifacts, stored at wall time `now`, each with the time when it expires."""
    artifacts = _until(job.artifacts.expire_in if job.artifacts else None, now)
    pages = _until(job.pages.expire_in if job.pages else None, now)
    return [msgspec.structs.replace(ref, expires_at=pages if ref.kind == PAGES else artifacts) for ref in refs]


def published(job: JobPlan, pages: Pages | None, now: float) -> Pages | None:
    """A successful job's pages as its worker has collected them, with their prefix and the time when they expire."""
    if pages is None or job.pages is None:
        return None
    return msgspec.structs.replace(
        pages, path_prefix=job.pages.path_prefix, expires_at=_until(job.pages.expire_in, now)
    )


def _until(keep: float | None, now: float) -> float | None:
    return None if keep is None else now + min(keep, LONGEST_KEPT)
