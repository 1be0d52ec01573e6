"""Polls repositories without a hook: what is new at their branches and tags becomes triggers.

What was seen is a file per project, written once the coordinator has the triggers: a launcher killed before asks again,
under the same keys.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import msgspec

from pipeline.git_repository import NO_SHA
from protocol import messages as m
from protocol.client import Client
from protocol.decoders import from_json
from protocol.files import replace_file
from protocol.projects import ProjectSpec, TriggerSpec
from team.mirrors import Refs

MOST_NEW = 100
"""Branches and tags of one poll that start runs: more are an import, not pushes."""


LONGEST_SHOWN = 60


class Seen(msgspec.Struct):
    """What a project's repository had at the poll `number`."""

    number: int = 0
    branches: dict[str, str] = {}
    tags: dict[str, str] = {}


class Poll:
    """The polls of one project. `home` has the files of all."""

    def __init__(self, home: Path, project: str) -> None:
        self._path = home / f"{quote(project, safe='')}.json"

    def seen(self) -> Seen | None:
        """The last poll; None before the first one, or if its file is damaged."""
        try:
            return from_json(self._path.read_bytes(), Seen)
        except (OSError, ValueError):
            return None

    def compare(self, project: ProjectSpec, refs: Refs, client: Client) -> int:
        """Asks for runs of what is new since the last poll, if there was one. Returns their number."""
        seen = self.seen()
        number = seen.number + 1 if seen is not None else 1
        new = list(triggers(project, seen, refs, number)) if seen is not None else []
        if len(new) > MOST_NEW:
            new = []
        for trigger in new:
            client.request(m.AddTrigger, m.TriggerAdded, trigger=trigger)
        if seen is None or (seen.branches, seen.tags) != (refs.branches, refs.tags):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(self._path, msgspec.json.encode(Seen(number, refs.branches, refs.tags)))
        return len(new)


def triggers(project: ProjectSpec, seen: Seen, refs: Refs, number: int) -> Iterator[TriggerSpec]:
    """A push for each branch that has another commit, and for each new or moved tag. Pure."""
    for tag, known, there in ((False, seen.branches, refs.branches), (True, seen.tags, refs.tags)):
        for ref, sha in there.items():
            if known.get(ref) != sha:
                kind = "tag" if tag else "branch"
                yield TriggerSpec(
                    project=project.name,
                    key=f"poll:{number}:{kind}:{sha}:{_short(ref)}",
                    source="push",
                    ref=ref,
                    tag=tag,
                    sha=sha,
                    before_sha=known.get(ref, NO_SHA),
                )


def _short(ref: str) -> str:
    """A ref as a part of a key, whose length is bounded."""
    encoded = ref.encode("utf-8", "surrogateescape")
    return ref if len(ref) <= LONGEST_SHOWN and ref.isprintable() else hashlib.sha256(encoded).hexdigest()[:32]
