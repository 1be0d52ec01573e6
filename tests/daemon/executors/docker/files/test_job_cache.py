"""Caches come back in the next job of the same project and key, and make room for each other by last use."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from daemon.executors.base import Checkout, CheckoutOptions, Dependencies
from daemon.executors.docker.executor import DockerExecutor
from daemon.executors.docker.files.artifacts import Selection
from daemon.executors.docker.files.cache_store import CacheStore
from daemon.executors.docker.files.job_cache import file_keys_of
from daemon.tar_stream import Member
from protocol.compression import LEVEL
from protocol.plan import ArtifactsSpec, CacheSpec
from tests.support.docker_jobs import WORKER, Ran, run_job, tar_of, tar_workspace
from tests.support.plans import assignment, variables


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """Where collected files go."""
    path = tmp_path / "scratch"
    path.mkdir()
    return path


def with_cache(executor: DockerExecutor, scratch: Path, spec: CacheSpec, *commands: str, **job: Any) -> Ran:
    """A job that shows what its cache brought, then runs `commands`."""
    workspace = job.pop("workspace", None)
    return run_job(
        executor,
        assignment("cat store/* 2>/dev/null || echo nothing", *commands, caches=[spec], **job),
        workspace=workspace if isinstance(workspace, Path) else None,
        scratch=scratch,
    )


def checkout(path: Path) -> Checkout:
    """The project directory of a job whose workspace is this tar."""
    return tar_workspace(path).checkout(CheckoutOptions())


def brought(ran: Ran) -> str:
    """The first line of what was in the cache."""
    return ran.lines[1]


FILL = "mkdir -p store; echo $VALUE >store/file"


def test_what_one_job_leaves_the_next_one_finds(executor: DockerExecutor, scratch: Path) -> None:
    spec = CacheSpec(key="k-$NAME", paths=["store/"])
    first = with_cache(executor, scratch, spec, FILL, variables=variables(NAME="a", VALUE="one"))
    assert brought(first) == "nothing"
    assert brought(with_cache(executor, scratch, spec, variables=variables(NAME="a"))) == "one"
    assert brought(with_cache(executor, scratch, spec, variables=variables(NAME="b"))) == "nothing"
    assert (
        brought(with_cache(executor, scratch, spec, project="other/project", variables=variables(NAME="a")))
        == "nothing"
    )
    fallback = CacheSpec(key="new", fallback_keys=["none", "k-$NAME"], paths=["store/"])
    assert brought(with_cache(executor, scratch, fallback, variables=variables(NAME="a"))) == "one"


def test_policy_and_when_say_what_is_taken_and_what_is_left(executor: DockerExecutor, scratch: Path) -> None:
    def run(policy: str, value: str, end: str = "true", when: str = "on_success") -> str:
        spec = CacheSpec(key="k", paths=["store"], policy=policy, when=when)  # type: ignore[arg-type]
        return brought(with_cache(executor, scratch, spec, FILL, end, variables=variables(VALUE=value, PULL="pull")))

    assert run("push", "1") == "nothing"
    assert run("$PULL", "2") == "1"
    assert run("pull-push", "3", end="false") == "1"
    assert run("push", "4") == "nothing"
    assert run("pull-push", "5", end="false", when="always") == "4"
    assert run("pull", "6") == "5"


def test_a_key_of_files_follows_their_content(executor: DockerExecutor, scratch: Path, tmp_path: Path) -> None:
    spec = CacheSpec(key_files=["lock", "sub/lock"], key_prefix="p-$NAME", paths=["store"])

    def run(lock: str | None, value: str) -> str:
        workspace = tar_of(tmp_path / "w.tar", {} if lock is None else {"lock": lock})
        job = variables(VALUE=value, NAME="n")
        return brought(
            with_cache(executor, scratch, spec, "echo changed >>lock", FILL, variables=job, workspace=workspace)
        )

    assert run("1", "one") == "nothing"
    assert run("1", "again") == "one"
    assert run("2", "two") == "nothing"
    assert run(None, "none") == "nothing"
    assert run(None, "none") == "none"


LOCKS = {"lock": "1", "a/lock": "1", "a/b/lock": "1", "a/b/other": "1", "[x]/lock": "1", "c/yarn.lock": "1"}


@pytest.mark.parametrize(
    ("pattern", "meant"),
    [
        ("**/lock", {"lock", "a/lock", "a/b/lock", "[x]/lock"}),
        ("*/lock", {"a/lock", "[x]/lock"}),
        ("*", {"lock"}),
        ("./a/../lock", {"lock"}),
        ("a/?/*", {"a/b/lock", "a/b/other"}),
        ("**/*.lock", {"c/yarn.lock"}),
        ("{a,c}/{lock,yarn.lock}", {"a/lock", "c/yarn.lock"}),
        ("[x]/lock", {"[x]/lock"}),
        ("[a-c]/lock", {"a/lock"}),
        ("a/b", {"a/b/lock", "a/b/other"}),
        ("a/", {"a/lock", "a/b/lock", "a/b/other"}),
        ("a/**", {"a/lock", "a/b/lock", "a/b/other"}),
        ("[lock", set()),
        ("$NAME", set()),
        ("none/**", set()),
    ],
)
def test_a_key_of_files_is_made_of_the_contents_of_all_that_a_pattern_matches(
    tmp_path: Path, pattern: str, meant: set[str]
) -> None:
    specs = [CacheSpec(key_files=[pattern, "missing"], paths=["store"])]
    (key,) = file_keys_of(specs, checkout(tar_of(tmp_path / "w.tar", LOCKS)))
    assert (key == "default") is (not meant)
    changing = set()
    for name in LOCKS:
        (other,) = file_keys_of(specs, checkout(tar_of(tmp_path / "w.tar", LOCKS | {name: "2"})))
        if other != key:
            changing.add(name)
    assert changing == meant
    (more,) = file_keys_of(specs, checkout(tar_of(tmp_path / "w.tar", LOCKS | {"unrelated": ""})))
    assert (more != key) is (pattern == "*")


def test_a_key_of_a_file_that_is_a_link_follows_target_and_content(tmp_path: Path) -> None:
    def key(target: str, content: str) -> str:
        path = tar_of(tmp_path / "w.tar", {"real/lock": content, "same/lock": content})
        with tarfile.open(path, "a") as tar:
            for name, linked in (("lock", "hop"), ("hop", target)):
                info = tarfile.TarInfo(name)
                info.type, info.linkname = tarfile.SYMTYPE, linked
                tar.addfile(info)
        return file_keys_of([CacheSpec(key_files=["*o*"], paths=["x"])], checkout(path))[0]

    keys = [key(target, content) for target in ("real/lock", "same/lock", "../out", "lock") for content in "12"]
    assert len(set(keys)) == 6  # what is elsewhere, and a circle, have no content
    assert "default" not in keys


def test_caches_of_one_job_whose_files_are_missing_do_not_share_a_key(
    executor: DockerExecutor, scratch: Path, tmp_path: Path
) -> None:
    specs = [CacheSpec(key_files=[f"{name}.lock"], paths=[name]) for name in ("a", "b")]
    first = run_job(executor, assignment("echo a >a; echo b >b", caches=specs), scratch=scratch)
    assert first.warnings == [f"cache:key:files: no {name}.lock, so the key is `default`" for name in ("a", "b")]
    assert run_job(executor, assignment("cat a b", caches=specs)).lines[1:] == ["a", "b"]


def test_several_caches_and_untracked_files(executor: DockerExecutor, scratch: Path, tmp_path: Path) -> None:
    specs = [CacheSpec(key="a", paths=["a"]), CacheSpec(key="b", untracked=True)]
    workspace = tar_of(tmp_path / "w.tar", {"tracked": "t"})
    show = assignment("ls -A", "echo a >a; echo u >u", caches=specs)
    assert run_job(executor, show, workspace=workspace, scratch=scratch).lines[1:2] == ["tracked"]
    again = assignment("ls -A", "rm -f tracked a u", caches=specs)
    assert run_job(executor, again, workspace=workspace, scratch=scratch).lines[1:4] == ["a", "tracked", "u"]


def test_a_daemon_that_took_the_job_over_saves_under_the_same_key(
    executor: DockerExecutor, scratch: Path, tmp_path: Path
) -> None:
    spec = CacheSpec(key_files=["lock"], paths=["store"])
    workspace = tar_of(tmp_path / "w.tar", {"lock": "1"})
    job = assignment(FILL, caches=[spec], variables=variables(VALUE="x"))
    sandbox = executor.sandbox(job)
    sandbox.prepare(tar_workspace(workspace))
    sandbox.release(Dependencies())
    sandbox.wait()
    other = DockerExecutor(WORKER, coordinator=WORKER, directory=tmp_path / "cache").sandbox(job)
    other.collect(scratch, succeeded=True)
    assert brought(with_cache(executor, scratch, spec, workspace=workspace)) == "x"


def test_a_damaged_cache_is_passed_over_with_a_word_and_once_only(
    executor: DockerExecutor, scratch: Path, tmp_path: Path
) -> None:
    specs = [CacheSpec(key="bad", paths=["a"]), CacheSpec(key="good", paths=["b"])]
    run_job(executor, assignment("head -c 100000 /dev/urandom >a; echo b >b", caches=specs), scratch=scratch)
    store = CacheStore(tmp_path / "cache" / "caches", 1 << 30)
    found = store.find("group/project", ["bad"])
    assert found is not None
    whole = found.path.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"noise" * 500, b""):
        found.path.write_bytes(damaged)
        artifacts = tar_of(tmp_path / "artifacts.tar", {"c": "c"})
        job = assignment("cat b c", caches=specs)
        ran = run_job(executor, job, dependencies=Dependencies([], [artifacts]))
        assert ran.lines[1:] == ["b", "c"], damaged[:10]
        assert [warning.partition(":")[0] for warning in ran.warnings] == ["a cache is skipped"], damaged[:10]
    again = run_job(executor, assignment("cat b", caches=specs))
    assert (again.lines[1:], again.warnings) == (["b"], [])


def test_a_cache_that_can_not_be_saved_fails_nothing_and_takes_nothing_else_away(
    executor: DockerExecutor, scratch: Path, tmp_path: Path
) -> None:
    (tmp_path / "cache").mkdir(exist_ok=True)
    (tmp_path / "cache" / "caches").write_text("in the way")
    spec = ArtifactsSpec(paths=["out"])
    ran = run_job(
        executor,
        assignment("echo x | tee out", caches=[CacheSpec(key="k", paths=["out"])], artifacts=spec),
        scratch=scratch,
    )
    assert ran.archive() == {"out": "x\n"}
    assert [warning.partition(":")[0] for warning in ran.warnings] == ["the cache k is not saved"]


class Files:
    """Takes one file of a given size, that no compression makes smaller."""

    def __init__(self, size: int) -> None:
        self._size = size

    def level(self, _: str) -> int:
        """Of compression."""
        return LEVEL

    def take(self, _: Selection, out: object) -> bool:
        """Into the archive."""
        out.add(Member("file", tarfile.REGTYPE, self._size), iter([os.urandom(self._size)]))  # type: ignore[attr-defined]
        return True


def test_the_least_recently_used_caches_go_when_there_are_too_many(tmp_path: Path) -> None:
    store = CacheStore(tmp_path, 100_000)
    for index, key in enumerate(["old", "used", "new"]):
        store.store("p", key, Files(30_000), Selection(()))  # type: ignore[arg-type]
        found = store.find("p", [key])
        assert found is not None
        os.utime(found.path, (1000 + index, 1000 + index))
    assert store.find("p", ["missing", "used"]) is not None
    store.store("p", "newest", Files(30_000), Selection(()))  # type: ignore[arg-type]
    assert [key for key in ("old", "used", "new", "newest") if store.find("p", [key])] == ["used", "newest"]


def test_a_cache_that_a_job_may_be_about_to_read_stays_though_there_is_no_room(tmp_path: Path) -> None:
    store = CacheStore(tmp_path, 10_000)
    store.store("p", "large", Files(30_000), Selection(()))  # type: ignore[arg-type]
    found = store.find("p", ["large"])
    assert found is not None
    store.store("p", "another", Files(1_000), Selection(()))  # type: ignore[arg-type]
    assert found.path.exists()
    os.utime(found.path, (1000, 1000))
    store.trim()
    assert not found.path.exists()


def test_what_a_killed_worker_has_left_half_stored_goes_after_a_day(tmp_path: Path) -> None:
    store = CacheStore(tmp_path, 100_000)
    store.store("p", "k", Files(1000), Selection(()))  # type: ignore[arg-type]
    (cached,) = tmp_path.glob("*/*")
    old, young = cached.with_name("old.partial"), cached.with_name("young.partial")
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, (1000, 1000))
    store.trim()
    assert sorted(path.name for path in tmp_path.glob("*/*")) == sorted([cached.name, "young.partial"])


def test_caches_that_nobody_has_used_for_long_go_with_the_sweep_if_that_is_asked_for(tmp_path: Path) -> None:
    for keep_for, left in ((None, ["old", "new"]), (3600.0, ["new"])):
        executor = DockerExecutor(WORKER, coordinator=WORKER, directory=tmp_path, keep_caches=keep_for)
        store = CacheStore(tmp_path / "caches", 100_000)
        for key in ("old", "new"):
            store.store("p", key, Files(1000), Selection(()))  # type: ignore[arg-type]
        old = store.find("p", ["old"])
        assert old is not None
        os.utime(old.path, (1000, 1000))
        executor.sweep(set())
        assert [key for key in ("old", "new") if store.find("p", [key])] == left


def test_a_damaged_cache_is_none_and_is_replaced(executor: DockerExecutor, scratch: Path, tmp_path: Path) -> None:
    spec = CacheSpec(key="k", paths=["store/"])
    fill = "mkdir -p store; head -c 100000 /dev/urandom >store/random; echo $VALUE >store/file"
    with_cache(executor, scratch, spec, fill, variables=variables(VALUE="x" * 5000))
    (archive,) = (tmp_path / "cache" / "caches").glob("*/*.tar.zst")
    for number, damage in enumerate(("garbage", "cut short", "damaged inside", "directory")):
        data = archive.read_bytes()
        archive.unlink()
        middle = len(data) // 2
        inside = data[:middle] + bytes(100) + data[middle + 100 :]
        if damage == "directory":
            archive.mkdir()
        else:
            archive.write_bytes(
                {"garbage": b"garbage" * 1000, "cut short": data[:middle], "damaged inside": inside}[damage]
            )
        ran = with_cache(executor, scratch, spec, fill, variables=variables(VALUE=f"new-{number}"))
        assert (brought(ran), ran.outcome.exit_code) == ("nothing", 0), damage
        if damage != "directory":
            assert any("damaged" in warning for warning in ran.warnings), damage
        assert archive.is_file(), damage
    assert brought(with_cache(executor, scratch, spec)) == "new-3"


def test_garbage_among_the_caches_keeps_leftovers_from_nothing(executor: DockerExecutor, tmp_path: Path) -> None:
    executor = DockerExecutor(
        WORKER, coordinator=WORKER, directory=tmp_path / "cache", cache_limit=10, keep_caches=0.001
    )
    garbage = tmp_path / "cache" / "caches" / "x" / "directory.tar.zst"
    (garbage / "deep").mkdir(parents=True)
    os.utime(garbage, (0, 0))
    executor.sandbox(assignment("true")).prepare(None)
    assert executor.sweep(set()) == 1
