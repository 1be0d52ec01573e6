"""Files for a job's container: its workspace, artifacts and file variables, owned by the container's user."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from daemon.executors.base import Checkout
from daemon.executors.common import archives
from daemon.executors.common.archive_guard import Clash
from daemon.executors.docker.api_client import GO_DIRECTORY, GO_SYMLINK
from daemon.executors.docker.container_user import owner_of
from daemon.executors.docker.files.artifacts import ABOUT_FILES
from daemon.executors.docker.shared import SharedResources
from daemon.tar_stream import ROOT, Owner
from protocol.messages import Assignment
from protocol.plan import ArtifactsSpec


class SandboxFiles:
    """Files of the container of this name. Methods that talk to the engine raise EngineError, EngineUnavailable.

    `owner` is the files' owner, the container's user; None until determined. `id` is the container's, once known. If
    the project is `opened`, everybody in the container may write to it.
    """

    def __init__(self, site: SharedResources, assignment: Assignment, container: str, *, opened: bool) -> None:
        self.owner: Owner | None = None
        self.id: str | None = None
        self.opened = opened
        self._site = site
        self._engine = site.engine
        self._assignment = assignment
        self._container = container

    def note(self, checkout: Checkout | None) -> None:
        """Records the workspace's names for another daemon, if they matter when files are collected: files outside it
        are `untracked`, and a coverage report is about files in it.
        """
        job = self._assignment.job
        artifacts = job.artifacts or ArtifactsSpec()
        about_files = ABOUT_FILES & artifacts.reports.keys()
        if any(cache.untracked for cache in job.caches) or artifacts.untracked or about_files:
            self._note_names(checkout.names() if checkout else ())

    def _note_names(self, names: Iterable[str]) -> None:
        self._site.directory.mkdir(parents=True, exist_ok=True)
        self._site.listing(self._container).write_text(json.dumps(sorted(names)))

    def note_view(self, checkout: Checkout) -> None:
        """The workspace is in a view: records for another user than root what `lay_workspace` would have learned."""
        if self._find_owner() != ROOT:
            names = checkout.names()
            self._note_names(names)
            self._note_directories({above for name in names for above in archives.parents(name)})

    def note_links(self, links: Iterable[str]) -> None:
        """Records the symbolic links of caches in a view: nothing may be unpacked through them."""
        self._site.directory.mkdir(parents=True, exist_ok=True)
        self._site.links(self._container).write_text(json.dumps(sorted(links)))

    def _links(self) -> list[str]:
        note = self._site.links(self._container)
        return json.loads(note.read_text()) if note.exists() else []

    def known_names(self) -> frozenset[str]:
        """The names recorded by `note`."""
        return frozenset(json.loads(self._site.listing(self._container).read_text()))

    def _find_owner(self) -> Owner:
        if self.owner is None:
            facts = self._engine.call("GET", f"/containers/{self.id or self._container}/json")
            self.owner = owner_of(self._engine, self.id or self._container, facts["Config"]["User"])
        return self.owner

    def lay_workspace(self, workspace: Path) -> None:
        """Unpacks the workspace's tar into the project directory."""
        self._lay_in([[workspace]], archives.Place(self._find_owner(), self._directories(), opened=self.opened))

    def lay_in(self, paths: Sequence[Path]) -> None:
        """Unpacks tars over the workspace, as one archive: a container takes 30 ms per archive, however small.

        If a later one replaces directories of an earlier one, they are unpacked separately.
        """
        owner = self._find_owner()
        self._note_met(paths)
        try:
            self._lay_in([paths], archives.Place(owner, self._directories(), links=self._links()))
        except Clash:
            self._lay_in([[path] for path in paths], archives.Place(owner, self._directories(), links=self._links()))

    def _note_met(self, paths: Sequence[Path]) -> None:
        """Records those names of the workspace without files below them that tars put files below, if they are
        directories or links; in a view only the engine knows.
        """
        if self.owner == ROOT or not self._site.listing(self._container).exists():
            return
        known = set(self._directories())
        above = {parent for path in paths for name in archives.names(path) for parent in archives.parents(name)}
        container, project = self.id or self._container, self._assignment.project_dir
        met = {
            name
            for name in above & self.known_names() - known
            if (self._engine.mode_of(container, f"{project}/{name}") or 0) & (GO_DIRECTORY | GO_SYMLINK)
        }
        if met:
            self._note_directories(known | met)

    def _lay_in(self, parts: Sequence[Sequence[Path]], place: archives.Place) -> None:
        """Unpacks each part as one archive; links out of the project directory, if any, form another one."""
        container, directory = self.id or self._container, self._assignment.project_dir
        for paths in parts:
            before = frozenset(place.directories)

            def tar(paths: Sequence[Path] = paths, before: frozenset[str] = before) -> Iterator[bytes]:
                place.directories = set(before)  # reset for a retry after a lost engine
                return archives.joined(paths, place)

            self._engine.put_archive(container, directory, tar)
            if place.leaving:
                self._engine.put_archive(container, "/", lambda: place.leaving.archive(directory, place.owner))
        if place.owner != ROOT:
            self._note_directories(place.directories)

    def _note_directories(self, directories: Iterable[str]) -> None:
        self._site.directory.mkdir(parents=True, exist_ok=True)
        self._site.directories(self._container).write_text(json.dumps(sorted(directories)))

    def _directories(self) -> list[str]:
        """Directories, and links that may be such, unpacked before for a user other than root."""
        note = self._site.directories(self._container)
        return json.loads(note.read_text()) if self.owner != ROOT and note.exists() else []

    def lay_ground(self, files: Mapping[str, str]) -> None:
        """Creates the project directory for the user (the engine would make it root's), and file variables."""
        owner = self._find_owner()
        directory = self._assignment.project_dir
        self._engine.put_archive(
            self.id or self._container,
            "/",
            lambda: archives.groundwork(directory, files, owner, opened=self.opened),
        )
