"""A small workspace comes in the container's environment; the job sees no difference to one that the engine unpacks."""

from __future__ import annotations

import base64
import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import docker
import pytest

from daemon.executors.base import Dependencies, JobFailed
from daemon.executors.docker.api_client import DockerClient
from daemon.executors.docker.executor import DockerExecutor
from daemon.executors.docker.files import inline_workspace
from daemon.executors.docker.files.inline_workspace import MOST_BYTES, InlineWorkspaces, packed
from protocol.messages import Assignment
from protocol.plan import ImageSpec
from tests.support.docker_jobs import WORKER, container_name, run_job, tar_of, tar_workspace
from tests.support.images import BROKEN_TAR, BUSYBOX, DEBIAN, ENTRYPOINT, NO_TAR
from tests.support.plans import assignment, variables

BINARY = bytes(range(256)) * 3
MTIME = 946_684_800


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A tar as the command line makes it, with all that is easily lost."""
    path = tmp_path / "workspace.tar"
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        for name, mode, data in (("run.sh", 0o755, b"echo ran\n"), ("sub/é 日", 0o640, BINARY), ("empty", 0o600, b"")):
            info = tarfile.TarInfo(name)
            info.mode, info.size, info.mtime = mode, len(data), MTIME
            tar.addfile(info, io.BytesIO(data))
        directory = tarfile.TarInfo("nothing/in it")
        directory.type, directory.mode = tarfile.DIRTYPE, 0o750
        tar.addfile(directory)
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "run.sh"
        tar.addfile(link)
    return path


@pytest.fixture
def brings(docker_client: docker.DockerClient) -> Callable[[Assignment], bool]:
    """Whether the container of a job, which is there, has its workspace in its environment."""

    def look(job: Assignment) -> bool:
        environment = docker_client.containers.get(container_name(job)).attrs["Config"]["Env"]
        return any(entry.startswith("LONGSHORE_WORKSPACE=") for entry in environment)

    return look


@pytest.mark.parametrize("image", [BUSYBOX, DEBIAN])
def test_a_workspace_is_the_same_whoever_unpacks_it(
    executor: DockerExecutor, brings: Callable[[Assignment], bool], workspace: Path, image: str
) -> None:
    """The first one for an image is unpacked by the engine."""
    logs = []
    for given in (False, True):
        job = assignment(
            'stat -c "%a %u:%g %Y %s %F %n" run.sh sub/* empty "nothing/in it"; stat -c "%a %u:%g" .',
            "readlink link; sha256sum sub/*; ./run.sh; ls -A | wc -l; env | grep -c LONGSHORE || true",
            image=image,
            variables=variables(PATH="/nowhere:/bin:/usr/bin", TAR_OPTIONS="--exclude=*"),
        )
        sandbox = executor.sandbox(job)
        try:
            sandbox.prepare(tar_workspace(workspace))
            assert brings(job) is given
            sandbox.release(Dependencies())
            log = bytearray()
            sandbox.follow_log(0, log.extend)
            assert sandbox.wait().exit_code == 0, log.decode()
            logs.append(log.decode().splitlines())
        finally:
            sandbox.remove()
    assert logs[0] == logs[1]
    assert logs[1][-3:] == ["ran", "5", "0"]


def test_what_was_learnt_of_an_image_outlives_the_daemon(
    executor: DockerExecutor, brings: Callable[[Assignment], bool], tmp_path: Path
) -> None:
    _get_to_know(executor, tmp_path)
    job = assignment("true")
    sandbox = DockerExecutor(WORKER, coordinator=WORKER, directory=tmp_path / "cache").sandbox(job)
    try:
        sandbox.prepare(tar_workspace(tar_of(tmp_path / "w.tar", {"a": "x"})))
        assert brings(job)
    finally:
        sandbox.remove()


@pytest.mark.parametrize("held", [True, False], ids=["held", "at once"])
def test_what_dependencies_leave_is_laid_over_it(
    executor: DockerExecutor, brings: Callable[[Assignment], bool], tmp_path: Path, held: bool
) -> None:
    _get_to_know(executor, tmp_path)
    job = assignment("cat a b")
    sandbox = executor.sandbox(job)
    try:
        sandbox.prepare(tar_workspace(tar_of(tmp_path / "w.tar", {"a": "workspace\n", "b": "workspace\n"})))
        assert brings(job)
        if held:
            sandbox.hold()
            sandbox = executor.sandbox(job)  # another daemon goes on
        sandbox.release(Dependencies([], [tar_of(tmp_path / "left.tar.gz", {"b": "left\n"}, mode="w:gz")]))
        log = bytearray()
        sandbox.follow_log(0, log.extend)
        assert log.decode().splitlines()[1:] == ["workspace", "left"]
    finally:
        sandbox.remove()


@pytest.mark.parametrize("archives", [0, 1], ids=["alone", "with artifacts"])
def test_a_workspace_that_can_not_be_unpacked_fails_the_job_with_tar_s_words(
    executor: DockerExecutor, tmp_path: Path, archives: int
) -> None:
    _get_to_know(executor, tmp_path, BROKEN_TAR)
    workspace = tar_of(tmp_path / "w.tar", {"a": "x"})
    left = [tar_of(tmp_path / "left.tar", {"b": "x"})] * archives
    with pytest.raises(JobFailed, match=r"exit code 71.*can not be unpacked: no room"):
        run_job(
            executor, assignment("true", image=BROKEN_TAR), workspace=workspace, dependencies=Dependencies([], left)
        )


@pytest.mark.parametrize(
    ("image", "files"),
    [
        (ImageSpec(name=BUSYBOX, user="user"), {}),
        (ImageSpec(name=ENTRYPOINT, user="root"), {}),
        (ImageSpec(name=NO_TAR), {}),
        (ImageSpec(name=BUSYBOX), {"large": "x" * MOST_BYTES}),
        (ImageSpec(name=BUSYBOX), {"l" * 150: "x"}),
    ],
    ids=["not root", "entrypoint", "no tar", "large", "long name"],
)
def test_what_is_not_sure_to_go_well_is_left_to_the_engine(
    executor: DockerExecutor,
    brings: Callable[[Assignment], bool],
    tmp_path: Path,
    image: ImageSpec,
    files: dict[str, str],
) -> None:
    _get_to_know(executor, tmp_path, image.name)
    job = assignment("ls | wc -l", image=image)
    sandbox = executor.sandbox(job)
    try:
        sandbox.prepare(tar_workspace(tar_of(tmp_path / "w.tar", files or {"a": "x"})))
        assert not brings(job)
    finally:
        sandbox.remove()
    assert run_job(executor, job, workspace=tmp_path / "w.tar").lines[-1] == "1"


def test_the_text_of_a_workspace_is_its_members(tmp_path: Path) -> None:
    text = packed(tar_of(tmp_path / "w.tar.gz", {"a": BINARY, "b/": ""}, mode="w:gz"), opened=False)
    assert text is not None
    with tarfile.open(fileobj=io.BytesIO(base64.b64decode(text))) as tar:
        assert [member.name for member in tar] == ["a", "b"]
        assert len(text) < 5000  # without the padding of a tar file


def test_a_file_that_several_jobs_have_links_of_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []

    def packed_once(workspace: Path, *, opened: bool) -> str | None:
        read.append(workspace)
        return packed(workspace, opened=opened)

    monkeypatch.setattr(inline_workspace, "packed", packed_once)
    workspaces = InlineWorkspaces(DockerClient(), tmp_path)
    tar = tar_of(tmp_path / "w.tar", {"a": "x"})
    os.link(tar, tmp_path / "link.tar")
    other = tar_of(tmp_path / "other.tar", {"a": "y"})
    texts = [workspaces.text(path, opened=False) for path in (tar, tmp_path / "link.tar", other)]
    assert texts == [packed(path, opened=False) for path in (tar, tar, other)]
    assert workspaces.text(tar, opened=True) == packed(tar, opened=True) != texts[0]
    assert read == [tar, other, tar]


def _get_to_know(executor: DockerExecutor, folder: Path, image: str = BUSYBOX) -> None:
    """Prepares a job of an image for the first time."""
    sandbox = executor.sandbox(assignment("true", image=image))
    try:
        sandbox.prepare(tar_workspace(tar_of(folder / "first.tar", {"first": ""})))
    finally:
        sandbox.remove()
