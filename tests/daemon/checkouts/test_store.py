"""The store on disk: shared by processes, bounded, and sound whatever interrupts its makers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from daemon.checkouts.git import BadWorkspace
from daemon.checkouts.store import CheckoutStores
from protocol.workspace import GitWorkspace, Pack
from tests.support.checkouts import FULL, Host, listing
from tests.support.git_workspaces import Client, git

ROOT = Path(__file__).parents[3]
PROCESS = """
import os, shutil, signal, sys
from pathlib import Path
import msgspec
from daemon.checkouts.store import CheckoutStores
from daemon.executors.base import CheckoutOptions
from protocol.workspace import GitWorkspace

store, packs, attempt, limit, die_at, *refs = sys.argv[1:]
steps = 0

def step(event, arguments):
    global steps
    if event in ("os.rename", "os.link", "os.mkdir", "subprocess.Popen") or store in str(arguments[:1]):
        steps += 1
        if steps == int(die_at):
            os.kill(os.getpid(), signal.SIGKILL)

def fetch(pack):
    Path(attempt).mkdir(parents=True, exist_ok=True)
    return Path(shutil.copy(Path(packs) / pack.digest, Path(attempt) / pack.digest))

sys.addaudithook(step)
stores = CheckoutStores(Path(store), int(limit))
for number, ref in enumerate(refs):
    made = stores.workspace(
        msgspec.json.decode(ref, type=GitWorkspace),
        "project",
        fetch,
        Path(attempt) / str(number),
    )
    checkout = made.checkout(CheckoutOptions(depth=0))
    checkout.tar()
    for layer in checkout.layers((0, 0), opened=False):
        for _ in layer.archive():
            pass
print(steps)
"""
"""A worker that checks out workspaces, and kills itself at a given step."""


def process(
    host: Host, attempt: str, *refs: GitWorkspace, die_at: int = 0, limit: int = 1 << 30
) -> subprocess.Popen[str]:
    """A worker process on the host's store."""
    arguments = [host.directory / "store", host.client.packs, host.directory / "jobs" / attempt, limit, die_at]
    command = [
        sys.executable,
        "-c",
        PROCESS,
        *map(str, arguments),
        *(msgspec.json.encode(ref).decode() for ref in refs),
    ]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def refs(client: Client, project: Path) -> list[GitWorkspace]:
    """Two snapshots; the second has another commit, and its packs build on the first's."""
    first = client.workspace(project, depth=0)
    (project / "file0").write_text("committed\n")
    git(project, "commit", "-q", "-a", "-m", "next")
    (project / "file1").write_text("modified\n")
    return [first, client.workspace(project, depth=0, base=first)]


def check(host: Host, project: Path, ref: GitWorkspace, target: Path) -> None:
    """Both ways into a container give the project as it is now."""
    for number, way in enumerate((Host.checkout, Host.stack)):
        made = way(host, ref, target / str(number))
        assert listing(made) == listing(project)
        assert git(made, "status", "--porcelain") == git(project, "status", "--porcelain")
        assert git(made, "fsck", "--strict") == b""


def sets(host: Host) -> list[str]:
    """The names of all sets."""
    return sorted(path.name for path in (host.directory / "store" / "sets").glob("*/*"))


def test_a_pack_is_fetched_and_indexed_once(host: Host, client: Client, refs: list[GitWorkspace]) -> None:
    asked: list[str] = []
    told: list[str] = []

    def fetch(pack: Pack) -> Path:
        asked.append(pack.digest)
        return client.fetch(pack)

    for number, ref in enumerate([*refs, *refs]):
        store = CheckoutStores(host.directory / "store", 1 << 30)  # as another worker of the host
        store.workspace(
            ref, "project", fetch, host.directory / "jobs" / str(number), lambda pack: told.append(pack.digest)
        )
    assert asked == told == [pack.digest for pack in refs[1].packs]
    store.workspace(refs[0], "another project", fetch, host.directory / "jobs" / "x")
    assert len(asked) == len(refs[1].packs) + len(refs[0].packs)


def test_a_further_job_of_a_snapshot_takes_nothing_but_its_tar_from_the_store(
    host: Host, refs: list[GitWorkspace]
) -> None:
    first = host.workspace(refs[0]).checkout(FULL).tar().read_bytes()
    assert host.workspace(refs[0]).checkout(FULL).tar().read_bytes() == first
    pinned = sorted(path.name for path in (host.directory / "jobs" / "2").glob("*/*"))
    assert [name.split("-")[0] for name in pinned] == ["tar"]


def test_a_further_job_of_a_snapshot_fetches_what_was_evicted_meanwhile(
    host: Host, project: Path, refs: list[GitWorkspace], tmp_path: Path
) -> None:
    host.checkout(refs[1], tmp_path / "first")
    host.release()
    shutil.rmtree(host.directory / "store" / "sets")
    check(host, project, refs[1], tmp_path / "again")


def test_a_worker_killed_at_any_step_leaves_a_sound_store(
    host: Host, project: Path, refs: list[GitWorkspace], tmp_path: Path
) -> None:
    whole = process(host, "whole", *refs)
    out, err = whole.communicate(timeout=60)
    assert whole.returncode == 0, err
    steps = int(out)
    assert steps > 100
    for number, die_at in enumerate(range(1, steps, max(1, steps // 12))):
        shutil.rmtree(host.directory)
        killed = process(host, "killed", *refs, die_at=die_at)
        assert killed.wait(60) == -9
        host.release()
        check(host, project, refs[1], tmp_path / str(number))
        host.store.trim()
        assert list((host.directory / "store" / "partial").iterdir()) == []


def test_workers_that_share_a_store(host: Host, project: Path, refs: list[GitWorkspace], tmp_path: Path) -> None:
    """At the same time, with a limit so small that each evicts what the others make."""
    workers = [
        process(host, f"worker{number}", *refs, *refs, limit=limit) for number, limit in enumerate([1 << 30, 1, 1])
    ]
    for worker in workers:
        _, err = worker.communicate(timeout=120)
        assert worker.returncode == 0, err
    check(host, project, refs[1], tmp_path / "out")


def test_what_is_in_use_is_not_evicted(host: Host, project: Path, refs: list[GitWorkspace]) -> None:
    host.store = CheckoutStores(host.directory / "store", 1)
    checkout = host.workspace(refs[1]).checkout(FULL)
    tar = checkout.tar()
    before = tar.read_bytes()
    layers = checkout.layers((0, 0), opened=False)
    archived = [b"".join(layer.archive()) for layer in layers]
    host.store.trim()
    assert tar.read_bytes() == before
    assert [b"".join(layer.archive()) for layer in layers] == archived
    host.release()
    host.store.trim()
    assert sets(host) == []


def test_the_store_stays_below_its_limit(host: Host, client: Client, project: Path, tmp_path: Path) -> None:
    limit = 400_000
    host.store = CheckoutStores(host.directory / "store", limit)
    for number in range(8):
        (project / "large").write_bytes(os.urandom(100_000))
        ref = client.workspace(project, depth=0)
        check(host, project, ref, tmp_path / str(number))
        host.release()
    host.store.trim()
    files = {
        path.stat().st_ino: path.stat().st_size for path in (host.directory / "store").rglob("*") if path.is_file()
    }
    assert 0 < sum(files.values()) <= limit
    check(host, project, ref, tmp_path / "again")


def test_unused_sets_expire(
    host: Host, client: Client, project: Path, refs: list[GitWorkspace], tmp_path: Path
) -> None:
    host.checkout(refs[0], tmp_path / "out")
    host.release()
    store = CheckoutStores(host.directory / "store", 1 << 30, keep_for=3600)
    store.trim()
    assert (before := sets(host)) != []
    for path in (host.directory / "store" / "sets").glob("*/*"):
        os.utime(path, (time.time() - 7200, time.time() - 7200))
    host.workspace(refs[1])  # uses the packs of the first again
    store.trim()
    left = sets(host)
    assert {f"pack-{pack.digest}" for pack in refs[0].packs} <= set(left)
    assert not [name for name in left if name.startswith("tar-")]
    assert [name for name in before if name.startswith("tar-")]


@pytest.mark.parametrize("kind", ["pack", "verified", "plan", "history", "base", "tar"])
@pytest.mark.parametrize("damage", ["truncated", "removed", "note"])
def test_a_damaged_set_is_made_again(
    host: Host, project: Path, refs: list[GitWorkspace], tmp_path: Path, kind: str, damage: str
) -> None:
    """As a crash of the host may leave it."""
    check(host, project, refs[1], tmp_path / "before")
    host.release()
    hit = list((host.directory / "store" / "sets").glob(f"*/{kind}-*"))
    assert hit
    for path in hit:
        for file in path.iterdir():
            if damage == "note" and file.name == "note":
                file.write_bytes(b"")
            elif damage != "note" and file.name != "note":
                data = file.read_bytes()
                file.unlink()
                if damage == "truncated":
                    file.write_bytes(data[: len(data) // 2])
    check(host, project, refs[1], tmp_path / "after")


def test_a_pack_of_zeros_is_indexed_again(host: Host, project: Path, refs: list[GitWorkspace], tmp_path: Path) -> None:
    """Data that the host had not written when its power failed: the size is right."""
    host.workspace(refs[1])
    host.release()
    for path in (host.directory / "store" / "sets").glob("*/pack-*/pack"):
        size = path.stat().st_size
        path.unlink()
        path.write_bytes(bytes(size))
    check(host, project, refs[1], tmp_path / "out")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place], capture_output=True).returncode:
        pytest.skip("no right to mount a tmpfs")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def test_a_full_disk(client: Client, project: Path, small_disk: Path, tmp_path: Path) -> None:
    """It fails the job, and is no trouble when there is room again."""
    (project / "large").write_bytes(os.urandom(600_000))
    ref = client.workspace(project, depth=0)
    host = Host(small_disk, client)
    for _ in range(2):
        with pytest.raises((BadWorkspace, OSError), match="No space left on device"):
            host.checkout(ref, tmp_path / "never")
        host.release()
    assert not (tmp_path / "never").exists()
    assert list((small_disk / "store" / "partial").iterdir()) == []
    subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)
    check(host, project, ref, tmp_path / "out")
