"""What a repository's index holds beside its head's tree, so that a job's `git status` equals the user's. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from protocol.workspace import IndexEntry

ASSUMED = b"hs"
"""Tags of `ls-files -v` for entries that git assumes to be unchanged."""
SKIPPED = b"Ss"
"""Tags for entries outside of a sparse checkout."""
UNCHANGED = b"."
DELETED = b"D"
MODIFIED = b"M"
GITLINK = 0o160000
HEAD = b"# branch.oid "
BRANCH = b"# branch.head "


class Status:
    """A parsed `git status --porcelain=v2 --branch`.

    `index` are changes of the index by path, `on_disk` paths of changed files, `blobs` ids of their blobs in the index.
    `unmerged` are paths in conflict. `head` and `branch` are None before the first commit, and without a branch.
    """

    def __init__(self, records: Iterable[bytes]) -> None:
        self.index: dict[bytes, bytes] = {}
        self.on_disk: set[bytes] = set()
        self.intended: set[bytes] = set()
        self.unmerged: set[bytes] = set()
        self.blobs: dict[bytes, str] = {}
        self.head: str | None = None
        self.branch: str | None = None
        for record in records:
            if record.startswith(HEAD) and record != HEAD + b"(initial)":
                self.head = record.removeprefix(HEAD).decode()
            elif record.startswith(BRANCH) and record != BRANCH + b"(detached)":
                self.branch = record.removeprefix(BRANCH).decode("utf-8", "replace")
            if record[:1] == b"u":  # the listing of the index has the stages
                self.unmerged.add(record.split(b" ", 10)[10])
            if record[:1] != b"1":
                continue
            fields = record.split(b" ", 8)
            changes, path = fields[1], fields[8]
            if changes[:1] != UNCHANGED:
                self.index[path] = changes[:1]
            if changes[1:] != UNCHANGED:
                self.on_disk.add(path)
            if changes[1:] == MODIFIED:
                self.blobs[path] = fields[7].decode()
            if changes == b".A":
                self.intended.add(path)

    @property
    def paths(self) -> set[bytes]:
        """All paths that it names."""
        return self.index.keys() | self.on_disk | self.intended | self.unmerged


def index_entries(
    listed: Iterable[bytes], found: Status, on_disk_now: Callable[[bytes], tuple[bytes, bytes] | None]
) -> tuple[list[IndexEntry], set[str]]:
    """Entries that differ from the head's tree or have a flag, by path; and ids of blobs that its tree may lack.

    `listed` are lines of `git ls-files --stage -v`, `on_disk_now` tells git's mode and raw id of a file on disk.
    """
    entries: list[IndexEntry] = []
    staged: set[str] = set()
    special = found.index.keys() | found.intended
    for line in listed:
        head, _, path = line.partition(b"\t")
        on_disk = on_disk_now(path)
        same = on_disk is not None and head[2:] == b"%b %b 0" % (on_disk[0], on_disk[1].hex().encode())
        if same and head[:1] == b"H" and path not in special:
            continue  # most files
        changed, intended = path in found.index, path in found.intended
        stage = int(head[-1:])
        if not (changed or intended or stage) and (same or (on_disk is None and head[:1] == b"H")):
            continue
        entry = IndexEntry(
            path=path,
            mode=int(head[2:8], 8),
            id=head[9:-2].decode(),
            stage=stage,
            clean=not (same or stage or intended or on_disk is None or path in found.on_disk),
            intent_to_add=intended,
            skip_worktree=on_disk is None and head[:1] in SKIPPED + ASSUMED,
        )
        if changed or intended or stage or entry.clean or entry.skip_worktree:
            entries.append(entry)
        if (changed or stage) and entry.id is not None and entry.mode != GITLINK:
            staged.add(entry.id)
    entries += [IndexEntry(path=path, mode=0) for path, change in found.index.items() if change == DELETED]
    return sorted(entries, key=lambda entry: (entry.path, entry.stage)), staged
