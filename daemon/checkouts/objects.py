"""Reads git objects, through `git cat-file`. Every answer is checked against limits before it is read."""

from __future__ import annotations

import hashlib
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from subprocess import Popen
from types import TracebackType
from typing import IO, cast

from daemon.checkouts import git
from daemon.checkouts.git import BadWorkspace, BareRepository

Entry = tuple[int, bytes, str]
"""A tree's entry: git's mode, name, object id."""
AHEAD = 500
"""Requests in flight: fewer bytes than a pipe holds, so that neither side blocks."""
PIPE_BYTES = 1 << 20
COPY_BYTES = 1 << 20
MOST_READ = 1 << 36
"""Bytes that one process may be asked for."""
FACTS = "--batch-check=%(objecttype) %(objectsize)"
LARGEST_OBJECT = 64 << 20
"""Maximum size of an object that is read at once: a tree, commit, tag or manifest."""
LONGEST_LINK = 4095
LONGEST_NAME = 255
FORBIDDEN = (b".", b"..", b".git")
TREE, FILE, LINK, SUBMODULE = 0o040000, 0o100000, 0o120000, 0o160000
"""The kinds of a tree's entries: the file type bits of their modes."""

kind = stat.S_IFMT
"""A mode's kind."""


class Objects:
    """The objects of one bare repository. Not thread-safe. Methods raise BadWorkspace."""

    def __init__(self, repository: BareRepository) -> None:
        self.repository = repository
        self._process: Popen[bytes] | None = None
        self._checker: Popen[bytes] | None = None
        self._trees: dict[str, Sequence[Entry]] = {}

    def __enter__(self) -> Objects:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the git processes."""
        for process in (self._process, self._checker):
            if process is not None:
                git.end(process)
                self.repository.processes.forget(process)
        self._process = self._checker = None

    def batch(self) -> Popen[bytes]:
        """The `git cat-file --batch` of this repository, for `ask` and `answer`."""
        if self._process is None:
            self._process = self.repository.start("cat-file", "--batch", size=MOST_READ, bufsize=PIPE_BYTES)
        return self._process

    def read(self, wanted: Sequence[str], expected: str, limit: int = 0) -> Iterator[bytes]:
        """The contents of objects of the `expected` type, each of at most `limit` bytes."""
        limit = limit or LARGEST_OBJECT
        if not wanted:
            return
        process = self.batch()
        for first in range(0, len(wanted), AHEAD):
            part = wanted[first : first + AHEAD]
            ask(process, part)
            for one in part:
                found, size, out = answer(process, one)
                if found != expected:
                    raise BadWorkspace(f"object {one} is a {found}, not a {expected}")
                if size > limit:
                    raise BadWorkspace(f"object {one} has {size} bytes; at most {limit} are allowed for a {expected}")
                data = out.read(size + 1)
                if len(data) != size + 1:
                    raise BadWorkspace(f"object {one} is damaged")
                yield data[:-1]

    def sha256(self, blob: str) -> str:
        """The sha256 of a blob's content, of any size."""
        process = self.batch()
        ask(process, [blob])
        found, size, out = answer(process, blob)
        hasher = hashlib.sha256()
        while size:
            data = out.read(min(size, COPY_BYTES))
            if found != "blob" or not data:
                raise BadWorkspace(f"object {blob} is damaged, or no blob")
            size -= len(data)
            hasher.update(data)
        out.read(1)
        return hasher.hexdigest()

    def trees(self, wanted: Iterable[str]) -> None:
        """Reads and checks trees that are not known yet."""
        unknown = [one for one in dict.fromkeys(wanted) if one not in self._trees]
        for one, data in zip(unknown, self.read(unknown, "tree"), strict=True):
            self._trees[one] = parse_tree(one, data)

    def tree(self, one: str) -> Sequence[Entry]:
        """A tree's entries."""
        if one not in self._trees:
            self.trees([one])
        return self._trees[one]

    def sizes(self, blobs: Iterable[str]) -> dict[str, int]:
        """The sizes of blobs."""
        wanted = list(blobs)
        sizes = {}
        for one, line in zip(wanted, self._facts(wanted), strict=True):
            if not line.startswith(b"blob "):
                what = "missing" if line.endswith(b" missing") else f"a {line.split(b' ')[0].decode()}, not a blob"
                raise BadWorkspace(f"object {one} is {what}")
            sizes[one] = int(line[5:])
        return sizes

    def types(self, wanted: Sequence[str]) -> list[str]:
        """The types of objects; "missing" for those that are not there."""
        return ["missing" if line.endswith(b" missing") else line.split()[0].decode() for line in self._facts(wanted)]

    def _facts(self, wanted: Sequence[str]) -> Sequence[bytes]:
        """A line for each object: type and size."""
        if len(wanted) > AHEAD:
            out = self.repository.run("cat-file", FACTS, "--buffer", told=git.lines(wanted)).splitlines()
        elif wanted:
            if self._checker is None:
                self._checker = self.repository.start("cat-file", FACTS)
            ask(self._checker, wanted)
            pipe = cast(IO[bytes], self._checker.stdout)
            out = [line.rstrip(b"\n") for _ in wanted if (line := pipe.readline())]
        else:
            return []
        if len(out) != len(wanted):
            raise failure(self._checker, wanted[len(out)])
        return out


def ask(process: Popen[bytes], wanted: Iterable[str]) -> None:
    """Sends requests to a `cat-file --batch`."""
    pipe = cast(IO[bytes], process.stdin)
    try:
        pipe.write(git.lines(wanted))
        pipe.flush()
    except BrokenPipeError:
        pass  # the answer is missing, then


def answer(process: Popen[bytes], one: str) -> tuple[str, int, IO[bytes]]:
    """The head of the answer to a request: type and size; the content and a newline follow."""
    out = cast(IO[bytes], process.stdout)
    head = out.readline().split()
    if len(head) == 3:
        return head[1].decode(), int(head[2]), out
    if not head:
        raise failure(process, one)
    raise BadWorkspace(f"object {one} is missing")


def failure(process: Popen[bytes] | None, one: str) -> BadWorkspace:
    """The error for a git process that ended before its answer."""
    if process is not None and process.wait() == 127:
        return git.no_git()
    return BadWorkspace(f"git could not read object {one}")


_ENTRIES = {size: re.compile(rb"([0-7]{5,6}) ([^\0/]{1,255})\0(.{%d})" % size, re.DOTALL) for size in (20, 32)}


def parse_tree(one: str, data: bytes) -> Sequence[Entry]:
    """A tree's entries; refuses names that are not sound in a project directory, and malformed trees."""
    length = len(one) // 2
    found = _ENTRIES[length].findall(data)
    if sum(len(mode) + len(name) for mode, name, _ in found) + (length + 2) * len(found) != len(data):
        raise BadWorkspace(f"tree {one} is malformed, or has a name with a slash or of more than {LONGEST_NAME} bytes")
    names = {name for _, name, _ in found}
    if len(names) != len(found):
        raise BadWorkspace(f"tree {one} has two entries of one name")
    for name in names:
        if name[:1] == b"." and name.lower() in FORBIDDEN:
            raise BadWorkspace(f"tree {one} has an entry {os_text(name)}, which is not allowed in a project directory")
    entries = [(int(mode, 8), name, key.hex()) for mode, name, key in found]
    for mode, name, _ in entries:
        if kind(mode) not in (TREE, FILE, LINK, SUBMODULE):
            raise BadWorkspace(f"tree {one} has an entry {os_text(name)} of the unknown mode {mode:o}")
    return entries


def os_text(name: bytes) -> str:
    """A name for messages."""
    return repr(name[:200].decode("utf-8", "replace"))
