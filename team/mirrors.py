"""Bare mirrors of projects' repositories: made, brought up to date, and read for what is at their refs."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import msgspec

from protocol.errors import LongshoreError
from protocol.keys import PRIVATE_DIRECTORY
from protocol.names import OBJECT_ID
from protocol.projects import MergeRequest, check_project_url, is_local
from protocol.workspace import is_ref
from team.git import Access, Git, GitFailed

ASK_SECONDS = 120.0
"""Time to ask a server for its refs."""
QUERY_SECONDS = 120.0
"""Time for a query in a mirror."""
LOCK_SECONDS = 20.0
LOCK = "longshore.busy"
HEADS, TAGS = "refs/heads/", "refs/tags/"
MOST_REFS = 100_000
GC_EVERY = 86_400.0
SHORTEST_SHA = 7


class Refs(msgspec.Struct, frozen=True):
    """What a server has: the commits of branches and the objects of tags by name, and its default branch."""

    branches: dict[str, str] = {}
    tags: dict[str, str] = {}
    default_branch: str = ""

    @property
    def object_format(self) -> str:
        """The repository's object format, as git calls it."""
        some = next(iter(self.branches.values()), "") or next(iter(self.tags.values()), "")
        return "sha256" if len(some) == 64 else "sha1"


def ask(git: Git, access: Access) -> Refs:
    """The refs of a repository, from its server. Raises GitFailed, Ended."""
    output = git.run(None, "ls-remote", "--symref", "--", access.url, access=access, seconds=ASK_SECONDS)
    return parse(output.decode("utf-8", "surrogateescape"))


def parse(listed: str) -> Refs:
    """The output of `git ls-remote --symref`; refs with names that git does not take are left out."""
    branches, tags, default = dict[str, str](), dict[str, str](), ""
    for line in listed.splitlines():
        value, _, name = line.partition("\t")
        if value.startswith("ref: ") and name == "HEAD":
            default = value.removeprefix("ref: ").removeprefix(HEADS)
        elif OBJECT_ID.fullmatch(value) and is_ref(name.encode("utf-8", "surrogateescape")):
            if name.startswith(HEADS):
                branches[name.removeprefix(HEADS)] = value
            elif name.startswith(TAGS) and not name.endswith("^{}"):
                tags[name.removeprefix(TAGS)] = value
    return Refs(branches, tags, default)


class Mirror:
    """One project's mirror. Used by one thread at a time."""

    def __init__(self, git: Git, home: Path, project: str) -> None:
        self._git = git
        self.path = home / f"{quote(project, safe='')}.git"
        self.refs = Refs()
        self._peeled: dict[str, str] = {}  # the commits of tags, by name
        self.updated_at = 0.0
        """Wall time at which the last update began, in this process."""

    def update(self, access: Access) -> None:
        """Brings all branches and tags up to date. Raises GitFailed, Ended, LongshoreError."""
        began = time.time()
        refs = ask(self._git, access)
        if len(refs.branches) + len(refs.tags) > MOST_REFS:
            raise LongshoreError(f"the repository has more than {MOST_REFS} branches and tags")
        self._make(refs.object_format)
        with self._locked() as lock:
            self._fetch(access, lock, f"+{HEADS}*:{HEADS}*", f"+{TAGS}*:{TAGS}*", prune=True)
            self._tidy(lock)
        self.refs = self._read_refs(refs.default_branch)
        self.updated_at = began

    def fetch_commit(self, access: Access, source: str, name: str) -> None:
        """Fetches what the server has at `source`, a ref or a commit, under the name `refs/longshore/NAME`.

        Raises GitFailed, Ended.
        """
        is_name = source.startswith("refs/") and is_ref(source.encode("utf-8", "surrogateescape"))
        if not is_name and not OBJECT_ID.fullmatch(source):
            raise GitFailed(f"{source[:100]!r} is no ref")
        with self._locked() as lock:
            self._fetch(access, lock, f"+{source}:refs/longshore/{name}")

    def fetch_merge_request(self, access: Access, request: MergeRequest) -> None:
        """Fetches the commit of a merge request, from its project or, without a ref there, from the fork.

        Raises GitFailed, Ended, UsageError.
        """
        name = f"merge-requests/{quote(request.iid, safe='')}"
        if request.fetch_ref:
            self.fetch_commit(access, request.fetch_ref, name)
            return
        url = request.source_project_url
        check_project_url(url)
        if not url or is_local(url):
            raise GitFailed("the merge request names no ref and no address to fetch its commit from")
        self.fetch_commit(Access(url), f"{HEADS}{request.source_branch}", name)

    def peeled(self, tag: str) -> str:
        """The commit of a tag that is here."""
        return self._peeled.get(tag, "")

    def commit(self, wanted: str) -> str:
        """The commit that an id, also an abbreviated one or that of a tag, leads to; empty if it is not here."""
        if len(wanted) < SHORTEST_SHA or wanted.strip("0123456789abcdef"):
            return ""
        try:
            found = self.query("rev-parse", "--verify", "--quiet", "--end-of-options", f"{wanted}^{{commit}}")
        except GitFailed:
            return ""
        return found.decode().strip()

    def at_merge_request(self, request: MergeRequest) -> str:
        """The commit of a merge request that was fetched; empty without one."""
        try:
            ref = f"refs/longshore/merge-requests/{quote(request.iid, safe='')}^{{commit}}"
            return self.query("rev-parse", "--verify", "--quiet", ref).decode().strip()
        except GitFailed:
            return ""

    def message(self, commit: str) -> str:
        """A commit's message."""
        return self.query("log", "-1", "--no-show-signature", "--format=%B", commit).decode("utf-8", "replace").strip()

    def author(self, commit: str) -> str:
        """A commit's author: NAME <EMAIL>."""
        return self.query("log", "-1", "--format=%an <%ae>", commit).decode("utf-8", "replace").strip()

    def merge_base(self, one: str, other: str) -> str:
        """The merge base of two commits; empty if they are unrelated or not here."""
        try:
            return self.query("merge-base", one, other).decode().strip()
        except GitFailed:
            return ""

    def changed(self, base: str, commit: str) -> list[str] | None:
        """The files that differ between two commits; None if one is not here."""
        try:
            listed = self.query("diff", "--name-only", "--no-renames", "--no-ext-diff", "-z", base, commit, "--")
        except GitFailed:
            return None
        return [name for name in listed.decode("utf-8", "replace").split("\0") if name]

    def query(self, *arguments: str) -> bytes:
        """The output of a git command in the mirror. Raises GitFailed, Ended."""
        return self._git.run(self.path, *arguments, seconds=QUERY_SECONDS)

    def _make(self, object_format: str) -> None:
        """Makes the repository, anew if the server's has another object format now."""
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=PRIVATE_DIRECTORY)
        stamp = self.path / "longshore.format"  # written last: what was interrupted is made again
        if stamp.exists() and stamp.read_text() == object_format:
            return
        shutil.rmtree(self.path, ignore_errors=True)
        self._git.run(None, "init", "-q", "--bare", "--template=", f"--object-format={object_format}", str(self.path))
        stamp.write_text(object_format)

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """Keeps other processes out, also those that a killed launcher has left; removes locks of dead ones."""
        with (self.path / LOCK).open("a") as file:
            deadline = time.monotonic() + LOCK_SECONDS
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise GitFailed("a fetch that an earlier launcher began is not done yet") from None
                    time.sleep(0.1)
            for stale in _locks(self.path):
                stale.unlink(missing_ok=True)
            yield file.fileno()

    def _fetch(self, access: Access, lock: int, *refspecs: str, prune: bool = False) -> None:
        options = ("--prune",) if prune else ()
        arguments = ("fetch", "--quiet", "--force", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance")
        self._git.run(self.path, *arguments, *options, "--", access.url, *refspecs, access=access, inherited=[lock])

    def _tidy(self, lock: int) -> None:
        """Packs what many fetches have brought, now and then."""
        stamp = self.path / "longshore.gc"
        if not stamp.exists():
            stamp.touch()
        if time.time() - stamp.stat().st_mtime > GC_EVERY:
            os.utime(stamp)
            self._git.run(self.path, "-c", "gc.auto=500", "-c", "gc.autoDetach=false", "gc", "--auto", inherited=[lock])

    def _read_refs(self, default_branch: str) -> Refs:
        """The refs that are here; a tag of anything but a commit is left out."""
        form = "--format=%(objectname) %(objecttype) %(*objectname) %(*objecttype) %(refname)"
        listed = self.query("for-each-ref", form, HEADS, TAGS).decode("utf-8", "surrogateescape")
        branches, tags = dict[str, str](), dict[str, str]()
        self._peeled = {}
        for line in listed.splitlines():
            id, kind, peeled, peeled_kind, name = line.split(" ", 4)
            if name.startswith(HEADS):
                branches[name.removeprefix(HEADS)] = id
            elif "commit" in (kind, peeled_kind):
                tags[name.removeprefix(TAGS)] = id
                self._peeled[name.removeprefix(TAGS)] = peeled or id
        if default_branch not in branches:
            usual = (name for name in ("main", "master") if name in branches)
            default_branch = next(usual, next(iter(branches), ""))
        return Refs(branches, tags, default_branch)


def remove_others(home: Path, projects: Iterable[str]) -> None:
    """Removes the mirrors of projects that are there no longer."""
    kept = {f"{quote(project, safe='')}.git" for project in projects}
    if home.is_dir():
        for path in home.iterdir():
            if path.name not in kept:
                shutil.rmtree(path, ignore_errors=True)


def _locks(path: Path) -> Iterator[Path]:
    yield from path.glob("*.lock")
    yield from (path / "refs").rglob("*.lock")
