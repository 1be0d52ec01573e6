"""A project of a git server in the user's cache: a bare repository with the commits and files that were asked for.

Commits are fetched without history and, where the server can, without files; a file comes when it is read.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import IO

import msgspec

from pipeline.includes.git_fetch import FETCH_SECONDS, REMOTE, GitFetch, NoSuchRef, NotReached, local
from pipeline.includes.records import Provenance
from pipeline.includes.servers import without_credentials
from pipeline.includes.sources import TOO_LARGE, blobs_of
from pipeline.yaml_loader import MAX_FILE_BYTES
from protocol.errors import LongshoreError
from protocol.file_lock import try_lock
from protocol.files import replace_file
from protocol.names import OBJECT_ID
from protocol.workspace import is_ref

FRESH_SECONDS = 60.0
"""Age of an answer about a ref from which the server is asked again."""
UNUSED_SECONDS = 30 * 86400.0
"""Age since the last use at which what was fetched is removed: a project's repository, a remote file."""
MAX_TREE_BYTES = 512 << 20
"""Maximum size of a commit: its directories or, from a server that can't leave them out, all its files."""
MAX_BLOB_BYTES = 32 << 20
"""Maximum size of the files that are fetched at once."""
MAX_FETCHED = 1000
"""Maximum number of files that are fetched at once: more than a pipeline may include."""
LOCK_PAUSE = 0.05
"""Seconds between two attempts to get a repository that another process fetches into."""
_SHORT_SHA = re.compile(r"[0-9a-f]{7,63}\Z")
_CONFIG = "[core]\n\tbare = true\n\trepositoryformatversion = 0\n[gc]\n\tauto = 0\n"


class Freshness(msgspec.Struct, frozen=True):
    """How old an answer may be: asked again after FRESH_SECONDS, at once with `refresh`, never if `offline`."""

    refresh: bool = False
    offline: bool = False


class CachedProject:
    """The project at `address`, called `name` in messages; its repository is in the directory `cache`.

    `check` is called before the server is asked, and raises LongshoreError if that must not be.
    """

    def __init__(
        self,
        git: GitFetch,
        cache: Path,
        address: str,
        name: str,
        freshness: Freshness,
        check: Callable[[], None] | None = None,
    ) -> None:
        self.name = name
        self.shown_address = without_credentials(address)
        self.directory = cache / f"{hashlib.sha256(self.shown_address.encode()).hexdigest()[:32]}.git"
        self._git = git
        self._address = address
        self._freshness = freshness
        self._check = check
        self._asked: set[str] = set()
        self._missing: dict[str, str] = {}
        self._failure: NotReached | None = None

    def commit(self, ref: str, *, fixed: bool = False) -> str:
        """The commit of a branch, a tag or a full SHA; of the default branch if `ref` is empty.

        A `fixed` ref never moves. Raises NoSuchRef, LongshoreError; what failed is not tried again.
        """
        if ref in self._missing:
            raise NoSuchRef(self._missing[ref])
        try:
            return self._commit(ref, fixed=fixed)
        except NoSuchRef as error:
            self._missing[ref] = str(error)
            raise

    def _commit(self, ref: str, *, fixed: bool) -> str:
        if ref and (ref.startswith(("-", "@")) or not is_ref(b"refs/heads/" + ref.encode("utf-8", "surrogatepass"))):
            raise NoSuchRef(f"{ref[:200]!r} can't be the name of a branch, a tag or a commit")
        if OBJECT_ID.fullmatch(ref):
            return self._exact(ref)
        known = self._answer(f"ref {ref}", fixed=fixed)
        if known is not None:
            return known
        with self._locked():
            target = f"refs/longshore/{hashlib.sha256(ref.encode()).hexdigest()[:32]}"
            self._fetch(f"+{ref or 'HEAD'}:{target}", at=ref)
            found = local(self.directory, "rev-parse", "--verify", "--quiet", f"{target}^{{commit}}")
            if found is None:
                raise NoSuchRef(f"{ref!r} of {self.name} is no commit")
            self._keep_answer(f"ref {ref}", commit := found.decode().strip())
        return commit

    def tags(self) -> dict[str, str]:
        """All tags and their commits."""
        listed = self._answer("tags")
        if listed is None:
            with self._locked():
                listed = self._run(("ls-remote", "--tags", REMOTE), "its tags", MAX_BLOB_BYTES).decode(
                    "utf-8", "replace"
                )
                self._keep_answer("tags", listed)
        found: dict[str, str] = {}
        for line in listed.splitlines():
            sha, _, name = line.partition("\t")
            found[name.removeprefix("refs/tags/").removesuffix("^{}")] = sha  # a tag's commit follows the tag
        return found

    def _exact(self, sha: str) -> str:
        if not self._has(sha):
            if self._freshness.offline:
                raise LongshoreError(self._never_fetched(sha))
            with self._locked():
                self._fetch(f"+{sha}:refs/longshore/{sha}", at=sha)
        return sha

    def _has(self, commit: str) -> bool:
        if not self.directory.is_dir():
            return False
        return local(self.directory, "cat-file", "-e", f"{commit}^{{tree}}") is not None

    def _fetch(self, refspec: str, *, at: str) -> None:
        options = ("--quiet", "--depth=1", "--filter=blob:none", "--no-tags", "--no-write-fetch-head")
        try:
            self._run(("fetch", *options, REMOTE, refspec), at, MAX_TREE_BYTES)
        except NoSuchRef:
            mend = "; write all 40 digits of a commit" if _SHORT_SHA.match(at) and not OBJECT_ID.fullmatch(at) else ""
            what = f"branch, tag or commit {at!r}" if at else "commit"
            raise NoSuchRef(f"{self.name} has no {what}{mend} ({self.shown_address})") from None

    def fetch_files(self, ids: Iterable[str], path: str) -> None:
        """Fetches files by their ids; `path` is the first one's."""
        if self._freshness.offline:
            raise LongshoreError(f"{path} of {self.name} was never fetched, and --offline is set; {_ONLINE}")
        with self._locked():
            options = ("--quiet", "--filter=blob:none", "--no-tags", "--no-write-fetch-head")
            # Without negotiation: the server would take a file of a commit that is here for one that is here too.
            command = ("-c", "fetch.negotiationAlgorithm=noop", "fetch", *options, REMOTE, *ids)
            self._run(command, "files", MAX_BLOB_BYTES)

    def _run(self, command: tuple[str, ...], what: str, limit: int) -> bytes:
        at = f" ({what})" if what else ""
        doing = f"fetching {self.name}{at} from {self.shown_address}"
        if self._failure is not None:
            raise type(self._failure)(str(self._failure))
        if self._check is not None:
            self._check()
        try:
            return self._git.run(self.directory, self._address, command, doing, limit)
        except BaseException as error:
            if isinstance(error, NotReached):
                self._failure = error
            for left in self.directory.glob("objects/pack/tmp_*"):  # of a process that was ended
                left.unlink(missing_ok=True)
            raise

    def _answer(self, question: str, *, fixed: bool = False) -> str | None:
        """The server's last answer, unless it has to be asked; None. Raises LongshoreError offline without one."""
        path = self._path(question)
        try:
            answer, age = path.read_text("utf-8"), time.time() - path.stat().st_mtime
        except OSError:
            if self._freshness.offline:
                raise LongshoreError(self._never_fetched(question.partition(" ")[2])) from None
            return None
        if self._freshness.offline or question in self._asked:
            return answer
        if self._freshness.refresh or not (fixed or 0 <= age < FRESH_SECONDS):
            return None
        return answer

    def _keep_answer(self, question: str, answer: str) -> None:
        self._asked.add(question)
        replace_file(self._path(question), answer.encode())

    def _path(self, question: str) -> Path:
        return self.directory / f"answer-{hashlib.sha256(question.encode()).hexdigest()[:32]}"

    def _never_fetched(self, ref: str) -> str:
        at = f" at {ref!r}" if ref else ""
        return f"{self.name}{at} of {self.shown_address} was never fetched, and --offline is set; {_ONLINE}"

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """The repository, made if need be, while no other process fetches into it."""
        try:
            self._make()
            with (self.directory / "fetching").open("a") as lock:
                self._wait_for(lock)
                yield
        except OSError as error:
            said = f"the cache of included projects can't be written: {self.directory}: {error.strerror}"
            raise LongshoreError(f"{said}; XDG_CACHE_HOME names another directory") from None

    def _wait_for(self, lock: IO[str]) -> None:
        until = time.monotonic() + FETCH_SECONDS
        while not try_lock(lock.fileno()):
            if time.monotonic() > until:
                raise LongshoreError(f"another process has been fetching {self.name} for {FETCH_SECONDS:.0f} s")
            time.sleep(LOCK_PAUSE)

    def _make(self) -> None:
        if not self.directory.is_dir():
            self.directory.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            _remove_unused(self.directory.parent)
        for folder in ("objects/pack", "objects/info", "refs/longshore"):
            (self.directory / folder).mkdir(parents=True, exist_ok=True, mode=0o700)
        os.utime(self.directory)
        if not (self.directory / "HEAD").exists():
            (self.directory / "config").write_text(_CONFIG)
            (self.directory / "HEAD").write_text("ref: refs/heads/none\n")  # last: what makes it a repository


class FetchedTree:
    """The files of a fetched commit."""

    def __init__(self, project: CachedProject, commit: str, label: str, provenance: Provenance) -> None:
        self.label = label
        self.provenance = provenance
        self._project = project
        self._commit = commit
        self._sizes: dict[str, int] = {}
        self._contents: dict[str, bytes] = {}

    @property
    def files(self) -> list[str]:
        return list(self._ids)

    @cached_property
    def _ids(self) -> dict[str, str]:
        return blobs_of(self._query("ls-tree", "-r", "-z", self._commit))

    def prefetch(self, paths: Iterable[str]) -> None:
        """Reads several files, and fetches those that are missing with one connection; others don't exist."""
        wanted = dict.fromkeys(self._ids[path] for path in paths if path in self._ids)
        ids = [id for id in itertools.islice(wanted, MAX_FETCHED) if id not in self._sizes]
        if not ids:
            return
        missing = self._look_up(ids)
        if missing:
            self._project.fetch_files(missing, next(path for path, id in self._ids.items() if id == missing[0]))
            self._look_up(missing)
        readable = [id for id in ids if self._sizes.get(id, MAX_FILE_BYTES + 1) <= MAX_FILE_BYTES]
        answer = self._query("cat-file", "--batch", asked=readable)
        for id in readable:
            start = answer.index(b"\n") + 1
            self._contents[id] = answer[start : start + self._sizes[id]]
            answer = answer[start + self._sizes[id] + 1 :]

    def read(self, path: str) -> bytes | None:
        id = self._ids.get(path)
        if id is None:
            return None
        try:
            self.prefetch([path])
        except LongshoreError as error:
            raise LongshoreError(f"can't be read: {error}") from None
        if id not in self._sizes:
            raise LongshoreError(f"can't be read: {self._project.shown_address} did not send it")
        if id not in self._contents:
            raise LongshoreError(TOO_LARGE)
        return self._contents[id]

    def _look_up(self, ids: list[str]) -> list[str]:
        """Notes the sizes of those files that were fetched; returns the others."""
        lines = self._query("cat-file", "--batch-check=%(objectsize)", asked=ids).decode().splitlines()
        self._sizes.update({id: int(line) for id, line in zip(ids, lines, strict=True) if line.isdigit()})
        return [id for id in ids if id not in self._sizes]

    def _query(self, *command: str, asked: Iterable[str] = ()) -> bytes:
        directory = self._project.directory
        answer = local(directory, *command, asked="".join(f"{id}\n" for id in asked).encode())
        if answer is None:
            raise LongshoreError(f"the cache of {self._project.name} is damaged; remove {directory}")
        return answer


_ONLINE = "run once without it"


def _remove_unused(cache: Path) -> None:
    with suppress(OSError):
        for directory in cache.iterdir():
            if time.time() - directory.stat().st_mtime > UNUSED_SECONDS:
                shutil.rmtree(directory, ignore_errors=True)
