"""Packs that add a snapshot to what the coordinator has: at most one of history and one of files."""

from __future__ import annotations

import hashlib
import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import NamedTemporaryFile, mkstemp

import msgspec

from protocol.decoders import from_msgpack
from protocol.workspace import MOST_PACKS, GitWorkspace, Pack
from snapshots.history import CommitReader, History
from snapshots.objects import TREE_MODE, commit_data, tree_data
from snapshots.processes import GitFailed
from snapshots.store import SnapshotStore, update_file

LARGE_FILES = 8 << 20
"""Bytes of packs of files from which later workspaces build on them: smaller ones are other runs' uncommitted files."""
MOST_BUILT_ON = MOST_PACKS // 2
"""Packs of a workspace from which the next one starts again."""
DELTAS_BELOW = 64 << 20
"""Bytes of new files from which the search for deltas takes longer than it saves on a link of 100 Mbit/s."""
BASES = 8
"""Workspaces that are compared with a new one."""
EDGES = 64
"""Commits that the receiver has and whose files deltas may build on."""
BEYOND = 64
"""Generations beyond its own depth in which a snapshot looks for a workspace's commits."""
KEPT_SECONDS = 86400.0
"""Age at which a pack that was never submitted is removed."""
COMMAND = ("pack-objects", "--stdout", "--delta-base-offset", "-q")
REVISIONS = ("--revs", "--thin", "--shallow")
SHALLOW = "--shallow "
FIRST = "first"
"""File of the last workspace that was made of whole packs."""
EMPTY_PACK = 12
"""Bytes of a pack's header; the last four count its objects."""


Sent = tuple[Pack, Path]
"""A pack and its file."""


class Base(msgspec.Struct):
    """A stored workspace as a new one sees it: what of its packs and history can be built on."""

    packs: list[Pack] = []
    tips: set[str] = set()
    known: set[str] = set()
    holder: str | None = None


class Made(msgspec.Struct):
    """A workspace, and the files of those of its packs that the coordinator may lack, by digest."""

    workspace: GitWorkspace
    files: dict[str, Path]


class Packer:
    """Makes the packs of one snapshot; `heads` are the checked-out commits of its repositories by number."""

    def __init__(
        self, store: SnapshotStore, reader: CommitReader, history: History, depth: int, heads: Mapping[int, str]
    ) -> None:
        self._store = store
        self._reader = reader
        self._history = history
        self._depth = depth
        self._heads = heads

    def make(self, snapshot: str, workspaces: Sequence[GitWorkspace]) -> Made:
        """The snapshot as a workspace that builds on one of `workspaces`, if that is worth it."""
        same_form = [found for found in workspaces if len(found.snapshot) == len(snapshot)]
        for found in same_form:
            if found.snapshot == snapshot and self._has_history(found):
                return Made(found, {})
        base = self._best(same_form[:BASES])
        if not base.packs and same_form and not _outgrown(same_form[0].packs):
            base = self._best(self._first())
        request = self._history_request(base)
        effort = () if self._store.written < DELTAS_BELOW else ("--window=0",)
        pending = (
            self._start(request, "--missing=allow-any"),
            self._start(self._files_request(snapshot, base), *effort),
        )
        history = self._partial(request, pending[0])
        files = pending[1]()
        packs = list(base.packs)
        paths: dict[str, Path] = {}
        for made in (history, files):
            if made is not None:
                packs.append(made[0])
                paths[made[0].digest] = made[1]
        workspace = GitWorkspace(
            snapshot=snapshot,
            packs=packs,
            commits=self._history.tips,
            shallow=sorted(self._history.shallow),
            depth=self._depth,
            history=len(base.packs) + (history is not None),
        )
        if not base.packs:
            update_file(self._store.directory / FIRST, msgspec.msgpack.encode(workspace))
        return Made(workspace, paths)

    def _first(self) -> list[GitWorkspace]:
        """The project's last workspace that was made of whole packs: others have grown out of it."""
        try:
            return [from_msgpack((self._store.directory / FIRST).read_bytes(), GitWorkspace)]
        except (OSError, msgspec.MsgspecError):
            return []

    def _has_history(self, found: GitWorkspace) -> bool:
        own = self._history
        return (found.depth, found.commits, set(found.shallow)) == (self._depth, own.tips, own.shallow)

    def _best(self, workspaces: Sequence[GitWorkspace]) -> Base:
        """The base that leaves the least to send; an empty one if none helps."""
        best, least = Base(), -1
        for found in workspaces:
            base = self._base(found)
            if base is None:
                continue
            lacking = len(set(self._history.tips) - base.tips if self._history.whole else self._lacking(base))
            left = 2 * lacking + (base.holder is None)
            if least < 0 or left < least:
                best, least = base, left
            if not left:
                break
        return best

    def _base(self, found: GitWorkspace) -> Base | None:
        files = sum(pack.size for pack in found.packs[found.history :])
        holder = self._store.holder(found.snapshot) if files > LARGE_FILES else None
        packs = found.packs if holder is not None else found.packs[: found.history]
        if len(packs) > MOST_BUILT_ON or _outgrown(packs):
            return None
        shallow = set(found.shallow)
        if self._history.whole:
            if found.depth != self._depth or shallow != self._history.shallow:
                return None
            existing = self._store.sizes(found.commits)
            known = {id for id in found.commits if id in existing}
        else:
            starts = [id for id in found.commits if id in self._history.commits] + found.commits[:1]
            known = set(self._reader.walk(starts, self._depth + BEYOND, shallow))
        if self._history.tips and not known:
            return None
        return Base(packs, set(found.commits), known, holder)

    def _lacking(self, base: Base) -> list[str]:
        return sorted(self._history.commits - base.known)

    def _history_request(self, base: Base) -> list[str]:
        """Input of `pack-objects` for the history that the base lacks; empty if it lacks nothing.

        In a history of limited depth every commit is declared shallow: exactly those named are packed, whatever the
        receiver's own depth.
        """
        new_tips = [id for id in self._history.tips if id not in base.tips]
        if self._history.whole:
            if not new_tips:
                return []
            shallow = sorted(self._history.shallow | ({base.holder} if base.holder else set()))
            edges = [*sorted(base.known), *([base.holder] if base.holder else [])]
            return [*(f"{SHALLOW}{id}" for id in shallow), *new_tips, *(f"^{id}" for id in edges)]
        lacking = self._lacking(base)
        tags = [id for id in new_tips if id not in self._history.commits]
        if not lacking and not tags:
            return []
        near = (self._reader.parents(lacking) | set(self._history.tips)) & base.known
        edges = [*(sorted(near)[:EDGES] or sorted(base.known)[:1]), *([base.holder] if base.holder else [])]
        named = sorted(self._history.commits | set(edges))
        # a tag leads to its commit, which the receiver may have
        return [*(f"{SHALLOW}{id}" for id in named), *lacking, *tags, *(f"^{id}" for id in edges)]

    def _files_request(self, snapshot: str, base: Base) -> list[str]:
        edges = [self._edge(number, head) for number, head in self._heads.items()]
        if base.holder is not None:
            edges.append(base.holder)
        return [*(f"{SHALLOW}{id}" for id in edges), snapshot, *(f"^{id}" for id in edges)]

    def _edge(self, number: int, head: str) -> str:
        """A commit that places a head's tree where the snapshot has the files: deltas are made between equal paths.

        Too small for a delta itself, which the receiver could not resolve.
        """
        tree = tree_data([(str(number).encode(), TREE_MODE, bytes.fromhex(self._reader.tree(head)))])
        return self._store.write(b"commit", commit_data(self._store.write(b"tree", tree)))

    def _partial(self, request: list[str], pending: Callable[[], Sent | None]) -> Sent | None:
        """The pack of a history; of what is there if `pack-objects` fails, as it does without a commit's tree."""
        try:
            return pending()
        except GitFailed:
            shallow = [line.removeprefix(SHALLOW) for line in request if line.startswith(SHALLOW)]
            revisions = [line for line in request if not line.startswith(SHALLOW)]
            with NamedTemporaryFile("w", dir=self._store.packs, prefix="shallow-") as file:
                file.write("".join(f"{id}\n" for id in shallow))
                file.flush()
                where = ("--shallow-file", file.name, *self._store.where)
                asked = "".join(f"{line}\n" for line in revisions).encode()
                listing = ("rev-list", "--objects", "--missing=allow-any", "--stdin")
                objects = self._store.git.run(where, *listing, asked=asked).decode("utf-8", "surrogateescape")
            return self._start(objects.splitlines(), revisions=False)()

    def _start(self, request: list[str], *options: str, revisions: bool = True) -> Callable[[], Sent | None]:
        """Starts a pack of `revisions`, or of these objects; the result waits for it, and is None without objects."""
        if not request:
            return lambda: None
        arguments = (*COMMAND, *(REVISIONS if revisions else ()), *options)
        asked = "".join(f"{line}\n" for line in request).encode("utf-8", "surrogateescape")
        key = hashlib.sha256(repr(arguments).encode() + asked).hexdigest()[:32]
        for path in self._store.packs.glob(f"{key}-*"):  # of an interrupted run: its upload can resume
            pack = Pack(digest=path.name.removeprefix(f"{key}-"), size=path.stat().st_size)
            return lambda: (pack, path)
        process = self._store.git.start(self._store.where, *arguments, asked=asked)
        return lambda: self._receive(process, key)

    def _receive(self, process: subprocess.Popen[bytes], key: str) -> Sent | None:
        """Stores the output of `pack-objects`."""
        descriptor, name = mkstemp(prefix="incomplete-", dir=self._store.packs)
        digest, size, head = hashlib.sha256(), 0, b""
        try:
            with open(descriptor, "wb", buffering=0) as file:
                for piece in self._store.git.output(process):
                    head = head or piece[:EMPTY_PACK]
                    digest.update(piece)
                    file.write(piece)
                    size += len(piece)
            if not int.from_bytes(head[8:EMPTY_PACK]):
                return None
            path = self._store.packs / f"{key}-{digest.hexdigest()}"
            os.replace(name, path)
        finally:
            Path(name).unlink(missing_ok=True)
        return Pack(digest=digest.hexdigest(), size=size), path


def _outgrown(packs: Sequence[Pack]) -> bool:
    """Whether increments have more than half the size of what they build on."""
    first, grown = (sum(pack.size for pack in part) for part in (packs[:2], packs[2:]))
    return grown > max(first / 2, LARGE_FILES)


def remove_old(folder: Path) -> None:
    """Removes packs that were made long ago and never submitted."""
    for path in folder.iterdir():
        if time.time() - path.stat().st_mtime > KEPT_SECONDS:
            path.unlink(missing_ok=True)
