"""Reads git objects, through `git cat-file`. Every answer is checked against limits before it is read."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from subprocess import Popen
from types import TracebackType
from typing import IO, cast

from daemon.checkouts import git
from daemon.checkouts.git import BadWorkspace

Entry = tuple[int, bytes, str]
"""A tree's entry: git's mode, name, object id."""
AHEAD = 500
"""Requests in flight: fewer bytes than a pipe holds, so that neither side blocks."""
PIPE_BYTES = 1 << 20
COPY_BYTES = 1 << 20
LARGEST_OBJECT = 64 << 20
"""Maximum size of an object that is read at once: a tree, commit, tag or manifest."""
LONGEST_LINK = 4095
LONGEST_NAME = 255
FORBIDDEN = (b".", b"..", b".git")
TREE, FILE, LINK, SUBMODULE = 0o040000, 0o100000, 0o120000, 0o160000
"""The kinds of a tree's entries: the file type bits of their modes."""


def kind(mode: int) -> int:
    """A mode's kind."""
    return stat.S_IFMT(mode)


class Objects:
    """The objects of one bare repository. Not thread-safe. Methods raise BadWorkspace."""

    def __init__(self, repository: Path) -> None:
        self.repository = repository
        self._process: Popen[bytes] | None = None
        self._trees: dict[str, Sequence[Entry]] = {}

    def __enter__(self) -> Objects:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the git process."""
        if self._process is not None:
            end(self._process)
            self._process = None

    def read(self, wanted: Sequence[str], expected: str, limit: int = 0) -> Iterator[bytes]:
        """The contents of objects of the `expected` type, each of at most `limit` bytes."""
        limit = limit or LARGEST_OBJECT
        if not wanted:
            return
        if self._process is None:
            self._process = git.start(self.repository, "cat-file", "--batch", bufsize=PIPE_BYTES)
        for first in range(0, len(wanted), AHEAD):
            part = wanted[first : first + AHEAD]
            ask(self._process, part)
            for one in part:
                found, size, out = answer(self._process, one)
                if found != expected:
                    raise BadWorkspace(f"object {one} is a {found}, not a {expected}")
                if size > limit:
                    raise BadWorkspace(f"object {one} has {size} bytes; at most {limit} are allowed for a {expected}")
                data = out.read(size + 1)
                if len(data) != size + 1:
                    raise BadWorkspace(f"object {one} is damaged")
                yield data[:-1]

    def kind_of(self, one: str) -> tuple[str, bytes]:
        """An object's type and, of a commit or tag, its content."""
        found = git.run(self.repository, "cat-file", "--batch-check=%(objecttype)", told=git.lines([one]))
        name = found.decode().split()[-1]
        if name == "missing":
            raise BadWorkspace(f"object {one} is missing")
        return name, next(self.read([one], name)) if name in ("commit", "tag") else b""

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
        if not wanted:
            return {}
        out = git.run(
            self.repository,
            "cat-file",
            "--batch-check=%(objecttype) %(objectsize)",
            "--buffer",
            told=git.lines(wanted),
        ).split(b"\n")
        sizes = {}
        for one, line in zip(wanted, out, strict=False):
            if not line.startswith(b"blob "):
                what = "missing" if line.endswith(b" missing") else f"a {line.split(b' ')[0].decode()}, not a blob"
                raise BadWorkspace(f"object {one} is {what}")
            sizes[one] = int(line[5:])
        return sizes


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
        if process.wait() == 127:
            raise git.no_git()
        raise BadWorkspace(f"git could not read object {one}")
    raise BadWorkspace(f"object {one} is missing")


def end(process: Popen[bytes]) -> None:
    """Ends a git process that only reads."""
    process.kill()
    for pipe in (process.stdin, process.stdout):
        try:
            if pipe:
                pipe.close()
        except BrokenPipeError:
            pass
    process.wait()


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
