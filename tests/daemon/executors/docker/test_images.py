"""Images: pull policies against a registry that can't be reached, and credentials from Docker's own files."""

from __future__ import annotations

import base64
import json
import re
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import docker
import msgspec
import pytest

from daemon.executors.base import JobFailed
from daemon.executors.docker.executor import DockerExecutor
from daemon.executors.docker.images import _credentials, name_explained
from protocol.plan import ImageSpec, ServiceSpec, Variable
from protocol.statuses import FailureReason
from tests.support.docker_jobs import run_job
from tests.support.images import BUSYBOX
from tests.support.plans import assignment


class Registry(BaseHTTPRequestHandler):
    """Refuses everybody, and remembers who came."""

    seen: list[str]

    def do_GET(self) -> None:
        """Any request."""
        self.seen.append(self.headers.get("Authorization", ""))
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Basic realm="test"')
        self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
        self.end_headers()
        self.wfile.write(b'{"errors": [{"code": "UNAUTHORIZED", "message": "go away"}]}')

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A registry on this host, which is where the engine is."""
    monkeypatch.setattr(Registry, "seen", [], raising=False)
    server = HTTPServer(("127.0.0.1", 0), Registry)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def failure(executor: DockerExecutor, image: str, *policy: str) -> JobFailed:
    """What becomes of a job with an image that can't be had."""
    with pytest.raises(JobFailed) as failed:
        run_job(executor, assignment("true", image=ImageSpec(name=image, pull_policy=list(policy))))  # type: ignore[arg-type]
    return failed.value


def test_an_image_that_is_there_is_not_pulled_unless_it_must_be(executor: DockerExecutor, registry: str) -> None:
    for policy in ([], ["if-not-present"], ["never"]):
        spec = ImageSpec(name=BUSYBOX, pull_policy=policy)  # type: ignore[arg-type]
        assert run_job(executor, assignment("echo ran", image=spec)).lines[-1] == "ran"
    assert Registry.seen == []


def test_a_pull_that_fails_gives_the_engine_s_own_message(executor: DockerExecutor, registry: str) -> None:
    failed = failure(executor, f"{registry}/some/image:1")
    assert failed.reason is FailureReason.IMAGE_PULL_FAILURE
    assert f"{registry}/some/image:1" in failed.message
    assert "no basic auth credentials" in failed.message
    assert Registry.seen


def test_policies_are_tried_in_order(
    executor: DockerExecutor, registry: str, docker_client: docker.DockerClient
) -> None:
    name = f"{registry}/longshore-tests/local:1"
    docker_client.images.get(BUSYBOX).tag(name)
    try:
        assert failure(executor, name, "always").reason is FailureReason.IMAGE_PULL_FAILURE
        spec = ImageSpec(name=name, pull_policy=["always", "if-not-present"])
        assert run_job(executor, assignment("echo ran", image=spec)).lines[-1] == "ran"
    finally:
        docker_client.images.remove(name)


def test_never_pulling_a_missing_image_says_so(executor: DockerExecutor, registry: str) -> None:
    assert "pull_policy: never" in failure(executor, f"{registry}/x", "never").message
    assert Registry.seen == []


def test_a_registry_that_says_nothing_does_not_hold_a_job_for_ever(
    executor: DockerExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daemon.executors.docker.images.PULL_SILENCE", 1.0)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        failed = failure(executor, f"127.0.0.1:{silent.getsockname()[1]}/x:1")
    assert failed.reason is FailureReason.IMAGE_PULL_FAILURE
    assert "no data from the registry" in failed.message


def test_a_name_that_can_not_be_is_refused(executor: DockerExecutor) -> None:
    assert failure(executor, "Not A Name").reason is FailureReason.IMAGE_PULL_FAILURE


def test_credentials_come_from_docker_s_own_files(
    executor: DockerExecutor, registry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    auth = base64.b64encode(b"somebody:secret").decode()
    (tmp_path / "config.json").write_text(json.dumps({"auths": {registry: {"auth": auth}}}))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    header = json.loads(base64.urlsafe_b64decode(_credentials(f"{registry}/some/image")["X-Registry-Auth"]))
    assert (header["username"], header["password"]) == ("somebody", "secret")
    assert _credentials("elsewhere.example/image") == {}
    failure(executor, f"{registry}/some/image:1")
    assert f"Basic {auth}" in Registry.seen


def test_a_job_may_bring_its_own_login_in_a_variable(
    executor: DockerExecutor, registry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    auth = base64.b64encode(b"job:secret").decode()
    config = json.dumps({"auths": {registry: {"auth": auth}}, "credsStore": "a-program-of-the-job"})
    image, service = ImageSpec(name=f"{registry}/some/image:1"), ServiceSpec(name=f"{registry}/some/service:1")
    for variable in (
        Variable(key="DOCKER_AUTH_CONFIG", value=config, raw=True),
        Variable(key="DOCKER_AUTH_CONFIG", value=config, file=True),
    ):
        for job in (assignment("true", image=image), assignment("true", services=[service])):
            Registry.seen.clear()
            job = msgspec.structs.replace(job, secrets=[variable])
            with pytest.raises(JobFailed, match=r"no basic auth credentials|unauthorized|go away"):
                run_job(executor, job)
            assert f"Basic {auth}" in Registry.seen


@pytest.mark.parametrize("config", ["{", "[]", "{}", '{"auths": {"x": "secret"}}', '{"auths": 1}'])
def test_a_login_that_can_not_be_read_says_how_it_looks_and_nothing_of_itself(
    executor: DockerExecutor, registry: str, config: str
) -> None:
    job = assignment(
        "true",
        image=ImageSpec(name=f"{registry}/some/image:1"),
        variables=[Variable(key="DOCKER_AUTH_CONFIG", value=config, raw=True)],
    )
    with pytest.raises(JobFailed, match="the job's variable DOCKER_AUTH_CONFIG can't be used: it is JSON") as failed:
        run_job(executor, job)
    assert "secret" not in failed.value.message
    assert Registry.seen == []


@pytest.mark.parametrize("name", ["$CI_DEPENDENCY_PROXY_GROUP_IMAGE_PREFIX/alpine", "$IMAGE"])
def test_an_image_of_gitlab_s_proxy_that_can_t_be_had_says_how_to_do_without(name: str) -> None:
    values = {"CI_DEPENDENCY_PROXY_GROUP_IMAGE_PREFIX": "gitlab.example.com:443/group/dependency_proxy/containers"}
    values["IMAGE"] = values["CI_DEPENDENCY_PROXY_GROUP_IMAGE_PREFIX"] + "/alpine"
    failed = JobFailed(FailureReason.IMAGE_PULL_FAILURE, "denied")
    mend = r"^denied \(.*--var CI_DEPENDENCY_PROXY_GROUP_IMAGE_PREFIX=docker\.io"
    with pytest.raises(JobFailed, match=mend), name_explained(name, values):
        raise failed
    with pytest.raises(JobFailed, match=r"^denied$"), name_explained("alpine", values):
        raise failed


def test_a_job_without_an_image_says_how_to_give_it_one(executor: DockerExecutor) -> None:
    with pytest.raises(JobFailed, match="set `image:` in it"):
        run_job(executor, assignment("true", image=ImageSpec(name="")))
    assert run_job(executor, assignment("echo ran", image=None, default_image=BUSYBOX)).lines[-1] == "ran"


def test_an_image_whose_variable_is_not_set_is_the_default_one(executor: DockerExecutor) -> None:
    work = assignment("echo ran", image=ImageSpec(name="$OF_THE_PROJECT"), default_image=BUSYBOX)
    assert run_job(executor, work).lines[-1] == "ran"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"image": ImageSpec(name="$OF_THE_PROJECT")},
            "the job has no image: in '$OF_THE_PROJECT': $OF_THE_PROJECT not",
        ),
        (
            {"image": ImageSpec(name="$HOST/img:$TAG")},
            "invalid image name: '/img:' (in '$HOST/img:$TAG': $HOST, $TAG",
        ),
        (
            {"services": [ServiceSpec(name="${DB}", aliases=["db"])]},
            "invalid image name: '' (in '${DB}': $DB not set;",
        ),
    ],
    ids=["all of it", "a part", "a service"],
)
def test_what_is_not_set_in_an_image_s_name_is_told(
    executor: DockerExecutor, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(JobFailed, match=re.escape(message)) as failed:
        run_job(executor, assignment("true", **fields))
    assert "give a value with --var" in failed.value.message
