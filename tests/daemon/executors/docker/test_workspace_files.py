"""The workspace and what dependencies leave lie in the project directory, as they were, for the user of the image."""

from __future__ import annotations

import gzip
import io
import shutil
import tarfile
from pathlib import Path

import pytest

from daemon.executors.base import Dependencies, JobFailed
from daemon.executors.docker.executor import DockerExecutor
from protocol.plan import ImageSpec, ServiceSpec, Variable
from tests.support.docker_jobs import run_job, tar_of
from tests.support.images import BUSYBOX, DEBIAN, ENTRYPOINT
from tests.support.plans import assignment, variables


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A tar with all that is easily lost: modes, links, empty directories, odd names."""
    path = tmp_path / "workspace.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for name, mode in (
            ("run.sh", 0o755),
            ("with space é日.txt", 0o600),
            ("sub/read only", 0o444),
            ("l" * 150, 0o644),
        ):
            info = tarfile.TarInfo(name)
            info.mode, info.size = mode, 4
            tar.addfile(info, io.BytesIO(b"abc\n"))
        empty = tarfile.TarInfo("empty/dir")
        empty.type, empty.mode = tarfile.DIRTYPE, 0o750
        tar.addfile(empty)
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "with space é日.txt"
        tar.addfile(link)
    return path


@pytest.mark.parametrize(
    ("kept", "modes"), [("true", ["755", "600", "444", "750"]), ("false", ["777", "666", "666", "777"])]
)
def test_links_empty_directories_odd_names_and_if_asked_for_modes_survive(
    executor: DockerExecutor, workspace: Path, kept: str, modes: list[str]
) -> None:
    job = assignment(
        'stat -c "%a %F %n" run.sh with* sub/read* empty/dir link',
        "readlink link",
        "cat link",
        "ls | wc -l",
        "pwd",
        variables=variables(FF_DISABLE_UMASK_FOR_DOCKER_EXECUTOR=kept),
    )
    ran = run_job(executor, job, workspace=workspace)
    assert ran.lines[1:6] == [
        f"{modes[0]} regular file run.sh",
        f"{modes[1]} regular file with space é日.txt",
        f"{modes[2]} regular file sub/read only",
        f"{modes[3]} directory empty/dir",
        "777 symbolic link link",
    ]
    assert ran.lines[7] == "with space é日.txt"
    assert ran.lines[9] == "abc"
    assert ran.lines[11:] == ["6", "$ pwd", "/builds/group/project"]


DROPS = "su user -c 'touch made && mkdir build && touch build/x sub/more && echo more >>run.sh && stat -c %U made'"


@pytest.mark.parametrize("services", [[], [ServiceSpec(name=BUSYBOX, command=["sleep", "60"])]], ids=["", "services"])
@pytest.mark.parametrize("time", ["first", "unpacked by the container"])
def test_a_job_of_root_may_drop_to_a_user_who_works_on_the_project(
    executor: DockerExecutor, workspace: Path, tmp_path: Path, services: list[ServiceSpec], time: str
) -> None:
    if time != "first":
        run_job(executor, assignment("true"), workspace=workspace)
    ran = run_job(executor, assignment(DROPS, services=services), workspace=workspace)
    assert (ran.outcome.exit_code, ran.lines[-1]) == (0, "user")


def test_a_job_whose_files_keep_their_modes_lets_nobody_else_in(executor: DockerExecutor, workspace: Path) -> None:
    kept = variables(FF_DISABLE_UMASK_FOR_DOCKER_EXECUTOR="1")
    ran = run_job(executor, assignment("su user -c 'touch made'", variables=kept), workspace=workspace)
    assert ran.outcome.exit_code != 0


def test_files_of_variables_are_their_user_s_alone(executor: DockerExecutor, workspace: Path) -> None:
    key = Variable(key="KEY", value="secret", file=True)
    ran = run_job(executor, assignment('stat -c %a "$KEY"', variables=[key]), workspace=workspace)
    assert ran.lines[-1] == "600"


def test_a_gzipped_workspace_is_as_good(executor: DockerExecutor, workspace: Path, tmp_path: Path) -> None:
    packed = tmp_path / "workspace.tar.gz"
    with workspace.open("rb") as source, gzip.open(packed, "wb") as target:
        shutil.copyfileobj(source, target)
    assert run_job(executor, assignment("cat run.sh"), workspace=packed).lines[1:] == ["abc"]


@pytest.mark.parametrize(
    ("image", "owner"),
    [
        (ImageSpec(name=ENTRYPOINT), "1000:1000"),
        (ImageSpec(name=BUSYBOX, user="nobody"), "65534:65534"),
        (ImageSpec(name=DEBIAN, user="4321"), "4321:0"),
        (ImageSpec(name=DEBIAN, user="4321:1000"), "4321:1000"),
        (ImageSpec(name=DEBIAN, user="$WHO:$WHO"), "1000:1000"),
    ],
    ids=["of image", "by name", "by number", "with group", "by variable"],
)
def test_a_user_that_is_not_root_owns_the_project(
    executor: DockerExecutor, workspace: Path, tmp_path: Path, image: ImageSpec, owner: str
) -> None:
    left = tar_of(tmp_path / "left.tar.gz", {"made/": "", "made/by-other": "x"}, mode="w:gz")
    job = assignment(
        "echo more >>run.sh; echo new >new; echo more >>made/by-other; rm -r sub; mkdir made/more",
        'stat -c "%u:%g" . run.sh made/by-other',
        "id -u",
        image=image,
        variables=[] if "$" not in (image.user or "") else _who(),
    )
    ran = run_job(executor, job, workspace=workspace, dependencies=Dependencies([], [left]))
    assert ran.outcome.exit_code == 0, ran.log
    assert ran.lines[-5:-2] == [owner] * 3


def _who() -> list[Variable]:
    return variables(WHO="user")


def test_archives_of_dependencies_are_laid_over_the_workspace_in_order(
    executor: DockerExecutor, tmp_path: Path
) -> None:
    workspace = tar_of(tmp_path / "w.tar", {"a": "workspace", "b": "workspace", "c": "workspace"})
    first = tar_of(tmp_path / "1.tar.gz", {"b": "first", "c": "first", "new/deep/file": "first"}, mode="w:gz")
    second = tar_of(tmp_path / "2.tar", {"c": "second"})
    job = assignment("tail -n 3 a b c new/deep/file")
    ran = run_job(executor, job, workspace=workspace, dependencies=Dependencies([], [first, second]))
    assert [line for line in ran.lines[1:] if line and not line.startswith("=")] == [
        "workspace",
        "first",
        "second",
        "first",
    ]


def test_a_job_without_a_workspace_has_an_empty_project_directory(executor: DockerExecutor) -> None:
    assert run_job(executor, assignment("pwd; ls -A | wc -l")).lines[1:] == ["/builds/group/project", "0"]


def test_a_broken_archive_fails_the_job_with_its_name(executor: DockerExecutor, tmp_path: Path) -> None:
    broken = tmp_path / "broken.tar"
    broken.write_bytes(tar_of(tmp_path / "w.tar", {"a": "x" * 5000}).read_bytes()[:2000])
    with pytest.raises(JobFailed, match=r"broken\.tar"):
        run_job(executor, assignment("true"), workspace=broken)


def test_no_archive_writes_outside_of_the_project(executor: DockerExecutor, tmp_path: Path) -> None:
    evil = tar_of(tmp_path / "evil.tar", {"../../../etc/evil": "x"})
    with pytest.raises(JobFailed):
        run_job(executor, assignment("cat /etc/evil"), dependencies=Dependencies([], [evil]))
