"""What a job can not do on a worker, and what its operator may allow: real containers."""

from __future__ import annotations

from pathlib import Path

import docker
import pytest

from daemon.executors.base import JobFailed
from daemon.executors.docker.executor import DockerExecutor
from daemon.executors.policy import Policy, make_policy
from protocol.errors import UsageError
from tests.support.docker_jobs import WORKER, container_name, run_job
from tests.support.images import BUSYBOX
from tests.support.plans import assignment

STATUS = "grep -E 'NoNewPrivs|CapEff' /proc/self/status"


def executor(tmp_path: Path, *allow: str, images: tuple[str, ...] = (), pids: int = 4096) -> DockerExecutor:
    """A worker's executor with a policy."""
    policy = make_policy(WORKER, allow, images, pids)
    return DockerExecutor(WORKER, coordinator=WORKER, directory=tmp_path / "cache", policy=policy)


@pytest.mark.usefixtures("images")
def test_by_default_a_job_is_kept_in_its_container(tmp_path: Path) -> None:
    job = assignment(
        STATUS,
        "test ! -e /var/run/docker.sock && echo no socket",
        "mount -t tmpfs none /mnt 2>/dev/null || echo no mount",
        "ls /sys/class/net",
        "cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null",
    )
    ran = run_job(executor(tmp_path), job)
    assert "NoNewPrivs:\t1" in ran.log
    assert "no socket" in ran.lines
    assert "no mount" in ran.lines
    assert "docker0" not in ran.log
    assert "4096" in ran.lines


@pytest.mark.usefixtures("images")
def test_a_fork_bomb_ends_at_the_limit_and_not_the_host(tmp_path: Path) -> None:
    job = assignment("for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do sleep 5 & done; wait")
    ran = run_job(executor(tmp_path, pids=12), job)
    assert ran.outcome.exit_code != 0
    assert "fork" in ran.log


@pytest.mark.usefixtures("images")
def test_the_operator_may_allow_more_on_a_worker(tmp_path: Path, docker_client: docker.DockerClient) -> None:
    host = tmp_path / "shared"
    host.mkdir()
    (host / "file").write_text("of the host")
    allowed = executor(tmp_path, "new-privileges", "volume:/kept", f"volume:{host}:/host:ro")
    try:
        job = assignment(STATUS, "cat /host/file", "touch /host/x || echo read only", "date > /kept/a")
        ran = run_job(allowed, job)
        assert "NoNewPrivs:\t0" in ran.log
        assert "of the host" in ran.log
        assert "read only" in ran.log
        assert run_job(allowed, assignment("test -s /kept/a && echo kept")).lines[-1] == "kept"
    finally:
        docker_client.volumes.get(f"longshore-{WORKER}-kept").remove()


@pytest.mark.usefixtures("images")
def test_privileged_is_asked_of_the_engine_only_where_it_is_allowed(
    tmp_path: Path, docker_client: docker.DockerClient
) -> None:
    for allow in ([], ["privileged"]):
        job = assignment("true")
        sandbox = executor(tmp_path, *allow).sandbox(job)
        try:
            sandbox.prepare(None)
            host = docker_client.containers.get(container_name(job)).attrs["HostConfig"]
        finally:
            sandbox.remove()
        assert host["Privileged"] is bool(allow)
        assert ("no-new-privileges" in (host["SecurityOpt"] or [])) is not bool(allow)
        assert host["NetworkMode"] == "bridge"
        assert not host["Binds"]


@pytest.mark.usefixtures("images")
def test_an_image_that_is_not_allowed_is_not_run_and_the_message_says_which_are(tmp_path: Path) -> None:
    with pytest.raises(JobFailed, match=r"not allowed on this worker; allowed: alpine:\*") as error:
        run_job(executor(tmp_path, images=("alpine:*",)), assignment("true"))
    assert error.value.reason == "image_pull_failure"
    ran = run_job(executor(tmp_path, images=("longshore/*",)), assignment("echo in", image=BUSYBOX))
    assert ran.lines[-1] == "in"


@pytest.mark.parametrize(
    ("name", "pattern", "fits"),
    [
        ("alpine", "alpine", True),
        ("alpine:3.20", "alpine", True),
        ("alpine:3.20", "alpine:3.*", True),
        ("alpine", "docker.io/library/*", True),
        ("team/app", "docker.io/team/*", True),
        ("registry.example.com:5000/team/app:1", "registry.example.com:5000/team/*", True),
        ("registry.example.com:5000/team/app", "docker.io/*", False),
        ("evil.example.com/alpine", "alpine*", False),
        ("alpine-evil", "alpine", False),
        ("alpine@sha256:00", "alpine", True),
        ("alpine:3.20@sha256:00", "alpine", True),
        ("alpine:3.20@sha256:00", "alpine:3.20", False),
        ("alpine:3.20@sha256:00", "alpine:3.20@sha256:00", True),
        ("alpine@sha256:00", "docker.io/library/alpine@sha256:00", True),
        ("team/app:1@sha256:00", "docker.io/team/app:1", False),
    ],
)
def test_patterns_of_images(name: str, pattern: str, fits: bool) -> None:
    policy = Policy(images=(pattern,))
    if fits:
        policy.check_image(name)
    else:
        with pytest.raises(JobFailed):
            policy.check_image(name)


@pytest.mark.parametrize("name", ["../containers/json", "a/../../info", "/info", "a//b", "a/.", ""])
def test_a_path_is_no_name_of_an_image(name: str) -> None:
    with pytest.raises(JobFailed, match="invalid image name"):
        Policy().check_image(name)


@pytest.mark.parametrize("text", ["root", "volume:", "volume:cache", "volume:/a:b", "volume:/a:/b:rx", "privileged=no"])
def test_an_allowance_that_there_is_not_is_one_clear_line(text: str) -> None:
    with pytest.raises(UsageError, match="allow"):
        make_policy("w", [text], [], 1)
