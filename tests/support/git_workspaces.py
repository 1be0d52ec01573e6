"""Workspaces of git repositories, made with plain git commands as a client makes them."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from protocol.workspace import GitWorkspace, IndexEntry, Manifest, Modes, Pack, RepositoryManifest

WHO = {
    f"GIT_{role}_{what}": value
    for role in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "Tester"), ("EMAIL", "tester@example.org"), ("DATE", "2024-01-01T00:00:00Z"))
}
ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "HOME": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "LC_ALL": "C",
    "GIT_CONFIG_COUNT": "3",
    "GIT_CONFIG_KEY_0": "protocol.file.allow",
    "GIT_CONFIG_VALUE_0": "always",
    "GIT_CONFIG_KEY_1": "init.defaultBranch",
    "GIT_CONFIG_VALUE_1": "main",
    "GIT_CONFIG_KEY_2": "maintenance.auto",  # a process of its own after each commit
    "GIT_CONFIG_VALUE_2": "false",
    **WHO,
}


def git(where: Path, *arguments: str | bytes, told: bytes = b"", **more: str) -> bytes:
    """A git command's output."""
    done = subprocess.run(
        ["git", "-C", str(where), *arguments], input=told, capture_output=True, check=False, env=ENVIRONMENT | more
    )
    assert done.returncode == 0, (arguments, done.stderr)
    return done.stdout


def text(where: Path, *arguments: str) -> str:
    """A git command's output as text."""
    return git(where, *arguments).decode().strip()


class Client:
    """Makes workspaces of a project: a repository of its own beside it, and the packs in `packs`, by digest."""

    def __init__(self, directory: Path, object_format: str = "sha1") -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.packs = directory / "packs"
        self.packs.mkdir()
        self.own = directory / "own"
        subprocess.run(
            ["git", "init", "-q", "--bare", f"--object-format={object_format}", str(self.own)],
            check=True,
            env=ENVIRONMENT,
        )
        (self.own / "info").mkdir(exist_ok=True)
        (self.own / "info" / "attributes").write_text("* -text -eol -ident -filter -working-tree-encoding\n")

    def workspace(
        self,
        project: Path,
        *,
        depth: int = 20,
        base: GitWorkspace | None = None,
        refs: Sequence[str] = (),
        modes: Modes | None = None,
        empty: Sequence[bytes] = (),
    ) -> GitWorkspace:
        """The project as it is on disk, with its checked-out submodules; `refs` are refs beside its tags."""
        repositories, trees, staged = self._repositories(project, refs, modes, empty)
        return self.packed(Manifest(repositories=repositories), trees, staged, depth=depth, base=base)

    def packed(
        self,
        manifest: Manifest,
        trees: Sequence[str],
        staged: Sequence[str] = (),
        *,
        depth: int = 20,
        base: GitWorkspace | None = None,
    ) -> GitWorkspace:
        """The workspace of a manifest and its trees."""
        lines = [b"100644 blob %s\tmanifest" % self.blob(msgspec.msgpack.encode(manifest)).encode()]
        lines += [b"040000 tree %s\t%d" % (tree.encode(), number) for number, tree in enumerate(trees)]
        if staged:
            inner = b"\0".join(b"100644 blob %s\t%s" % (key.encode(), key.encode()) for key in sorted(set(staged)))
            lines.append(b"040000 tree %s\tstaged" % git(self.own, "mktree", "-z", told=inner + b"\0").strip())
        snapshot = git(self.own, "mktree", "-z", told=b"\0".join(sorted(lines)) + b"\0").decode().strip()
        heads = [one.head for one in manifest.repositories if one.head]
        commits = sorted({*heads, *(key for one in manifest.repositories for key in one.refs.values())})
        shallow = self._shallow(commits, depth)
        packs = list(base.packs) if base else []
        without = [f"^{one}" for one in (base.commits if base else [])]
        packs.append(self._pack([*(f"--shallow {one}" for one in shallow), *commits, *without], thin=bool(base)))
        packs.append(self._pack([snapshot, *(f"^{one}^{{tree}}" for one in heads)], thin=True))
        return GitWorkspace(snapshot=snapshot, packs=packs, commits=commits, shallow=shallow, depth=depth)

    def blob(self, data: bytes) -> str:
        """A blob's id, once it is in the client's repository."""
        return git(self.own, "hash-object", "-w", "--stdin", told=data).decode().strip()

    def add(self, data: bytes) -> Pack:
        """Any bytes as a pack."""
        digest = hashlib.sha256(data).hexdigest()
        (self.packs / digest).write_bytes(data)
        return Pack(digest=digest, size=len(data))

    def fetch(self, pack: Pack) -> Path:
        """A pack's file."""
        return self.packs / pack.digest

    def _pack(self, revisions: Sequence[str], *, thin: bool) -> Pack:
        options = ["--thin"] if thin else []
        told = "".join(f"{one}\n" for one in revisions).encode()
        return self.add(git(self.own, "pack-objects", "--revs", "--stdout", "-q", *options, told=told))

    def _shallow(self, tips: Sequence[str], depth: int) -> list[str]:
        """What `git clone --depth` has as boundary, and what the project's own is."""
        own = {line for path in self.alternates for line in _lines(path.parent / "shallow")}
        if depth == 0 and not own:
            return []
        level = []
        for tip in tips:
            kind = text(self.own, "cat-file", "-t", tip)
            level += [text(self.own, "rev-parse", f"{tip}^{{commit}}")] if kind in ("commit", "tag") else []
        seen, found = set(level), own & set(level)
        for generation in range(1, depth + 1) if depth else range(1, 1 << 30):
            if generation == depth:
                return sorted(found | set(level))
            above = []
            for one in level:
                if one in own:
                    found.add(one)
                    continue
                head = git(self.own, "cat-file", "commit", one).partition(b"\n\n")[0]
                above += [line[7:].decode() for line in head.splitlines() if line.startswith(b"parent ")]
            level = sorted(set(above) - seen)
            seen |= set(level)
            if not level:
                break
        return sorted(found)

    @property
    def alternates(self) -> list[Path]:
        """Object directories that the client's repository borrows from."""
        return [Path(line) for line in _lines(self.own / "objects" / "info" / "alternates")]

    def _repositories(
        self, project: Path, refs: Sequence[str], modes: Modes | None, empty: Sequence[bytes]
    ) -> tuple[list[RepositoryManifest], list[str], list[str]]:
        places = [(project, b"", b"", 0)]
        repositories, trees, staged = [], [], []
        for number in range(1000):
            if number == len(places):
                break
            top, path, name, parent = places[number]
            self._borrow(top)
            for line in _lines_of(git(top, "ls-files", "--stage", "-z")):
                head, _, inner = line.partition(b"\t")
                if head.startswith(b"160000") and (top / os.fsdecode(inner) / ".git").exists():
                    places.append((top / os.fsdecode(inner), inner, inner, number))
            tree, manifest, more = self._repository(top, refs if number == 0 else ())
            manifest = msgspec.structs.replace(manifest, path=path, name=name, parent=parent)
            if number == 0:
                manifest = msgspec.structs.replace(manifest, modes=modes or Modes(), empty=list(empty))
            repositories.append(manifest)
            trees.append(tree)
            staged += more
        return repositories, trees, staged

    def _borrow(self, top: Path) -> None:
        path = (top / text(top, "rev-parse", "--git-path", "objects")).resolve()
        if path not in self.alternates:
            with (self.own / "objects" / "info" / "alternates").open("a") as file:
                file.write(f"{path}\n")

    def _repository(self, top: Path, refs: Sequence[str]) -> tuple[str, RepositoryManifest, list[str]]:
        index = self.own / "index"
        index.unlink(missing_ok=True)
        own: dict[str, Any] = {"GIT_DIR": str(self.own), "GIT_WORK_TREE": str(top), "GIT_INDEX_FILE": str(index)}
        git(top, "add", "-A", **own)
        tree = git(top, "write-tree", **own).decode().strip()
        on_disk = {path: (mode, key) for mode, key, _, path in _staged(git(top, "ls-files", "-s", "-z", **own))}
        has_head = subprocess.run(["git", "-C", str(top), "rev-parse", "-q", "--verify", "HEAD"], capture_output=True)
        head = has_head.stdout.decode().strip() or None
        heads = {}
        if head:
            for line in _lines_of(git(top, "ls-tree", "-r", "-z", "HEAD")):
                facts, _, path = line.partition(b"\t")
                octal, _, key = facts.decode().split()
                heads[path] = (int(octal, 8), key)
        modified = set(_lines_of(git(top, "diff-files", "--name-only", "-z")))
        status = _lines_of(git(top, "status", "--porcelain=v2", "-z"))
        intended = {line.split(b" ", 8)[8] for line in status if line.startswith(b"1 .A")}
        skipped = {line[2:] for line in _lines_of(git(top, "ls-files", "-t", "-z")) if line.startswith(b"S ")}
        entries: list[IndexEntry] = []
        paths = set()
        for mode, key, stage, path in _staged(git(top, "ls-files", "-s", "-z")):
            paths.add(path)
            clean = path in on_disk and on_disk[path] != (mode, key) and path not in modified and mode != 0o160000
            flags = {"clean": clean, "intent_to_add": path in intended, "skip_worktree": path in skipped}
            if heads.get(path) != (mode, key) or stage or any(flags.values()):
                entries.append(IndexEntry(path=path, mode=mode, id=key, stage=stage, **flags))
        entries += [IndexEntry(path=path, mode=0) for path in heads.keys() - paths]
        known = {key for _, key in heads.values()}
        staged = [one.id for one in entries if one.id and one.id not in known and one.mode != 0o160000]
        named = [*refs, *text(top, "tag").split()]
        pointed = {}
        for name in named:
            full = name if name.startswith("refs/") else f"refs/tags/{name}"
            pointed[full.encode()] = text(top, "rev-parse", full)
        branch = subprocess.run(["git", "-C", str(top), "symbolic-ref", "-q", "--short", "HEAD"], capture_output=True)
        url = subprocess.run(["git", "-C", str(top), "config", "remote.origin.url"], capture_output=True)
        manifest = RepositoryManifest(
            url=url.stdout.decode().strip(),
            head=head,
            branch=branch.stdout.decode().strip(),
            refs=pointed,
            index=entries,
        )
        return tree, manifest, staged


def _lines(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []


def _lines_of(output: bytes) -> list[bytes]:
    return [line for line in output.split(b"\0") if line]


def _staged(output: bytes) -> list[tuple[int, str, int, bytes]]:
    """Mode, id, stage and path of each entry of an index."""
    found = []
    for line in _lines_of(output):
        facts, _, path = line.partition(b"\t")
        mode, key, stage = facts.decode().split()
        found.append((int(mode, 8), key, int(stage), path))
    return found
