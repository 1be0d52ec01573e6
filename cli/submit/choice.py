"""Which jobs of a pipeline a user has asked for. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from protocol.errors import UsageError


class Choice(msgspec.Struct, frozen=True):
    """The jobs that a user has asked for: `jobs` with all their needs, or without them; or those from `start` on."""

    jobs: Sequence[str] = ()
    start: str = ""
    no_needs: bool = False
    reuse: int | None = None

    def check(self) -> None:
        """Raises UsageError for options that do not belong together."""
        if self.start and (self.jobs or self.no_needs):
            raise UsageError("--from runs a job and all after it; omit --job and --no-needs")
        if self.no_needs and not self.jobs:
            raise UsageError("--no-needs runs jobs without what they need; name one by --job")
        if self.reuse is not None and not self.is_partial:
            raise UsageError("--reuse is for artifacts of jobs that do not run; give --from or --no-needs too")

    @property
    def is_partial(self) -> bool:
        """Whether jobs are left out that others need."""
        return bool(self.start) or self.no_needs
