"""The workspace of a directory that is no git repository: a tar."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from daemon.executors.base import Checkout, CheckoutOptions, Layer, Workspace
from daemon.executors.common import archives
from daemon.executors.common.archives import Place
from daemon.tar_stream import Owner


@dataclass(frozen=True, slots=True)
class TarWorkspace(Workspace):
    """The tar at `path`, plain or compressed, with this sha256. It has no history, so all checkouts are the same."""

    is_plain: ClassVar[bool] = True
    path: Path
    digest: str

    def checkout(self, options: CheckoutOptions) -> Checkout:
        """See Workspace."""
        return TarCheckout(self.path, self.digest)


@dataclass(frozen=True, slots=True)
class TarCheckout(Checkout):
    """See Checkout."""

    path: Path
    digest: str

    @property
    def size(self) -> int:
        """See Checkout."""
        return self.path.stat().st_size

    def names(self) -> frozenset[str]:
        """See Checkout."""
        return archives.names(self.path)

    def hashes(self, wanted: Callable[[str], bool]) -> dict[str, str]:
        """See Checkout."""
        return archives.hash_files(self.path, wanted)

    def tar(self) -> Path:
        """See Checkout."""
        return self.path

    def layers(self, owner: tuple[int, int], *, opened: bool) -> Sequence[Layer]:
        """See Checkout: one layer."""

        def archive() -> Iterator[bytes]:
            return archives.joined([self.path], Place(Owner(*owner), opened=opened, whole=True))

        return [Layer(f"{self.digest}-{owner[0]}-{owner[1]}-{opened:d}", self.size, archive)]
