"""Files of `include:remote`: fetched, checked, and kept in the user's cache directory. Knows nothing of YAML."""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import os
import re
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from threading import Timer
from typing import TYPE_CHECKING

import msgspec

from pipeline.includes.cached_project import UNUSED_SECONDS
from pipeline.includes.git_fetch import PROGRESS_SECONDS
from pipeline.includes.records import Provenance
from pipeline.includes.urls import printable_url, url_name
from protocol.decoders import from_json
from protocol.errors import LongshoreError
from protocol.files import replace_file

if TYPE_CHECKING:
    from pipeline.includes.web import WebClient

TOTAL_SECONDS = 120.0
"""Time for all fetches of a pipeline together; no fetch begins later."""
_INTEGRITY = re.compile(r"sha256-([A-Za-z0-9+/]{43}=)\Z")


class _Kept(msgspec.Struct, frozen=True):
    """The newest kept content of a URL, and when (seconds since the epoch) it was fetched."""

    sha256: str
    fetched_at: float


def digest_of(integrity: str) -> str:
    """The SHA-256, in hex, that `integrity` demands. Raises LongshoreError if it is not `sha256-` and Base64."""
    match = _INTEGRITY.match(integrity)
    with contextlib.suppress(binascii.Error):
        if match is not None:
            return base64.b64decode(match[1], validate=True).hex()
    raise LongshoreError("is not `sha256-` followed by a SHA-256 in Base64: 43 characters and `=`")


def integrity_of(sha256: str) -> str:
    """A digest in hex as `integrity` writes it."""
    return f"sha256-{base64.b64encode(bytes.fromhex(sha256)).decode()}"


class KeptFiles:
    """Fetched files in a directory: contents by digest, and the newest digest of each URL. May be deleted at any time.

    A directory that can't be written to keeps nothing.
    """

    def __init__(self, folder: Path) -> None:
        self._contents = folder / "contents"
        self._urls = folder / "urls"

    def newest(self, url: str) -> _Kept | None:
        """What is known of a URL."""
        try:
            return from_json(self._of(url).read_bytes(), _Kept)
        except (OSError, msgspec.MsgspecError):  # never kept, or damaged
            return None

    def content(self, sha256: str) -> bytes | None:
        """The content with this digest; None if it is not here, or damaged."""
        path = self._contents / sha256
        try:
            data = path.read_bytes()
        except OSError:
            return None
        if hashlib.sha256(data).hexdigest() != sha256:
            return None
        with contextlib.suppress(OSError):
            os.utime(path)
        return data

    def keep(self, url: str, data: bytes, fetched_at: float) -> None:
        """Keeps a URL's content, and removes what was not used for long."""
        sha256 = hashlib.sha256(data).hexdigest()
        with contextlib.suppress(OSError):
            for folder in (self._contents, self._urls):
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            replace_file(self._contents / sha256, data)
            replace_file(self._of(url), msgspec.json.encode(_Kept(sha256, fetched_at)))
            for path in (*self._contents.iterdir(), *self._urls.iterdir()):
                if path.stat().st_mtime < fetched_at - UNUSED_SECONDS:
                    path.unlink()

    def _of(self, url: str) -> Path:
        # A URL may hold a secret: its name here is a digest.
        return self._urls / hashlib.sha256(url.partition("#")[0].encode("utf-8", "surrogatepass")).hexdigest()


class RemoteFiles:
    """Reads files of `include:remote` for one compilation; a URL that is included twice is asked for once.

    `client` makes the client for the first fetch. With `offline` nothing is fetched; with `refresh` nothing kept is
    used. `progress` receives a line when a fetch takes long. `clock` gives seconds since the epoch.
    """

    def __init__(
        self,
        kept: KeptFiles,
        client: Callable[[], WebClient],
        *,
        offline: bool = False,
        refresh: bool = False,
        progress: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._kept = kept
        self._make_client = client
        self._offline = offline
        self._refresh = refresh
        self._progress = progress
        self._clock = clock
        self._client: WebClient | None = None
        self._read: dict[str, bytes] = {}
        self._failed: dict[str, str] = {}
        self._spent = 0.0

    def read(self, url: str, *, integrity: str = "", max_age: float = 0.0, pinned: str = "") -> bytes:
        """The content of a URL: fetched, or kept for at most `max_age` seconds.

        `integrity` is checked. With `pinned`, a SHA-256 in hex from a lock file, it is just that content, fetched only
        if it is not kept. Raises LongshoreError with the reason, to follow the file's name.
        """
        wanted = digest_of(integrity) if integrity else ""
        data = self._pinned(url, pinned) if pinned else self._current(url, wanted, max_age)
        self._read[url] = data
        found = hashlib.sha256(data).hexdigest()
        if wanted and found != wanted:
            raise LongshoreError(f"is not the file that `integrity` demands: it has {integrity_of(found)}")
        return data

    def _pinned(self, url: str, pinned: str) -> bytes:
        data = self._kept.content(pinned)
        if data is None:
            data = self._fetched(url)
            found = hashlib.sha256(data).hexdigest()
            if found != pinned:
                raise LongshoreError(
                    f"has changed since it was locked (sha256 {pinned[:12]}..., now {found[:12]}...); "
                    "accept the change: longshore lock --update"
                )
        return data

    def _current(self, url: str, wanted: str, max_age: float) -> bytes:
        if url in self._read:
            return self._read[url]
        newest = self._kept.newest(url)
        if newest is not None and not self._refresh:
            is_fresh = 0 <= self._clock() - newest.fetched_at < max_age
            # A kept file that `integrity` does not fit is older than the pipeline file: no reason to fail.
            if self._offline or (is_fresh and wanted in ("", newest.sha256)):
                data = self._kept.content(newest.sha256)
                if data is not None:
                    return data
        return self._fetched(url)

    def _fetched(self, url: str) -> bytes:
        if self._offline:
            raise LongshoreError("is not kept on this machine, and nothing is fetched with --offline; fetch it once")
        if url in self._failed:
            raise LongshoreError(self._failed[url])
        if self._spent >= TOTAL_SECONDS:
            raise LongshoreError(f"is not fetched: the includes before it took {TOTAL_SECONDS:g} s together")
        start = time.monotonic()
        told = Timer(PROGRESS_SECONDS, self._progress or _nothing, [f"fetching {printable_url(url)}"])
        told.daemon = True
        told.start()
        try:
            if self._client is None:
                self._client = self._make_client()
            data = self._client.get(url)
        except LongshoreError as error:
            self._failed[url] = str(error)
            raise
        finally:
            told.cancel()
            self._spent += time.monotonic() - start
        self._kept.keep(url, data, self._clock())
        return data


def _nothing(_text: str) -> None:
    """Nobody reads along."""


class RemoteFile:
    """A file of `include:remote`: the only one of its source, because a URL belongs to no project."""

    label = ""

    def __init__(self, files: RemoteFiles, url: str, integrity: str, max_age: float, pinned: str) -> None:
        self.name = printable_url(url)
        self.provenance = Provenance(origin=self.name, lock_key=url_name(url))
        self._files = files
        self._url = url
        self._integrity = integrity
        self._max_age = max_age
        self._pinned = pinned

    @property
    def files(self) -> list[str]:
        return [self.name]

    def read(self, path: str) -> bytes | None:
        if path != self.name:
            raise LongshoreError(f"is no file of a project: {self.name}, which includes it, comes from a URL")
        return self._files.read(self._url, integrity=self._integrity, max_age=self._max_age, pinned=self._pinned)

    def prefetch(self, paths: Iterable[str]) -> None:
        """There is one."""
