"""A cache that the job has not changed is not stored again; when that is not sure, it is."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from daemon.executors.common.environment import Environment
from daemon.executors.docker.api_client import EngineError
from daemon.executors.docker.files.artifacts import FileCollector
from daemon.executors.docker.files.cache_store import CacheStore
from daemon.executors.docker.files.job_cache import Base, JobCaches
from protocol.plan import CacheSpec
from tests.support.docker_jobs import contents

SPEC = CacheSpec(key="new", fallback_keys=["old"], paths=["store/", "none/*"])


class Container:
    """An ended container with files; a value that begins with `-> ` is a symbolic link."""

    def __init__(self, **files: str) -> None:
        self.files = {name.replace("__", "/"): value for name, value in files.items()}
        self.reads = 0

    @contextmanager
    def get_archive(self, _: str, path: str) -> Iterator[io.BytesIO]:
        """As the engine does it."""
        self.reads += 1
        wanted = path.removeprefix("/p").strip("/")
        out = io.BytesIO()
        found = {name: text for name, text in self.files.items() if name == wanted or name.startswith(f"{wanted}/")}
        if not found:
            raise EngineError(404, "not found")
        with tarfile.open(fileobj=out, mode="w") as tar:
            for name, text in found.items():
                info = tarfile.TarInfo(wanted.rpartition("/")[2] + name.removeprefix(wanted))
                if text.startswith("-> "):
                    info.type, info.linkname = tarfile.SYMTYPE, text[3:]
                info.size = 0 if info.issym() else len(text)
                tar.addfile(info, io.BytesIO(text.encode()))
        out.seek(0)
        yield out


class Written:
    """What the job has changed, by name."""

    def __init__(self, *names: str) -> None:
        self._names = names

    def untouched(self, directories: Sequence[str], without: Collection[str]) -> bool:
        """Whether it is below none of them."""
        return not any(f"{name}/".startswith(f"{each}/") for name in self._names for each in (*directories, *without))


class Host:
    """A worker's caches, and jobs with them."""

    def __init__(self, directory: Path) -> None:
        self.store = CacheStore(directory, 1 << 30)

    def job(self, container: Container, *written: str, specs: Sequence[CacheSpec] = (SPEC,)) -> list[str]:
        """A job that finds its caches, and leaves `container`, where it has `written` something. Returns warnings."""
        caches = JobCaches(self.store, "p", specs, ["default"] * len(specs))
        found = caches.find(Environment({}, {}))
        bases = [Base(one.index, one.cached.key, one.cached.note.digest) for one in found if one.cached.note]
        taker = FileCollector(container, "id", "/p", str)  # type: ignore[arg-type]
        caches.save(taker, frozenset, succeeded=True, bases=bases, written=Written(*written))
        return taker.warnings

    def content(self, key: str) -> dict[str, str]:
        """What the cache of this key has."""
        found = self.store.find("p", [key])
        return contents(found.path) if found else {}


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """Without caches."""
    return Host(tmp_path)


def stored_again(host: Host, second: Container, *written: str, specs: Sequence[CacheSpec] = (SPEC,)) -> bool:
    """Whether a second job, which has `written` something, reads its caches out of its container."""
    host.job(second, *written, specs=specs)
    return second.reads > 0


def test_an_untouched_cache_is_kept_without_a_look_at_its_files(host: Host) -> None:
    host.job(Container(store__a="1"))
    second = Container(store__a="never read")
    assert host.job(second, "elsewhere") == []
    assert second.reads == 0
    assert host.content("new") == {"store/a": "1"}


@pytest.mark.parametrize("written", ["store", "store/a", "store/deep/file", "none/file"])
def test_a_cache_with_any_change_is_stored_again(host: Host, written: str) -> None:
    host.job(Container(store__a="1"))
    assert stored_again(host, Container(store__a="2"), written)
    assert host.content("new") == {"store/a": "2"}


def test_an_untouched_cache_of_a_fallback_key_is_the_new_keys_too(host: Host) -> None:
    host.job(Container(store__a="1"), specs=[CacheSpec(key="old", paths=SPEC.paths)])
    second = Container(store__a="never read")
    host.job(second)
    assert second.reads == 0
    assert host.content("new") == host.content("old") == {"store/a": "1"}


OTHER = CacheSpec(key="other", paths=["store/sub/x"])


@pytest.mark.parametrize(
    ("first", "specs"),
    [
        (Container(store__a="1"), [CacheSpec(key="new", paths=["store/", "more"])]),
        (Container(store__link="-> /elsewhere"), [CacheSpec(key="new", paths=["store/", "store/link/*"])]),
        (Container(store__a="1"), [CacheSpec(key="new", paths=["store/"], untracked=True)]),
        (Container(store__a="1"), [SPEC, OTHER]),
    ],
    ids=["other patterns", "files behind a link", "untracked files", "a share of another cache"],
)
def test_a_cache_that_can_change_without_its_own_files_is_stored_again(
    host: Host, first: Container, specs: list[CacheSpec]
) -> None:
    same = len(specs) == 1 and "more" not in specs[0].paths
    host.job(first, specs=specs if same else [SPEC])
    assert stored_again(host, first, specs=specs)


def test_a_cache_that_was_evicted_meanwhile_is_stored_again(host: Host) -> None:
    host.job(Container(store__a="1"))
    caches = JobCaches(host.store, "p", [SPEC], ["default"])
    (found,) = caches.find(Environment({}, {}))
    assert found.cached.note is not None
    base = Base(0, "new", found.cached.note.digest)
    found.cached.path.unlink()
    container = Container(store__a="1")
    taker = FileCollector(container, "id", "/p", str)  # type: ignore[arg-type]
    caches.save(taker, frozenset, succeeded=True, bases=[base], written=Written())
    assert host.content("new") == {"store/a": "1"}
