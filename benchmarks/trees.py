"""Large git repositories: half of each file is text, half does not compress, as in real ones with their assets."""

from __future__ import annotations

import os
import random
import subprocess
from dataclasses import dataclass
from pathlib import Path

AUTHOR = ["-c", "user.name=Bench", "-c", "user.email=bench@example.com"]
POOL_BYTES = 4 << 20
FILES_PER_DIRECTORY = 100


@dataclass(frozen=True, slots=True)
class Tree:
    """A repository in `folder`."""

    folder: Path

    def change(self) -> None:
        """Changes one small file, to what it has never been."""
        (self.folder / "small").write_text(f"{os.urandom(20).hex()}\n")


def large_repository(folder: Path, pipeline: str, *, files: int, megabytes: int) -> Tree:
    """A repository with one commit, packed as a server would have it."""
    dice = random.Random(1)
    words = ["".join(dice.choices("abcdefghijklmnopqrstuvwxyz", k=dice.randint(2, 9))) for _ in range(3000)]
    pool = " ".join(dice.choices(words, k=POOL_BYTES // 7)).encode()
    half = megabytes * 1_000_000 // files // 2
    for number in range(files):
        path = folder / f"part-{number // FILES_PER_DIRECTORY}" / f"file-{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        start = dice.randrange(max(1, len(pool) - half))
        path.write_bytes(pool[start : start + half] + b"\n" + dice.randbytes(half))
    (folder / ".gitlab-ci.yml").write_text(pipeline)
    (folder / "small").write_text("small\n")
    git(folder, "init", "-q", "-b", "main")
    git(folder, "-c", "core.compression=1", "add", "-A")
    git(folder, "-c", "core.compression=1", *AUTHOR, "commit", "-q", "-m", "Benchmark")
    git(folder, "-c", "gc.autoDetach=false", "repack", "-a", "-d", "-q", "--window=0")
    return Tree(folder)


def git(folder: Path, *arguments: str, asked: bytes = b"") -> bytes:
    """The output of a git command."""
    return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, input=asked).stdout


def sent_by_git(tree: Tree) -> int:
    """Bytes of the pack that `git push` would send for the files as they are; commits them."""
    git(tree.folder, *AUTHOR, "commit", "-q", "-a", "-m", "Change")
    revisions = b"HEAD\n^HEAD~1\n"
    return len(git(tree.folder, "pack-objects", "--revs", "--thin", "--stdout", "-q", asked=revisions))
