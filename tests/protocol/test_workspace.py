"""Names of refs: the same ones that git takes."""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Callable

import pytest

from protocol.workspace import is_branch, is_ref

PIECES = [
    *(b"a", b"HEAD", b"@", b"{", b"-", b".", b"/", b".lock", b".lock/", b"/.", b"..", b"//"),
    *(b"~", b"^", b":", b"?", b"*", b"[", b"]", b"\\", b" ", b"\t", b"\n", b"\x7f", b"\xff", "ä".encode()),
]
NAMES = [b"", *PIECES, *map(b"".join, itertools.product([b"a", b"a/b", *PIECES[:12]], repeat=2))]
NAMES += [b"a%bb" % one for one in PIECES] + [b"feature/x.locked", b"v1.0-rc.1", b"a" * 300, b"refs/heads/a"]


def git_takes(*arguments: bytes) -> bool:
    return subprocess.run([b"git", b"check-ref-format", *arguments], capture_output=True).returncode == 0


@pytest.mark.parametrize(("ours", "arguments"), [(is_ref, ()), (is_branch, (b"--branch",))], ids=["ref", "branch"])
def test_a_name_is_taken_if_git_takes_it(ours: Callable[[bytes], bool], arguments: tuple[bytes, ...]) -> None:
    names = [name for name in NAMES if arguments or not name.startswith(b"-")]  # which would be an option
    taken = {name: git_takes(*arguments, name) for name in names}
    assert {name: ours(name) for name in names} == taken
    assert {True, False} == set(taken.values())
