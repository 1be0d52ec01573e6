"""Large caches are layers of a job's view: not unpacked for it, and not stored again unless it has changed them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from daemon.executors.base import Dependencies
from daemon.executors.docker.executor import DockerExecutor
from daemon.executors.docker.files.cache_store import CacheStore
from protocol.plan import ArtifactsSpec, CacheSpec, ImageSpec
from tests.daemon.executors.docker.layers.conftest import Volumes
from tests.support.docker_jobs import WORKER, Ran, run_job, tar_of, tar_workspace
from tests.support.eventually import eventually
from tests.support.images import BUSYBOX
from tests.support.plans import assignment, unsatisfied

SPEC = CacheSpec(key="k", paths=["store/"])
FILL = (
    "mkdir -p store/deep; head -c 5000000 /dev/urandom >store/large; echo one >store/deep/file; ln -s large store/link"
)
SHOW = "cat store/deep/file"


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """Where collected files go."""
    path = tmp_path / "scratch"
    path.mkdir()
    return path


@pytest.fixture
def stored(tmp_path: Path) -> CacheStore:
    """The executor's caches."""
    return CacheStore(tmp_path / "cache" / "caches", 1 << 30)


@pytest.fixture(scope="module")
def cache_of_fill(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The caches of a worker that a job has filled."""
    folder, owner = tmp_path_factory.mktemp("fill"), f"{WORKER}-f"
    executor = DockerExecutor(owner, coordinator=owner, directory=folder)
    run_job(executor, assignment(FILL, caches=[SPEC]), scratch=tmp_path_factory.mktemp("scratch"))
    executor.close()
    return folder / "caches"


@pytest.fixture
def filled(cache_of_fill: Path, tmp_path: Path) -> None:
    """The executor's caches are as if a job had filled them."""
    shutil.copytree(cache_of_fill, tmp_path / "cache" / "caches")


def archive_of(stored: CacheStore, key: str = "k") -> int:
    """Identifies the archive of a cache."""
    found = stored.find("group/project", [key])
    assert found is not None
    return found.path.stat().st_ino


def job(executor: DockerExecutor, scratch: Path, *commands: str, spec: CacheSpec = SPEC) -> Ran:
    """A job with the cache."""
    ran = run_job(executor, assignment(*commands, caches=[spec]), scratch=scratch)
    assert ran.outcome.exit_code == 0, ran.log
    assert ran.warnings == []
    return ran


def test_a_large_cache_is_a_layer_and_kept_as_it_is_unless_changed(
    executor: DockerExecutor, scratch: Path, stored: CacheStore, volumes: Volumes
) -> None:
    job(executor, scratch, FILL)
    first = archive_of(stored)
    assert volumes(True) == []
    assert job(executor, scratch, SHOW, "readlink store/link", "echo x >elsewhere").lines[1:4:2] == ["one", "large"]
    assert len(volumes(True)) == 1
    assert archive_of(stored) == first
    job(executor, scratch, "echo two >store/deep/file")
    assert archive_of(stored) != first
    assert job(executor, scratch, SHOW).lines[-1] == "two"


@pytest.mark.usefixtures("filled")
def test_the_layer_of_a_replaced_cache_goes_with_the_last_job_that_needs_it(
    executor: DockerExecutor, scratch: Path, volumes: Volumes
) -> None:
    other = executor.sandbox(assignment("true", caches=[SPEC]))
    other.prepare(None)
    (old,) = volumes(True)
    job(executor, scratch, "echo two >store/deep/file")
    assert volumes(True) == [old]
    other.remove()
    job(executor, scratch, "echo three >store/deep/file")
    job(executor, scratch, "echo four >store/deep/file")
    eventually(lambda: volumes(True), so=lambda left: left == [old])


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize(
    "change",
    [
        "rm -r store/deep",
        "rm -r store",
        "touch store/new",
        "chmod 600 store/large",
        "mv store away; mkdir store; cp away/large store",
        # one byte, the same size, the same time
        "touch -r store/deep/file t; echo two >store/deep/file; touch -r t store/deep/file",
    ],
)
def test_any_change_is_stored(
    executor: DockerExecutor, scratch: Path, stored: CacheStore, volumes: Volumes, change: str
) -> None:
    before = archive_of(stored)
    ran = run_job(executor, assignment(change, "ls -R store || true", caches=[SPEC]), scratch=scratch)
    assert (archive_of(stored) != before) is (change != "rm -r store")
    if change == "rm -r store":  # nothing to store, as ever
        assert ran.warnings == ["store: no matching files"]
        return
    listing = run_job(executor, assignment("ls -R store", caches=[SPEC])).lines[1:]
    assert listing == ran.lines[ran.lines.index("$ ls -R store || true") + 1 :]


def test_a_directory_above_the_cache_that_the_job_has_replaced_is_a_change(
    executor: DockerExecutor, scratch: Path, stored: CacheStore, volumes: Volumes
) -> None:
    spec = CacheSpec(key="k", paths=["above/store/", "none/"])
    fill = "mkdir -p above/store; head -c 3000000 /dev/urandom >above/store/large"
    run_job(executor, assignment(fill, caches=[spec]), scratch=scratch)
    first = archive_of(stored)
    run_job(executor, assignment("touch above/other", caches=[spec]), scratch=scratch)
    assert archive_of(stored) == first
    gone = run_job(executor, assignment("rm -r above; mkdir above", caches=[spec]), scratch=scratch)
    assert gone.warnings == ["above/store: no matching files", "none: no matching files"]
    run_job(executor, assignment("mkdir none; touch none/new", caches=[spec]), scratch=scratch)
    assert archive_of(stored) != first


def test_a_cache_that_a_dependency_has_replaced_is_the_new_one_in_a_job_that_was_held_with_the_old(
    executor: DockerExecutor, scratch: Path, volumes: Volumes, tmp_path: Path
) -> None:
    job(executor, scratch, FILL, "touch store/old")
    held = executor.sandbox(assignment("ls store; cat made", caches=[SPEC], dependencies=unsatisfied("make")))
    held.prepare(tar_workspace(tar_of(tmp_path / "w.tar", {"file": "x"})))
    held.hold()
    job(executor, scratch, "rm store/old; touch store/new")
    held.release(Dependencies([], [tar_of(tmp_path / "a.tar", {"made": "made\n"})]))
    log = bytearray()
    held.follow_log(0, log.extend)
    assert held.wait().exit_code == 0
    held.remove()
    assert log.decode().splitlines()[1:5] == ["deep", "large", "link", "new"]


@pytest.mark.usefixtures("filled")
def test_a_held_job_whose_caches_are_still_the_newest_keeps_its_container(
    executor: DockerExecutor, scratch: Path, volumes: Volumes
) -> None:
    held = executor.sandbox(assignment(SHOW, caches=[SPEC]))
    held.prepare(None)
    held.hold()
    (before,) = [found.attempt for found in executor.find()]
    container = held._container.id  # type: ignore[attr-defined]
    held.release(Dependencies())
    assert held._container.id == container  # type: ignore[attr-defined]
    assert held.wait().exit_code == 0
    assert before
    held.remove()


def test_a_cache_that_shares_paths_with_the_checkout_is_unpacked_over_it(
    executor: DockerExecutor, scratch: Path, tmp_path: Path, volumes: Volumes
) -> None:
    workspace = tar_of(tmp_path / "w.tar", {"store/tracked": "tracked\n"})
    run_job(executor, assignment(FILL, caches=[SPEC]), workspace=workspace, scratch=scratch)
    ran = run_job(executor, assignment(SHOW, "cat store/tracked", caches=[SPEC]), workspace=workspace)
    assert ran.lines[1::2] == ["one", "tracked"]
    assert volumes(True) == []


def test_artifacts_do_not_go_through_a_link_of_a_cache_that_is_a_layer(
    executor: DockerExecutor, scratch: Path, tmp_path: Path, volumes: Volumes
) -> None:
    job(executor, scratch, FILL, "ln -s /etc store/out")
    artifacts = tar_of(tmp_path / "a.tar", {"store/out/planted": "x"})
    show = assignment("ls -d store/out/; ls /etc/planted || ls store/out", caches=[SPEC])
    ran = run_job(executor, show, dependencies=Dependencies([], [artifacts]))
    assert len(volumes(True)) == 1
    assert ran.lines[-1] == "planted"
    assert "/etc/planted" not in ran.lines


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("damage", ["cut", "inside"])
def test_a_damaged_cache_is_skipped_with_a_warning(
    executor: DockerExecutor, scratch: Path, stored: CacheStore, volumes: Volumes, damage: str
) -> None:
    found = stored.find("group/project", ["k"])
    assert found is not None
    whole = found.path.read_bytes()
    note = whole[-2000:]
    middle = len(whole) // 2
    damaged = whole[:middle] + (bytes(1000) + whole[middle + 1000 :] if damage == "inside" else note)
    found.path.write_bytes(damaged)
    ran = run_job(executor, assignment("ls", caches=[SPEC]))
    assert (ran.outcome.exit_code, ran.lines[1:]) == (0, [])
    assert [warning.partition(":")[0] for warning in ran.warnings] == ["a cache is skipped"]
    assert run_job(executor, assignment("ls", caches=[SPEC])).warnings == []


def test_another_user_owns_a_cache_in_a_layer(
    executor: DockerExecutor, scratch: Path, tmp_path: Path, volumes: Volumes
) -> None:
    image = ImageSpec(name=BUSYBOX, user="1234:5678")
    run_job(executor, assignment(FILL, caches=[SPEC], image=image), scratch=scratch)
    artifacts = tar_of(tmp_path / "a.tar", {"store/deep/more": "x"})
    show = assignment("stat -c %u:%g store store/deep store/deep/file store/deep/more; touch store/new", image=image,
                      caches=[SPEC])  # fmt: skip
    ran = run_job(executor, show, dependencies=Dependencies([], [artifacts]))
    assert ran.lines[1:5] == ["1234:5678"] * 4
    assert ran.outcome.exit_code == 0
    assert len(volumes(True)) == 1


@pytest.mark.usefixtures("filled")
def test_a_cache_is_not_in_the_job_s_artifacts_unless_asked_for(
    executor: DockerExecutor, scratch: Path, volumes: Volumes
) -> None:
    spec = ArtifactsSpec(paths=["store/deep"])
    ran = run_job(executor, assignment("true", caches=[SPEC], artifacts=spec), scratch=scratch)
    assert ran.archive() == {"store/deep/": "", "store/deep/file": "one\n"}
