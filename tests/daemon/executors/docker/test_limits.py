"""A job's limits are the engine's to enforce, and what is made for it has no more power than it needs."""

from __future__ import annotations

import docker

from daemon.executors.docker.executor import DockerExecutor
from protocol.plan import Resources
from tests.support.docker_jobs import container_name, run_job
from tests.support.images import DEBIAN
from tests.support.plans import assignment

EAT = "x=x; while :; do x=$x$x; done"


def test_a_job_that_runs_out_of_memory_says_so(executor: DockerExecutor) -> None:
    job = assignment(EAT, image=DEBIAN, resources=Resources(memory=48 << 20), after_script=["echo after"])
    ran = run_job(executor, job)
    assert ran.outcome.exit_code == 137
    assert ran.outcome.oom_killed
    assert ran.outcome.failure == ""
    assert ran.lines[-1] == "after"


def test_a_failure_with_enough_memory_is_not_taken_for_one_without(executor: DockerExecutor) -> None:
    ran = run_job(executor, assignment("kill -9 $$; exit 137", resources=Resources(memory=64 << 20)))
    assert (ran.outcome.exit_code, ran.outcome.oom_killed) == (137, False)


def test_the_container_has_its_limits_and_nothing_of_the_host(
    executor: DockerExecutor, docker_client: docker.DockerClient
) -> None:
    job = assignment("true", resources=Resources(cpus=0.5, memory=64 << 20))
    executor.sandbox(job).prepare(None)
    host = docker_client.api.inspect_container(container_name(job))["HostConfig"]
    assert (host["NanoCpus"], host["Memory"], host["MemorySwap"]) == (500_000_000, 64 << 20, 64 << 20)
    assert not host["Privileged"]
    assert not host["Binds"]
    assert host["NetworkMode"].startswith("container:") or host["NetworkMode"] == "bridge"
    if holder := host["NetworkMode"].partition("container:")[2]:
        assert docker_client.api.inspect_container(holder)["HostConfig"]["NetworkMode"] == "bridge"
    assert host["LogConfig"]["Type"] == "local"
