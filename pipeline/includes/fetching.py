"""Other projects' files: from the user's directories, or fetched from git servers and kept in the user's cache."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pipeline.git_repository import Repository, git_output
from pipeline.includes.cached_project import CachedProject, FetchedTree, Freshness
from pipeline.includes.git_fetch import GitFetch, NoSuchProject, NoSuchRef
from pipeline.includes.network import refuse_local
from pipeline.includes.records import Pin, Provenance, SourceRecord, lock_key
from pipeline.includes.remote_files import KeptFiles, RemoteFile, RemoteFiles
from pipeline.includes.servers import Server, named_server, server_of, without_credentials
from pipeline.includes.sources import Source, mapped_project, remote_file, source_of
from pipeline.includes.urls import printable_url, url_name
from pipeline.includes.versions import highest, is_partial, is_semantic
from pipeline.predefined_variables import GITLAB_VERSION
from pipeline.problems import nearest
from protocol.errors import LongshoreError
from protocol.names import OBJECT_ID
from protocol.places import cache_directory
from protocol.plan import IncludeOptions

if TYPE_CHECKING:
    from pipeline.includes.web import WebClient

GITLAB = "gitlab-org/gitlab"
GITLAB_HOST = "gitlab.com"
TEMPLATES_REF = f"v{GITLAB_VERSION}-ee"
"""The release of GitLab whose templates `include:template` means, unless the user names another."""
LOCK_FILE = ".gitlab-ci.lock.yml"


class Templates(NamedTuple):
    """Where `include:template` files are: `address` is empty for GitLab's own project."""

    address: str = ""
    ref: str = TEMPLATES_REF


def parse_templates(text: str) -> Templates:
    """The option --templates: REF of GitLab's own project, or ADDRESS[@REF] of a copy."""
    if "/" not in text and ":" not in text:
        return Templates(ref=text)
    address, _, ref = text.rpartition("@")
    if not address or "/" in ref or ":" in ref:
        return Templates(text, "")
    return Templates(address, ref)


class Component(NamedTuple):
    """A component's project at the resolved version, and the version, empty if the reference is no released one."""

    source: Source
    version: str


class Fetching:
    """How one compilation fetches, and the files that it has read.

    `server` is the address of the server to use instead of that of `origin`; `cache` the directory for what is
    fetched. With `locked`, every fetched project or file must be in this mapping by lock key, and is read at that
    version; while `locking`, new ones may be missing. `lock_file` is the mapping's file, for messages. With
    `allow_local`, `include:remote` may reach this machine.
    `progress` receives a line when a connection takes over half a second; with `interactive`, git and ssh may ask for
    passwords on the terminal. With `same_group`, git stays in this process's group.
    """

    def __init__(
        self,
        *,
        server: str = "",
        templates: Templates | None = None,
        cache: Path | None = None,
        freshness: Freshness | None = None,
        locked: Mapping[str, Pin] | None = None,
        lock_file: str = LOCK_FILE,
        locking: bool = False,
        allow_local: bool = False,
        progress: Callable[[str], None] | None = None,
        interactive: bool = False,
        same_group: bool = False,
    ) -> None:
        self.server = named_server(server) if server else None
        self.templates = templates or Templates()
        self.cache = cache or cache_directory() / "includes"
        self.freshness = freshness or Freshness()
        self.locked = locked
        self.lock_file = lock_file
        self.locking = locking
        self.allow_local = allow_local
        self.progress = progress
        self.interactive = interactive
        self.same_group = same_group
        self.sources: list[SourceRecord] = []

    @property
    def options(self) -> IncludeOptions:
        """The same for child pipelines, without credentials."""
        address, ref = self.templates
        return IncludeOptions(
            server=str(self.server) if self.server is not None else "",
            templates=without_credentials(f"{address}@{ref}" if address and ref else address or ref),
            offline=self.freshness.offline,
            allow_local=self.allow_local,
        )

    def pin(self, key: str) -> Pin | None:
        """What the lock file says about a lock key; None without a lock file. Raises LongshoreError for a new key."""
        if self.locked is None:
            return None
        pin = self.locked.get(key)
        if pin is None and not self.locking:
            raise LongshoreError(f"{key} is not in {self.lock_file}; add it: longshore lock")
        return pin


class OtherProjects:
    """Sources of other projects, for one compilation.

    `mapped` has the user's directories, which come first. Without `fetching`, nothing is fetched; without
    `repository`, only from a server that `fetching` names.
    """

    def __init__(self, repository: Repository | None, mapped: Mapping[str, Path], fetching: Fetching | None) -> None:
        self.mapped = mapped
        self.fetching = fetching
        self.records: list[SourceRecord] = fetching.sources if fetching is not None else []
        self._repository = repository
        self._git: GitFetch | None = None
        self._remote: RemoteFiles | None = None
        self._projects: dict[str, CachedProject] = {}
        self._trees: dict[tuple[str, str, str], FetchedTree] = {}

    def close(self) -> None:
        """Ends what fetching has left running; called when the compilation ends."""
        if self._git is not None:
            self._git.close()

    def record(self, source: Source, file: str = "", content: bytes | None = None) -> None:
        """Records that a file was read; without `file`, the names of all files."""
        has_digest = content is not None and not source.provenance.commit
        record = SourceRecord(file, source.provenance, hashlib.sha256(content or b"").hexdigest() if has_digest else "")
        if record not in self.records:
            self.records.append(record)

    def project(self, name: str, ref: str | None) -> Source:
        """A project of our server at a ref; by default at its default branch. Raises LongshoreError."""
        root = mapped_project(name, self.mapped)
        if root is not None:
            return source_of(root, ref, f"{name}:")
        if self.fetching is None:
            hint = nearest(name, self.mapped)
            raise LongshoreError(
                f"project {name!r} is not known on this machine; map its directory: --project {name}=DIR"
                + (f" ({hint})" if hint else "")
            )
        key = lock_key(name, ref or "")
        pin = self.fetching.pin(key)
        project = self._project(self._server(self.fetching), name)
        try:
            commit = self._pinned(project, pin) if pin else project.commit(ref or "")
        except NoSuchProject as error:
            if self.fetching.server is not None:
                raise
            raise LongshoreError(f"{error}; if its address begins differently, name that: --server URL") from None
        return self._tree(project, name, Provenance(name, ref or "", commit, project.shown_address, key))

    def remote(self, url: str, integrity: str = "", max_age: float = 0.0) -> tuple[Source, str]:
        """The source of a URL's file, and the file's path in it. Raises LongshoreError.

        A fetched file has to have that `integrity`; a copy that is younger than `max_age` seconds is used.
        """
        mapped = remote_file(url, self.mapped)
        if mapped is not None:
            return mapped
        if self.fetching is None:
            where = printable_url(url).rpartition("/")[0]
            raise LongshoreError(
                f"{printable_url(url)} is not fetched here; map a directory that has it: --project {where}=DIR"
            )
        pin = self.fetching.pin(url_name(url))
        if self._remote is None:
            self._remote = self._remote_files(self.fetching)
        source = RemoteFile(self._remote, url, integrity, max_age, pin.sha256 if pin else "")
        return source, source.name

    def _remote_files(self, fetching: Fetching) -> RemoteFiles:
        def client() -> WebClient:
            from pipeline.includes.web import WebClient

            return WebClient(fetching.allow_local)

        kept = KeptFiles(fetching.cache / "remote")
        offline, refresh = fetching.freshness.offline, fetching.freshness.refresh
        return RemoteFiles(kept, client, offline=offline, refresh=refresh, progress=fetching.progress)

    def templates(self, path: str) -> Source:
        """The project of GitLab's own templates, which has a file at `path`. Raises LongshoreError."""
        root = mapped_project(GITLAB, self.mapped)
        if root is not None:
            return source_of(root, None, f"{GITLAB}:")
        if self.fetching is None:
            raise LongshoreError(
                f"the template is not known on this machine; map a directory that has {path}: --project {GITLAB}=DIR"
            )
        address, ref = self.fetching.templates
        key = lock_key(GITLAB, ref, GITLAB_HOST)
        pin = self.fetching.pin(key)
        project = self._at(address or _web(GITLAB_HOST).address(GITLAB), GITLAB)
        try:
            commit = self._pinned(project, pin) if pin else project.commit(ref, fixed=ref == TEMPLATES_REF)
        except NoSuchRef as error:
            raise LongshoreError(f"{error}; name a ref that it has: --templates REF") from None
        return self._tree(project, GITLAB, Provenance(GITLAB, ref, commit, project.shown_address, key))

    def component(self, host: str, name: str, version: str, own_host: str) -> Component:
        """The project of a component on `host`, `own_host` being our server. Raises LongshoreError."""
        root = mapped_project(name, self.mapped)
        if root is not None:
            return self._mapped_component(root, name, version)
        fetching = self.fetching
        if fetching is None:
            return Component(self.project(name, version), "")
        ours = host == own_host or (fetching.server is not None and host == fetching.server.host)
        key = lock_key(name, version, "" if ours else host)
        project = self._project(self._server(fetching), name) if ours else self._elsewhere(host, name)
        pin = fetching.pin(key)
        if pin is not None:
            commit, resolved = self._pinned(project, pin), pin.version
        else:
            commit, resolved = self._version(project, version)
        label = f"{name}:" if ours else f"{host}/{name}:"
        provenance = Provenance(name, version, commit, project.shown_address, key, resolved)
        return Component(self._tree(project, label.removesuffix(":"), provenance), resolved)

    def _pinned(self, project: CachedProject, pin: Pin) -> str:
        """The commit that the lock file names. Raises LongshoreError if the server has it no more."""
        try:
            return project.commit(pin.commit)
        except NoSuchRef:
            lock_file = self.fetching.lock_file if self.fetching is not None else LOCK_FILE
            raise LongshoreError(
                f"{project.name} has no commit {pin.commit[:12]}, which {lock_file} names ({project.shown_address}); "
                "lock another one: longshore lock --update"
            ) from None

    def _version(self, project: CachedProject, version: str) -> tuple[str, str]:
        """The commit that a component's version stands for, and the version in full."""
        if is_partial(version):
            tags = project.tags()
            tag = highest(tags, version)
            if tag is not None:
                return project.commit(tags[tag]), tag
            if not re.match(r"\d", version):
                raise LongshoreError(f"{project.name} has no released version: no tag like 1.0.0")
        commit = project.commit(version)
        return commit, version if is_semantic(version) and not OBJECT_ID.fullmatch(version) else ""

    def _mapped_component(self, root: Path, name: str, version: str) -> Component:
        listed = git_output(root, "tag", "--list") if is_partial(version) and (root / ".git").exists() else None
        tag = highest(listed.decode("utf-8", "replace").split("\n"), version) if listed else None
        resolved = tag or (version if is_semantic(version) else "")
        return Component(source_of(root, tag or version, f"{name}:"), resolved)

    def _server(self, fetching: Fetching) -> Server:
        if fetching.server is not None:
            return fetching.server
        repository = self._repository
        if repository is None or not repository.remote_address:
            raise LongshoreError(
                "the repository has no remote, so the server of other projects is unknown; "
                "name it: --server URL, or map the project: --project NAME=DIR"
            )
        return server_of(repository.remote_address, repository.root)

    def _project(self, server: Server, name: str) -> CachedProject:
        if server.own and self._repository is not None and name == self._repository.remote.path:
            return self._at(server.own, name)
        return self._at(server.address(name), name)

    def _elsewhere(self, host: str, name: str) -> CachedProject:
        """A project of a server that an include has named, not the user."""
        assert self.fetching is not None

        def check() -> None:
            try:
                refuse_local(host, os.environ)
            except LongshoreError as error:
                raise LongshoreError(f"{name} {error}") from None

        return self._at(_web(host).address(name), name, None if self.fetching.allow_local else check)

    def _at(self, address: str, name: str, check: Callable[[], None] | None = None) -> CachedProject:
        assert self.fetching is not None
        if self._git is None:
            root = self._repository.root if self._repository is not None else self.fetching.cache
            fetching = self.fetching
            self._git = GitFetch(
                root, fetching.progress, interactive=fetching.interactive, same_group=fetching.same_group
            )
        if address not in self._projects:
            self._projects[address] = CachedProject(
                self._git, self.fetching.cache, address, name, self.fetching.freshness, check
            )
        return self._projects[address]

    def _tree(self, project: CachedProject, name: str, provenance: Provenance) -> FetchedTree:
        key = (provenance.origin, provenance.lock_key, provenance.commit)
        if key not in self._trees:
            self._trees[key] = FetchedTree(project, provenance.commit, f"{name}:", provenance)
        return self._trees[key]


def _web(host: str) -> Server:
    if not re.match(r"[A-Za-z0-9.-]+(?::\d+)?\Z|\[[0-9a-fA-F:]+\](?::\d+)?\Z", host):
        raise LongshoreError(f"{host[:100]!r} is not a server's name")
    return Server(f"https://{host}/")
