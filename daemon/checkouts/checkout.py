"""A job's checkout: one tar, or layers that jobs share."""

from __future__ import annotations

import hashlib
import os
import posixpath
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from daemon.checkouts import content as contents
from daemon.checkouts import stack as stacks
from daemon.checkouts import tar_members
from daemon.checkouts.content import Content
from daemon.checkouts.objects import FILE, LINK, Objects, kind
from daemon.checkouts.packs import Source
from daemon.checkouts.plan import Plan, key_of, make_plan, pack_members, small_members
from daemon.checkouts.snapshot import Snapshot
from daemon.checkouts.stack import Stack
from daemon.checkouts.tar_members import Member
from daemon.checkouts.trees import Totals
from daemon.executors.base import Checkout, CheckoutOptions, Layer

ROOT = (0, 0)


class GitCheckout(Checkout):
    """See Checkout. Methods raise BadWorkspace, OSError."""

    def __init__(self, source: Source, snapshot: Snapshot, options: CheckoutOptions) -> None:
        self._source = source
        self._snapshot = snapshot
        self._options = options
        self._chosen = snapshot.chosen(options)
        self._content: Content = contents.content_of(snapshot, self._chosen) if options.files else []
        totals = [one.totals for one in self._chosen] if options.files else []
        self._totals = Totals(sum(one.entries for one in totals), sum(one.bytes for one in totals), 0)

    @property
    def size(self) -> int:
        """See Checkout. `.git` counts as the workspace's packs, of which it has a part."""
        return self._totals.bytes + sum(pack.size for pack in self._source.ref.packs)

    def names(self) -> frozenset[str]:
        """See Checkout."""
        with Objects(self._source.view()) as objects:
            found = {os.fsdecode(part.prefix + item[0]) for part, item in contents.items(objects, self._content)}
        return frozenset(found | {os.fsdecode(part.prefix + b".git") for part in self._content if part.top})

    def hashes(self, wanted: Callable[[str], bool]) -> dict[str, str]:
        """See Checkout."""
        files: dict[str, str] = {}
        links: dict[str, str] = {}
        with Objects(self._source.view()) as objects:
            for part, (path, mode, key) in contents.items(objects, self._content):
                if kind(mode) in (FILE, LINK):
                    (files if kind(mode) == FILE else links)[os.fsdecode(part.prefix + path)] = key
            asked = {name for name in files | links if wanted(name)}
            if not asked:
                return {}
            return _Hashes(objects, files, links).of(asked)

    def tar(self) -> Path:
        """See Checkout."""
        name = f"tar-{key_of(self._source.ref, self._options_key())}"
        pinned = self._source.pin(name)
        if pinned is None:
            with Objects(self._source.view()) as objects:
                plan, small = make_plan(self._source, objects, self._snapshot, self._options, None)
                with self._source.making(name):
                    pinned = self._source.pin(name) or self._make_tar(name, objects, plan, small)
        return pinned / "tar"

    def _make_tar(self, name: str, objects: Objects, plan: Plan, small: Path) -> Path:
        with self._source.shelf.partial() as partial:
            files = contents.members(objects, self._content)
            git = [*pack_members(self._source, plan.repositories, slice(None)), *small_members(plan, small)]
            with (partial / "tar").open("wb") as out:
                for piece in tar_members.stream(objects, _once([*files, *git]), ROOT, opened=False):
                    out.write(piece)
            return self._source.put(name, partial)

    def _options_key(self) -> list[object]:
        options = self._options
        return [options.depth, options.files, options.submodules, options.submodule_paths, options.submodule_depth]

    def layers(self, owner: tuple[int, int], *, opened: bool) -> Sequence[Layer]:
        """See Checkout."""
        stack = stacks.find_stack(self._source, self._content, self._totals) if self._content else None
        with ExitStack() as closing:
            known = closing.enter_context(stacks.known_indexes(self._source, stack)) if stack else None
            objects = closing.enter_context(Objects(self._source.view()))
            plan, small = make_plan(self._source, objects, self._snapshot, self._options, known)
        if self._content and stack is None:
            stack = stacks.make_base(self._source, self._content, self._totals, small)
        maker = _LayerMaker(owner, opened)
        return [*(self._file_layers(maker, stack) if stack else []), *self._git_layers(maker, plan, small)]

    def _file_layers(self, maker: _LayerMaker, stack: Stack) -> Iterator[Layer]:
        source, base, delta = self._source, stack.base, stack.delta

        def whole() -> Iterator[bytes]:
            with stacks.base_objects(source, stack) as objects:
                yield from maker.stream(objects, contents.members(objects, base.content))

        yield maker.layer(f"files-{stack.name}", base.bytes, whole)
        if delta is not None:
            content = self._content

            def changes() -> Iterator[bytes]:
                with Objects(source.view()) as objects:
                    yield from maker.stream(objects, stacks.delta_members(content, delta))

            yield maker.layer(f"files-{stacks.base_name(content)}-on-{stack.name}", delta.blobs, changes)

    def _git_layers(self, maker: _LayerMaker, plan: Plan, small: Path) -> Iterator[Layer]:
        source = self._source
        for which in (plan.repositories[:1], plan.repositories[1:]):
            for parts in (slice(0, 1), slice(1, None)):
                members = list(_once(pack_members(source, which, parts)))
                key = key_of([(one.git_dir, [pack.set for pack in one.packs[parts]]) for one in which])
                if members:
                    yield maker.of_members(f"git-{key}", members)
        yield maker.of_members(f"index-{small.name}", list(_once(small_members(plan, small))))


class _LayerMaker:
    """Makes layers for one owner."""

    def __init__(self, owner: tuple[int, int], opened: bool) -> None:
        self._owner = owner
        self._opened = opened

    def stream(self, source: Objects | None, members: Iterable[Member]) -> Iterator[bytes]:
        """The tar of a layer, which begins with the project directory itself."""
        top = tar_members.directory(b".", contents.PROJECT_MODE)
        return tar_members.stream(source, [top, *members], self._owner, opened=self._opened)

    def layer(self, key: str, size: int, archive: Callable[[], Iterator[bytes]]) -> Layer:
        """A layer of this content for the owner."""
        return Layer(f"{key}-{self._owner[0]}-{self._owner[1]}-{self._opened:d}", size, archive)

    def of_members(self, key: str, members: Sequence[Member]) -> Layer:
        """A layer without blobs."""
        return self.layer(key, sum(one.size for one in members), lambda: self.stream(None, members))


def _once(members: Iterable[Member]) -> Iterator[Member]:
    """The members without directories that came before."""
    seen: set[bytes] = set()
    for one in members:
        if one.kind != tarfile.DIRTYPE or one.path not in seen:
            seen.add(one.path)
            yield one


class _Hashes:
    """Content hashes of files and links, by name."""

    def __init__(self, objects: Objects, files: dict[str, str], links: dict[str, str]) -> None:
        self._files = files
        self._links = links
        self._objects = objects
        ends = sorted(set(links.values()))
        contents = objects.read(ends, "blob")
        self._targets = {key: os.fsdecode(target) for key, target in zip(ends, contents, strict=True)}

    def of(self, asked: set[str]) -> dict[str, str]:
        """The hashes of these names; of a link, that of its target and the file there together."""
        ends = {name: self._end(name) for name in asked if name in self._links}
        blobs = sorted({self._files[name] for name in (asked | set(ends.values())) & self._files.keys()})
        hashes = {key: self._objects.sha256(key) for key in blobs}
        found = {name: hashes[self._files[name]] for name in asked & self._files.keys()}
        for name, end in ends.items():
            text = f"{self._targets[self._links[name]]} {hashes[self._files[end]] if end in self._files else ''}"
            found[name] = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
        return found

    def _end(self, name: str) -> str:
        """A link's final target through other links, unless they form a cycle."""
        seen: set[str] = set()
        while name in self._links and name not in seen:
            seen.add(name)
            target = self._targets[self._links[name]]
            name = posixpath.normpath(posixpath.join(posixpath.dirname(name), target))
        return name
