"""Images come from a private registry with the credentials of Docker's own files; what goes wrong there is told."""

from __future__ import annotations

import base64
import json
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import docker
import pytest

from tests.conftest import Images
from tests.support.eventually import DEADLINE, eventually
from tests.support.system import System, jobs_of, repository

USER, PASSWORD = "ann", "open sesame"
HASHED = "$2b$04$Ks2yylofbPilt8kysKbp5.D0GD6..hUIuJOZDNpQnwATTVmDflyMy"
"""Of the password, as htpasswd has it."""
CONFIG = """
version: 0.1
storage: {filesystem: {rootdirectory: STORE}}
http: {addr: "127.0.0.1:PORT"}
auth: {htpasswd: {realm: tests, path: USERS}}
"""


@dataclass(frozen=True, slots=True)
class Registry:
    """A registry that wants a password, with one image in it."""

    address: str
    image: str


def registry_program(folder: Path) -> Path:
    """Debian's registry: installed, or unpacked from its package."""
    if installed := shutil.which("docker-registry"):
        return Path(installed)
    if not shutil.which("apt-get"):
        pytest.skip("there is no docker-registry, and no apt to get it with")
    fetched = subprocess.run(["apt-get", "download", "-q", "docker-registry"], cwd=folder, capture_output=True)
    packages = list(folder.glob("docker-registry_*.deb"))
    if fetched.returncode or not packages:
        pytest.skip("apt has no package docker-registry")
    subprocess.run(["dpkg-deb", "-x", packages[0], folder], check=True)
    return folder / "usr" / "bin" / "docker-registry"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


@pytest.fixture(scope="module")
def registry(
    tmp_path_factory: pytest.TempPathFactory, docker_client: docker.DockerClient, images: Images
) -> Iterator[Registry]:
    folder = tmp_path_factory.mktemp("registry")
    folder.chmod(0o777)
    program, port = registry_program(folder), free_port()
    (folder / "users").write_text(f"{USER}:{HASHED}\n")
    config = CONFIG.replace("STORE", str(folder / "store")).replace("PORT", str(port))
    (folder / "config.yml").write_text(config.replace("USERS", str(folder / "users")))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program, "serve", folder / "config.yml"], stdout=log, stderr=log)
    try:
        eventually(lambda: listens(port))
        image = f"127.0.0.1:{port}/group/shell"
        docker_client.images.get(images.busybox).tag(image, "1")
        pushed = docker_client.images.push(image, "1", auth_config={"username": USER, "password": PASSWORD})
        assert "error" not in pushed, pushed
        docker_client.images.remove(f"{image}:1")
        yield Registry(f"127.0.0.1:{port}", f"{image}:1")
    finally:
        process.terminate()
        process.wait(DEADLINE)


def logged_in(folder: Path, registry: Registry, password: str) -> Path:
    """A folder with Docker's own configuration file, as `docker login` leaves it."""
    folder.mkdir()
    token = base64.b64encode(f"{USER}:{password}".encode()).decode()
    (folder / "config.json").write_text(json.dumps({"auths": {registry.address: {"auth": token}}}))
    return folder


@pytest.mark.parametrize(
    ("password", "outcome"),
    [(PASSWORD, ("success", None)), ("wrong", ("failed", "image_pull_failure"))],
    ids=["with the password", "with a wrong one"],
)
def test_an_image_is_pulled_with_the_credentials_that_docker_login_left(
    system: System,
    tmp_path: Path,
    registry: Registry,
    docker_client: docker.DockerClient,
    password: str,
    outcome: tuple[str, str | None],
) -> None:
    system.extra["DOCKER_CONFIG"] = str(logged_in(tmp_path / "docker", registry, password))
    file = f"""
pulled: {{image: {{name: "{registry.image}", pull_policy: always}}, script: [echo pulled]}}
not-there: {{image: "{registry.address}/group/none:1", script: [echo], allow_failure: true}}
"""
    system.start_coordinator()
    system.start_worker("w1", "--slots", "2")
    system.wait_for_workers(1)
    done = system.run(repository(tmp_path / "project", {".gitlab-ci.yml": file}))
    jobs = jobs_of(done.json)
    try:
        assert (jobs["pulled"]["status"], jobs["pulled"]["failure_reason"]) == outcome, jobs["pulled"]
        assert jobs["not-there"]["failure_reason"] == "image_pull_failure"
        assert f"{registry.address}/group/none:1" in jobs["not-there"]["message"]
        if outcome[0] == "success":
            assert "pulled\n" in system.log(done.json["id"], "pulled")
        else:
            assert "unauthorized" in jobs["pulled"]["message"] or "no basic auth" in jobs["pulled"]["message"]
    finally:
        if docker_client.images.list(registry.image):
            docker_client.images.remove(registry.image)
