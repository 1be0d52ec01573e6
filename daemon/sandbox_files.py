"""Files that go into the container of a job: its workspace, artifacts, variables of type file, as its own user's."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from daemon import archives
from daemon.archives import Owner
from daemon.site import Site
from daemon.users import owner_of
from protocol.messages import Assignment


class SandboxFiles:
    """Of the container of this name. All that talks to the engine raises EngineError, EngineUnavailable.

    `owner` is to whom they belong, the user that the container runs as; None until somebody has found out.
    """

    def __init__(self, site: Site, assignment: Assignment, container: str) -> None:
        self.owner: Owner | None = None
        self._site = site
        self._engine = site.engine
        self._assignment = assignment
        self._container = container

    def note(self, workspace: Path | None) -> None:
        """Files that are not in the workspace are `untracked`; a daemon that collects them may be another one."""
        job = self._assignment.job
        if any(cache.untracked for cache in job.caches) or (job.artifacts and job.artifacts.untracked):
            self._site.directory.mkdir(parents=True, exist_ok=True)
            self._site.listing(self._container).write_text(
                json.dumps(sorted(archives.names(workspace))) if workspace else "[]"
            )

    def known_names(self) -> frozenset[str]:
        """What `note` has noted."""
        return frozenset(json.loads(self._site.listing(self._container).read_text()))

    def _find_owner(self) -> Owner:
        if self.owner is None:
            facts = self._engine.call("GET", f"/containers/{self._container}/json")
            self.owner = owner_of(self._engine, self._container, facts["Config"]["User"])
        return self.owner

    def lay_in(self, paths: Sequence[Path]) -> None:
        """Unpacks tars into the project directory, as one archive: a container takes one in 30 ms, however small."""
        owner = self._find_owner()
        directory = self._assignment.project_dir
        self._engine.put_archive(self._container, directory, lambda: archives.joined(paths, owner))

    def lay_ground(self, files: Mapping[str, str]) -> None:
        """The project directory as the user's own (the engine makes it root's), and variables of type file."""
        owner = self._find_owner()
        directory = self._assignment.project_dir
        self._engine.put_archive(self._container, "/", lambda: archives.groundwork(directory, files, owner))
