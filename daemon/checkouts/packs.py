"""A project's packs on this host. Each is indexed once, completed so that it needs no other one.

A workspace sees its own packs only, through a bare repository of links to them in its attempt's directory; so no run
gets objects of another one.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from threading import RLock
from uuid import uuid4

import msgspec

from daemon.checkouts.git import BareRepository, Processes
from daemon.checkouts.shelf import Shelf
from protocol.workspace import GitWorkspace, Pack

CONFIG = "[core]\n\trepositoryformatversion = {version}\n\tbare = true\n{extensions}"
HASH_BYTES = {"sha1": 20, "sha256": 32}


class Source(msgspec.Struct):
    """The objects of a workspace, whose packs are fetched at their first use. `name` is its project's in the shelf.

    `pins` is the attempt's directory, on the shelf's file system. `fetch` returns the file of a pack that the store
    lacks; `indexed` tells that it is no longer needed. Methods raise BadWorkspace, OSError, what `fetch` raises, and
    Interrupted once `processes` are.
    """

    shelf: Shelf
    name: str
    ref: GitWorkspace
    pins: Path
    fetch: Callable[[Pack], Path]
    indexed: Callable[[Pack], None]
    processes: Processes
    _packs: list[Path] = []
    _view: BareRepository | None = None
    _lock: RLock = msgspec.field(default_factory=RLock)

    @property
    def packs(self) -> list[Path]:
        """The pins of its packs. Fetches and indexes those that the store lacks."""
        with self._lock:
            for number in range(len(self._packs), len(self.ref.packs)):
                self._add_pack(number)
            return self._packs

    def view(self) -> BareRepository:
        """A bare repository of this workspace's objects."""
        with self._lock:
            if self._view is None:
                self._view = self.make_view(self.pins, self.packs)
            return self._view

    def view_down_to(self, shallow: Sequence[str]) -> BareRepository:
        """A bare repository of this workspace's objects, with its history cut off below these commits."""
        return self.make_view(self.pins, self.packs, shallow)

    def view_of(self, number: int) -> BareRepository:
        """A bare repository of one pack's objects."""
        return self.make_view(self.pins, self.packs[number : number + 1])

    def make_view(self, directory: Path, packs: Iterable[Path], shallow: Sequence[str] | None = None) -> BareRepository:
        """A bare repository, below `directory`, of these packs, with the workspace's `shallow` commits, or others."""
        view = directory / f"view-{uuid4().hex}"
        place = view / "objects" / "pack"
        place.mkdir(parents=True)
        (view / "refs").mkdir()
        (view / "HEAD").write_text("ref: refs/heads/none\n")
        sha256 = self.ref.object_format == "sha256"
        extensions = "[extensions]\n\tobjectformat = sha256\n" if sha256 else ""
        (view / "config").write_text(CONFIG.format(version=int(sha256), extensions=extensions))
        shallow = self.ref.shallow if shallow is None else shallow
        if shallow:
            (view / "shallow").write_text("".join(f"{one}\n" for one in shallow))
        for pack in packs:
            for suffix in ("pack", "idx"):
                os.link(pack / suffix, place / f"{pack.name}.{suffix}")
        return BareRepository(view, self.processes)

    def pin(self, name: str) -> Path | None:
        """Pins a set of this project; None if there is none."""
        return self.shelf.pin(self.name, name, self.pins)

    def unpin(self, name: str) -> None:
        """Drops a pin."""
        shutil.rmtree(self.pins / name, ignore_errors=True)

    def put(self, name: str, made: Path) -> Path:
        """Moves a directory that was made in `shelf.partial` to the shelf, pinned."""
        return self.shelf.put(self.name, name, made, self.pins)

    def making(self, name: str) -> AbstractContextManager[None]:
        """Lets one attempt of all workers make a set of this project; others wait. Raises Interrupted."""
        return self.shelf.making(self.name, name, self.processes.pause)

    def _add_pack(self, number: int) -> None:
        """Pins a pack; indexes it first if the store lacks it. Its delta bases are in the packs before it."""
        pack = self.ref.packs[number]
        name = f"pack-{pack.digest}"
        pinned = self._pin_pack(name)
        if pinned is None:
            file = self.fetch(pack)
            with self.making(name):
                pinned = self._pin_pack(name) or self._index_pack(name, file)
            self.indexed(pack)
        self._packs.append(pinned)

    def _pin_pack(self, name: str) -> Path | None:
        pinned = self.pin(name)
        if pinned is not None and not _is_whole(pinned, self.ref.object_format):
            self.unpin(name)
            self.shelf.drop(self.name, name)
            return None
        return pinned

    def _index_pack(self, name: str, file: Path) -> Path:
        """The first pack needs no other one, and is taken as it is; the others are completed by what they lack."""
        size = file.stat().st_size
        with self.shelf.partial() as partial, self.shelf.partial() as target:
            view = self.make_view(partial, self._packs)
            if not self._packs:
                place = target / "pack.pack"
                os.link(file, place)
                view.run("index-pack", "-o", str(target / "idx"), str(place), size=size)
                place.rename(target / "pack")
            else:
                arguments = ("index-pack", "--stdin", "--fix-thin")
                found = view.run(*arguments, file=file, size=size).decode().split()[-1]
                for suffix in ("pack", "idx"):
                    (view.path / "objects" / "pack" / f"pack-{found}.{suffix}").rename(target / suffix)
            return self.put(name, target)


def count_objects(pinned: Path) -> int:
    """The number of a pack's objects: the last entry of its index's fan-out table."""
    with (pinned / "idx").open("rb") as idx:
        idx.seek(8 + 255 * 4)
        return int.from_bytes(idx.read(4), "big")


def checksum(pinned: Path, object_format: str) -> str:
    """A pack's checksum, which is its name."""
    with (pinned / "pack").open("rb") as pack:
        pack.seek(-HASH_BYTES[object_format], os.SEEK_END)
        return pack.read().hex()


def _is_whole(pinned: Path, object_format: str) -> bool:
    """Whether a pack is the one of its index: the host may have crashed while it was written."""
    length = HASH_BYTES[object_format]
    try:
        with (pinned / "idx").open("rb") as idx:
            idx.seek(-2 * length, os.SEEK_END)
            return checksum(pinned, object_format) == idx.read(length).hex()
    except OSError:
        return False
