"""A job's view of shared layers: it finds the checkout, writes for itself alone, and leaves nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import docker
import pytest

from daemon.executors.base import Dependencies, JobFailed
from daemon.executors.docker.executor import DockerExecutor
from daemon.executors.policy import make_policy
from protocol.plan import ArtifactsSpec, ImageSpec, ServiceSpec, Variable
from tests.daemon.executors.docker.layers.conftest import Volumes
from tests.daemon.executors.docker.odd_engine import OddEngine
from tests.support.docker_jobs import WORKER, container_name, run_job, tar_of, tar_workspace
from tests.support.eventually import eventually
from tests.support.images import BUSYBOX, ENTRYPOINT
from tests.support.layers import Layered, layer_tar
from tests.support.plans import assignment, variables

STACK: list[dict[str, str | None]] = [
    {"kept": "base\n", "changed": "base\n", "gone": "base\n", "directory/a": "a\n", "directory/b": "b\n", "old/x": "x"},
    {"changed": "second\n", "gone": None, "directory/b": None, "directory/c": "c\n", "old": None, "link": "-> kept"},
]
BIG = "x" * (3 << 20)


@pytest.fixture
def layered(tmp_path: Path) -> Layered:
    return Layered(tmp_path, STACK)


def test_a_job_finds_the_layers_as_one_directory(executor: DockerExecutor, layered: Layered, volumes: Volumes) -> None:
    ran = run_job(executor, assignment("find . | sort; cat kept changed link"), workspace=layered)
    names = [".", "./changed", "./directory", "./directory/a", "./directory/c", "./kept", "./link"]
    assert ran.lines[1:] == [*names, "base", "second", "base"]
    assert len(volumes(True)) == 2


JOBS = 4


def test_jobs_of_one_snapshot_at_once_see_nothing_of_each_other_and_cost_the_disk_their_own_files_only(
    executor: DockerExecutor, tmp_path: Path, volumes: Volumes, disk: Callable[..., int]
) -> None:
    workspace = tar_workspace(tar_of(tmp_path / "w.tar", {"big": BIG, "small": "small\n", "directory/file": "x"}))
    jobs = [
        assignment(
            "sleep 0.5; cat small; ls | tr '\\n' ' '; ls directory | wc -l",
            f"echo {number} >small; rm -r directory; touch new.{number}; mkdir directory; cat small; ls | tr '\\n' ' '",
        )
        for number in range(JOBS)
    ]
    sandboxes = [executor.sandbox(job) for job in jobs]
    logs: dict[int, str] = {}
    sizes: list[int] = []
    released = threading.Barrier(JOBS)
    written = threading.Barrier(JOBS, lambda: sizes.append(disk(*(one for one in volumes() if "-project" not in one))))

    def run(number: int) -> None:
        sandbox = sandboxes[number]
        sandbox.prepare(workspace)
        sandbox.hold()
        released.wait(60)
        sandbox.release(Dependencies())
        log = bytearray()
        sandbox.follow_log(0, log.extend)
        assert sandbox.wait().exit_code == 0
        logs[number] = log.decode()
        written.wait(120)
        sandbox.remove()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(JOBS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(JOBS):
        lines = [line for line in logs[number].splitlines() if not line.startswith("$")]
        assert lines == ["small", "big directory small 1", str(number), f"big directory new.{number} small "]
    assert len(volumes(True)) == 1
    assert len(BIG) <= sizes[0] < len(BIG) + (1 << 20)
    after = run_job(executor, assignment("cat small; ls; ls directory"), workspace=workspace)
    assert after.lines[1:] == ["small", "big", "directory", "small", "file"]


def test_nothing_of_a_job_is_left_but_its_layers(
    executor: DockerExecutor, layered: Layered, volumes: Volumes, leftovers: Callable[[], list[str]]
) -> None:
    run_job(executor, assignment("echo more >new"), workspace=layered)
    eventually(leftovers, so=lambda left: left == volumes(True))


@pytest.mark.parametrize(
    ("image", "owner"),
    [(ImageSpec(name=ENTRYPOINT), "1000:1000"), (ImageSpec(name=BUSYBOX, user="nobody"), "65534:65534")],
    ids=["of image", "by name"],
)
@pytest.mark.parametrize("kept", ["true", "false"])
def test_a_user_that_is_not_root_owns_the_view_and_what_dependencies_add(
    executor: DockerExecutor, tmp_path: Path, image: ImageSpec, owner: str, kept: str
) -> None:
    layered = Layered(
        tmp_path,
        [{"file": "x\n", "directory/file": "x", "empty/": "", "linked/file": "x", "link": "-> linked", "name": "x"}],
    )
    added = tar_of(
        tmp_path / "added.tar",
        {"directory/made/by": "x", "empty/made": "x", "link/made": "x", "new/made": "x", "name/made": "x"},
    )
    job = assignment(
        "stat -c '%u:%g' . file directory directory/made directory/made/by empty empty/made linked/made new name/made",
        "echo more >>file; rm -r directory; mkdir directory empty/more new/more; echo x >linked/more; readlink link",
        image=image,
        variables=variables(FF_DISABLE_UMASK_FOR_DOCKER_EXECUTOR=kept),
    )
    ran = run_job(executor, job, workspace=layered, dependencies=Dependencies([], [added]))
    assert ran.outcome.exit_code == 0, ran.log
    lines = [line for line in ran.lines if not line.startswith(("$", "entrypoint"))]
    assert lines == [*[owner] * 10, "linked"]


def test_a_job_of_root_may_drop_to_a_user_who_works_on_a_view(executor: DockerExecutor, layered: Layered) -> None:
    drops = "su user -c 'touch made && mkdir build && touch directory/more && echo more >>kept && stat -c %U made'"
    ran = run_job(executor, assignment(drops), workspace=layered)
    assert (ran.outcome.exit_code, ran.lines[-1]) == (0, "user")


def test_dependencies_and_file_variables_go_into_a_view(executor: DockerExecutor, tmp_path: Path) -> None:
    layered = Layered(tmp_path, [{"a": "workspace\n", "d/old": "x", "e/old": "x", "link": "-> d"}])
    first = tar_of(tmp_path / "1.tar", {"a": "first\n", "d/new": "new\n", "link/through": "through\n", "e": "file\n"})
    key = Variable(key="KEY", value="secret", file=True)
    job = assignment("cat a d/new d/through e $KEY", variables=[key])
    ran = run_job(executor, job, workspace=layered, dependencies=Dependencies([], [first]))
    assert ran.lines[1:] == ["first", "new", "through", "file", "secret"]


def test_links_out_of_the_project_are_in_a_layer_too(executor: DockerExecutor, tmp_path: Path) -> None:
    layered = Layered(tmp_path, [{"up": "-> ../../elsewhere", "absolute": "-> /etc/passwd", "d/up": "-> ../.."}])
    ran = run_job(executor, assignment("for link in up absolute d/up; do readlink $link; done"), workspace=layered)
    assert ran.lines[1:] == ["../../elsewhere", "/etc/passwd", "../.."]


def test_services_see_the_view_and_what_the_job_writes(executor: DockerExecutor, layered: Layered) -> None:
    watch = "until [ -e asked ]; do sleep 0.05; done; cat kept changed >answer.part; mv answer.part answer; sleep 60"
    service = ServiceSpec(name=BUSYBOX, command=["sh", "-c", f"cd /builds/group/project && {watch}"])
    job = assignment("touch asked; until [ -e answer ]; do sleep 0.05; done; cat answer", services=[service])
    ran = run_job(executor, job, workspace=layered)
    assert (ran.lines[1:], ran.warnings) == (["base", "second"], [])


def test_artifacts_come_out_of_a_view(executor: DockerExecutor, layered: Layered, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    job = assignment(
        "echo new >new; echo more >>kept; rm directory/a; echo x >directory/untracked",
        artifacts=ArtifactsSpec(paths=["kept", "changed"], untracked=True),
    )
    ran = run_job(executor, job, workspace=layered, scratch=scratch)
    assert ran.archive() == {
        "kept": "base\nmore\n",
        "changed": "second\n",
        "new": "new\n",
        "directory/": "",
        "directory/untracked": "x\n",
    }


def test_a_view_hides_what_the_image_has_at_the_project_s_path(
    executor: DockerExecutor, layered: Layered, docker_client: docker.DockerClient
) -> None:
    tag = "longshore-tests/project:1"
    made = docker_client.containers.create(BUSYBOX, ["true"])
    try:
        made.put_archive("/", layer_tar({"builds/group/project/of-image": "x"}, (0, 0), opened=False))
        made.commit(*tag.split(":"))
        ran = run_job(executor, assignment("ls", image=tag), workspace=layered)
    finally:
        made.remove()
        docker_client.images.remove(tag)
    assert "of-image" not in ran.lines


@pytest.mark.parametrize("strategy", ["none", "empty"])
def test_a_job_without_a_checkout_has_no_view(
    executor: DockerExecutor, layered: Layered, volumes: Volumes, strategy: str
) -> None:
    job = assignment("ls -A | wc -l", variables=variables(GIT_STRATEGY=strategy))
    assert run_job(executor, job, workspace=layered).lines[1:] == ["0"]
    assert volumes() == []


def test_an_operator_s_volume_at_the_project_s_path_gets_the_files(
    tmp_path: Path, layered: Layered, volumes: Volumes
) -> None:
    (tmp_path / "builds").mkdir()
    policy = make_policy("w", [f"volume:{tmp_path}/builds:/builds"], [], 100)
    executor = DockerExecutor(WORKER, coordinator=WORKER, directory=tmp_path / "cache", policy=policy)
    run_job(executor, assignment("cat changed >mine"), workspace=layered)
    assert (tmp_path / "builds/group/project/mine").read_text() == "second\n"
    assert volumes() == []


def test_a_plain_small_job_asks_nothing_about_volumes(behind: DockerExecutor, odd: OddEngine, tmp_path: Path) -> None:
    workspace = tar_of(tmp_path / "w.tar", {"a": "workspace"})
    rule = odd.answer("/volumes|/info", 500, {"message": "not wanted"})
    ran = run_job(behind, assignment("cat a"), workspace=workspace)
    rule.times = 0
    assert ran.lines[1:] == ["workspace"]
    assert rule.asked == 0


def test_a_volume_of_somebody_else_s_under_a_view_s_name_is_left_alone(
    executor: DockerExecutor, layered: Layered, docker_client: docker.DockerClient
) -> None:
    job = assignment("true")
    volume = docker_client.volumes.create(f"{container_name(job)}-upper")
    try:
        with pytest.raises(JobFailed, match="docker volume rm"):
            run_job(executor, job, workspace=layered)
        volume.reload()
    finally:
        volume.remove()
