"""Services: sidecars that the job reaches by GitLab's names, ready before it begins, gone after it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from daemon.docker_executor import DockerExecutor
from daemon.docker_sandbox import DockerSandbox
from daemon.executor import Dependencies, JobFailed
from daemon.services import default_aliases
from protocol.plan import ServiceSpec
from protocol.statuses import FailureReason
from tests.daemon.docker.builders import BUSYBOX, HEALTHY, LISTENING, assignment, run_job, variables

SERVE = [
    "sh",
    "-c",
    'mkdir /www; env >/www/env; echo "serving as $OWN" >&2; sleep ${DELAY:-0}; exec httpd -f -p 8080 -h /www',
]


@pytest.mark.parametrize(
    ("image", "aliases"),
    [
        ("postgres", ["postgres"]),
        ("postgres:16", ["postgres"]),
        ("tutum/wordpress:latest", ["tutum__wordpress", "tutum-wordpress"]),
        ("registry.example:5000/my/group/db:1.2", ["registry.example__my__group__db", "registry.example-my-group-db"]),
        ("db@sha256:" + "0" * 64, ["db"]),
        ("registry:5000/db", ["registry__db", "registry-db"]),
    ],
)
def test_a_service_is_named_after_its_image(image: str, aliases: list[str]) -> None:
    assert default_aliases(image) == aliases


def test_a_job_reaches_its_services_by_all_their_names(
    executor: DockerExecutor, leftovers: Callable[[], list[str]]
) -> None:
    first = ServiceSpec(
        name="longshore/$WHICH:test", command=SERVE, aliases=["web"], variables=variables(OWN="$FROM_JOB!")
    )
    second = ServiceSpec(name=BUSYBOX, command=["httpd", "-f", "-p", "9090"], aliases=["other"])
    job = assignment(
        "for host in longshore__busybox longshore-busybox web; do wget -qO- http://$host:8080/env | grep OWN; done",
        "wget -qO- http://other:9090/ 2>&1 || true",
        services=[first, second],
        variables=variables(WHICH="busybox", FROM_JOB="job"),
    )
    sandbox = executor.sandbox(job)
    assert isinstance(sandbox, DockerSandbox)
    sandbox.prepare(None)
    sandbox.release(Dependencies())
    log = bytearray()
    sandbox.follow_log(0, log.extend)
    assert sandbox.wait().exit_code == 0
    lines = log.decode().splitlines()
    assert lines.count("OWN=job!") == 3
    assert any("404" in line for line in lines)
    assert sandbox.service_logs() == {"web": b"serving as job!\n", "other": b""}
    assert len(leftovers()) == 4
    sandbox.remove()
    assert leftovers() == []


def test_the_job_begins_only_when_a_service_is_healthy(executor: DockerExecutor) -> None:
    service = ServiceSpec(name=HEALTHY, command=SERVE, aliases=["web"], variables=variables(DELAY="1"))
    ran = run_job(executor, assignment("wget -qO- http://web:8080/env | grep DELAY", services=[service]))
    assert ran.lines[-1] == "DELAY=1"


def test_a_service_that_ends_at_once_fails_the_job_with_its_last_words(
    executor: DockerExecutor, leftovers: Callable[[], list[str]]
) -> None:
    service = ServiceSpec(name=BUSYBOX, command=["sh", "-c", "echo no space for data; exit 3"])
    with pytest.raises(JobFailed, match=r"exit code 3; its log ends with: no space for data") as failed:
        run_job(executor, assignment("true", services=[service]))
    assert failed.value.reason is FailureReason.SERVICE_UNHEALTHY
    assert leftovers() == []


def test_a_service_that_has_done_its_work_and_ended_fails_nothing(executor: DockerExecutor) -> None:
    ran = run_job(executor, assignment("true", services=[ServiceSpec(name=BUSYBOX, command=["echo", "done"])]))
    assert ran.outcome.exit_code == 0
    assert ran.warnings == ["service 'longshore/busybox:test' has ended by itself; the job runs all the same"]


def test_a_service_that_never_gets_healthy_fails_the_job(
    executor: DockerExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daemon.services.HEALTH_SECONDS", 1.5)
    service = ServiceSpec(name=HEALTHY, command=["sleep", "600"])
    with pytest.raises(JobFailed, match="after 2 s") as failed:
        run_job(executor, assignment("true", services=[service]))
    assert failed.value.reason is FailureReason.SERVICE_UNHEALTHY


def test_a_service_that_opens_no_port_is_a_warning(executor: DockerExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daemon.services.PORT_SECONDS", 0.5)
    silent = ServiceSpec(name=LISTENING, command=["sleep", "600"], aliases=["silent"])
    ran = run_job(executor, assignment("echo runs", services=[silent]))
    assert ran.lines[-1] == "runs"
    assert "does not listen on 8080" in ran.warnings[0]
    serving = ServiceSpec(name=LISTENING, command=SERVE, variables=variables(DELAY="0.3"), aliases=["web"])
    assert run_job(executor, assignment("wget -qO- http://web:8080/env", services=[serving])).warnings == []


def test_a_service_whose_names_are_all_taken_is_left_out(executor: DockerExecutor) -> None:
    job = assignment("true", services=[ServiceSpec(name=BUSYBOX, command=["sleep", "60"])] * 2)
    sandbox = executor.sandbox(job)
    assert isinstance(sandbox, DockerSandbox)
    sandbox.prepare(None)
    assert list(sandbox.service_logs()) == ["longshore__busybox"]
    sandbox.remove()


def test_a_missing_image_of_a_service_is_an_image_pull_failure(executor: DockerExecutor) -> None:
    service = ServiceSpec(name="longshore-tests/not-there:1", pull_policy=["never"])
    with pytest.raises(JobFailed) as failed:
        run_job(executor, assignment("true", services=[service]))
    assert failed.value.reason is FailureReason.IMAGE_PULL_FAILURE
