"""Services: sidecars that the job reaches by GitLab's names, ready before it begins, gone after it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from daemon.executors.base import Dependencies, JobFailed
from daemon.executors.common.environment import Environment
from daemon.executors.docker.executor import DockerExecutor
from daemon.executors.docker.sandbox import DockerSandbox
from daemon.executors.docker.services import default_aliases, shared_volumes
from daemon.executors.policy import Policy, make_policy
from protocol.plan import ImageSpec, ServiceSpec, Variable
from protocol.statuses import FailureReason
from tests.support.docker_jobs import WORKER, container_name, run_job, tar_of, tar_workspace
from tests.support.eventually import DEADLINE, eventually
from tests.support.images import BUSYBOX, HEALTHY, LISTENING
from tests.support.plans import PROJECT_DIR, assignment, variables

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
        "echo network $CI_BUILD_NETWORK_NAME",
        services=[first, second],
        variables=variables(WHICH="busybox", FROM_JOB="job", CI_DEBUG_SERVICES="$WANTED", WANTED="true"),
    )
    sandbox = executor.sandbox(job)
    assert isinstance(sandbox, DockerSandbox)
    assert sandbox.shows_services
    assert not executor.sandbox(assignment("true")).shows_services
    sandbox.prepare(None)
    sandbox.release(Dependencies())
    log = bytearray()
    sandbox.follow_log(0, log.extend)
    assert sandbox.wait().exit_code == 0
    lines = log.decode().splitlines()
    assert lines.count("OWN=job!") == 3
    assert any("404" in line for line in lines)
    assert f"network {container_name(job)}" in lines
    assert sandbox.service_logs() == {"web": b"serving as job!\n", "other": b""}
    assert len(leftovers()) == 5
    sandbox.remove()
    eventually(leftovers, so=lambda left: not left)


def test_the_job_begins_only_when_a_service_is_healthy(executor: DockerExecutor) -> None:
    service = ServiceSpec(name=HEALTHY, command=SERVE, aliases=["web"], variables=variables(DELAY="1"))
    ran = run_job(executor, assignment("wget -qO- http://web:8080/env | grep DELAY", services=[service]))
    assert ran.lines[-1] == "DELAY=1"


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that is about to end has the time for it on a busy machine, too."""
    monkeypatch.setattr("daemon.executors.docker.services.SETTLE_SECONDS", DEADLINE / 2)


@pytest.mark.usefixtures("patient")
def test_a_service_that_ends_at_once_fails_the_job_with_its_last_words(
    executor: DockerExecutor, leftovers: Callable[[], list[str]]
) -> None:
    service = ServiceSpec(name=BUSYBOX, command=["sh", "-c", "echo no space for data; exit 3"])
    with pytest.raises(JobFailed, match=r"exit code 3; its log ends with: no space for data") as failed:
        run_job(executor, assignment("true", services=[service]))
    assert failed.value.reason is FailureReason.SERVICE_UNHEALTHY
    eventually(leftovers, so=lambda left: not left)


@pytest.mark.usefixtures("patient")
def test_a_service_that_has_done_its_work_and_ended_fails_nothing(executor: DockerExecutor) -> None:
    ran = run_job(executor, assignment("true", services=[ServiceSpec(name=BUSYBOX, command=["echo", "done"])]))
    assert ran.outcome.exit_code == 0
    assert ran.warnings == ["service 'longshore/busybox:test' has ended by itself; the job runs anyway"]


def test_a_service_that_never_gets_healthy_fails_the_job(
    executor: DockerExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daemon.executors.docker.services.HEALTH_SECONDS", 1.5)
    service = ServiceSpec(name=HEALTHY, command=["sleep", "600"])
    with pytest.raises(JobFailed, match="after 2 s") as failed:
        run_job(executor, assignment("true", services=[service]))
    assert failed.value.reason is FailureReason.SERVICE_UNHEALTHY


def test_a_service_that_opens_no_port_is_a_warning(executor: DockerExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daemon.executors.docker.services.PORT_SECONDS", 0.5)
    silent = ServiceSpec(name=LISTENING, command=["sleep", "600"], aliases=["silent"])
    ran = run_job(executor, assignment("echo runs", services=[silent]))
    assert ran.lines[-1] == "runs"
    assert "does not listen on 8080" in ran.warnings[0]
    monkeypatch.setattr("daemon.executors.docker.services.PORT_SECONDS", DEADLINE)
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


@pytest.mark.parametrize("user", [None, "user"])
@pytest.mark.parametrize("variables_of_type_file", [[], [Variable(key="KEY", value="a key", file=True)]], ids=str)
def test_services_see_the_project_s_files_as_the_job_makes_them(
    executor: DockerExecutor,
    tmp_path: Path,
    leftovers: Callable[[], list[str]],
    user: str | None,
    variables_of_type_file: list[Variable],
) -> None:
    see = "until cd $CI_PROJECT_DIR && cat question; do sleep 0.1; done; cat given question >answer; sleep 60"
    job = assignment(
        "echo 'made here' >question",
        'until [ "$(wc -l <answer)" = 2 ]; do sleep 0.1; done 2>/dev/null',
        "cat answer; pwd; stat -c %U given",
        image=ImageSpec(name=BUSYBOX, user=user),
        services=[ServiceSpec(name=BUSYBOX, command=["sh", "-c", see])],
        variables=variables_of_type_file,
    )
    ran = run_job(executor, job, workspace=tar_of(tmp_path / "w.tar", {"given": "from the repository\n"}))
    assert ran.outcome.exit_code == 0
    assert ran.lines[-4:] == ["from the repository", "made here", PROJECT_DIR, user or "root"]
    eventually(leftovers, so=lambda left: not left)


def test_what_a_service_leaves_is_swept_with_its_attempt(
    executor: DockerExecutor, tmp_path: Path, leftovers: Callable[[], list[str]]
) -> None:
    """As after SIGKILL of the daemon."""
    sandbox = executor.sandbox(assignment("true", services=[ServiceSpec(name=BUSYBOX, command=["sleep", "60"])]))
    sandbox.prepare(tar_workspace(tar_of(tmp_path / "w.tar", {"a": "a"})))
    assert len(leftovers()) == 4
    another = DockerExecutor(WORKER, coordinator=WORKER, directory=tmp_path / "cache")
    assert another.sweep(set()) == 4
    eventually(leftovers, so=lambda left: not left)


def test_services_reach_the_job_as_build(executor: DockerExecutor) -> None:
    call = ["sh", "-c", "until echo hello | nc build 8080; do sleep 0.1; done"]
    job = assignment("nc -l -p 8080", services=[ServiceSpec(name=BUSYBOX, command=call, aliases=["caller"])])
    assert run_job(executor, job).lines == ["$ nc -l -p 8080", "hello"]


def test_a_service_may_be_called_build_itself(executor: DockerExecutor) -> None:
    service = ServiceSpec(name=BUSYBOX, command=SERVE, aliases=["build"])
    ran = run_job(executor, assignment("for _ in 1 2 3; do wget -qO- http://build:8080/env; done", services=[service]))
    assert ran.outcome.exit_code == 0


def test_a_docker_engine_in_a_service_leaves_its_client_s_keys_to_the_job() -> None:
    """Only the plan is looked at: the container of a Docker engine is privileged, which not every machine allows."""
    privileged = Policy(privileged=True)
    assert shared_volumes("a", Environment({}, {}), Policy()) == {"a-builds": "/builds"}
    assert shared_volumes("a", Environment({}, {}), privileged) == {"a-builds": "/builds", "a-certs": "/certs/client"}
    elsewhere = Environment({"DOCKER_TLS_CERTDIR": "/tls"}, {})
    assert shared_volumes("a", elsewhere, privileged)["a-certs"] == "/tls/client"
    without = Environment({"DOCKER_TLS_CERTDIR": ""}, {})
    assert shared_volumes("a", without, privileged) == {"a-builds": "/builds"}
    own = Policy(privileged=True, volumes=("kept:/certs/client", "/srv/builds:/builds:rw"))
    assert shared_volumes("a", Environment({}, {}), own) == {}


def test_services_have_the_volumes_that_the_operator_allows(tmp_path: Path) -> None:
    policy = make_policy(WORKER, [f"volume:{tmp_path}:/shared"], [], 100)
    executor = DockerExecutor(WORKER, coordinator=WORKER, directory=tmp_path / "cache", policy=policy)
    service = ServiceSpec(name=BUSYBOX, command=["sh", "-c", "echo from the service >/shared/said"])
    wait = "until [ -s /shared/said ]; do sleep 0.1; done; cat /shared/said"
    assert run_job(executor, assignment(wait, services=[service])).lines[-1] == "from the service"
