"""A job that fails for want of a privilege is told which of Longshore's options it is; others are told nothing."""

from __future__ import annotations

import pytest

from daemon.attempts.hints import hints
from daemon.executors.policy import Policy

STRICT = Policy()
PRIVILEGED = Policy(privileged=True)
NEW_PRIVILEGES = Policy(new_privileges=True)
SOCKET = Policy(volumes=("/var/run/docker.sock:/var/run/docker.sock",))
SUDO = [
    'sudo: The "no new privileges" flag is set, which prevents sudo from running as root.',
    "sudo: effective uid is not 0, is sudo installed setuid root?",
    "sudo: effective uid is not 0, is /usr/bin/sudo on a file system with the 'nosuid' option set or an NFS",
    "su: must be suid to work properly",
    "doas: not installed setuid",
    "pkexec must be setuid root",
    "newuidmap: write to uid_map failed: Operation not permitted",
]
ROOT_ON_THE_HOST = [
    "mount: permission denied (are you root?)",
    "mount: /mnt: permission denied.",
    "iptables v1.8.9 (legacy): can't initialize iptables table `nat': Permission denied (you must be root)",
    "unshare: unshare failed: Operation not permitted",
    "bwrap: No permissions to create new namespace, likely because the kernel does not allow non-privileged user",
    "Error during unshare(CLONE_NEWUSER): Operation not permitted",
    "fuse: device not found, try 'modprobe fuse' first",
    "Could not access KVM kernel module: No such file or directory",
    "sysctl: error setting key 'vm.max_map_count': Read-only file system",
]
DOCKERD = "failed to start daemon: Error initializing network controller: error obtaining controller instance"
NO_DOCKERD = [
    "Cannot connect to the Docker daemon at tcp://docker:2375. Is the docker daemon running?",
    "error during connect: Post http://docker:2375/v1.41/build: dial tcp: lookup docker on 127.0.0.11:53: no such host",
]
NO_SOCKET = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?"
NO_PROCESS = [
    "sh: can't fork: Resource temporarily unavailable",
    "fork: retry: Resource temporarily unavailable",
    "java.lang.OutOfMemoryError: unable to create native thread: possibly out of memory",
    "runtime: failed to create new OS thread (have 5 already; errno=11)",
]
NOTHING = [
    "make: *** [all] Error 1",
    "cp: can't stat 'x': No such file or directory",
    "touch: /etc/x: Permission denied",
    "the mount point of the forked project is /builds",
    "1 test failed: privileges",
]


@pytest.mark.parametrize("said", SUDO)
def test_what_sudo_needs_is_named(said: str) -> None:
    (hint,) = hints(STRICT, f"$ sudo make\n{said}\n".encode(), {}, [])
    assert "--allow new-privileges, an option of run, up and worker" in hint
    assert hints(NEW_PRIVILEGES, said.encode(), {}, []) == hints(PRIVILEGED, said.encode(), {}, []) == []


@pytest.mark.parametrize("said", ROOT_ON_THE_HOST)
def test_what_only_a_privileged_job_can_is_named(said: str) -> None:
    (hint,) = hints(STRICT, said.encode(), {}, [])
    assert "--allow privileged, an option of run, up and worker, which gives its jobs root on this host" in hint
    assert hints(PRIVILEGED, said.encode(), {}, []) == []


def test_a_service_that_lacks_privileges_is_named() -> None:
    services = {"docker": DOCKERD.encode(), "db": b"ready"}
    (hint,) = hints(STRICT, NO_DOCKERD[0].encode(), services, ["docker:28-dind", "postgres"])
    assert hint.startswith("a service (docker) needs --allow privileged")
    assert hints(PRIVILEGED, NO_DOCKERD[0].encode(), services, ["docker:28-dind", "postgres"]) == []


@pytest.mark.parametrize("said", NO_DOCKERD)
def test_docker_in_docker_is_recognised_by_its_client_too(said: str) -> None:
    (hint,) = hints(STRICT, said.encode(), {}, ["registry.example.com:5000/mirror/docker:dind-rootless"])
    assert "needs --allow privileged" in hint
    assert hints(STRICT, said.encode(), {}, ["postgres"]) == []


def test_a_job_that_looks_for_the_engine_s_socket_is_told_of_both_ways() -> None:
    (hint,) = hints(STRICT, NO_SOCKET.encode(), {}, [])
    assert "--allow volume:/var/run/docker.sock:/var/run/docker.sock" in hint
    assert hints(SOCKET, NO_SOCKET.encode(), {}, []) == []


@pytest.mark.parametrize("said", NO_PROCESS)
def test_a_bound_on_processes_is_named_with_its_number(said: str) -> None:
    (hint,) = hints(Policy(pids=77), said.encode(), {}, [])
    assert "--pids-limit (77 processes)" in hint


@pytest.mark.parametrize("said", NOTHING)
def test_other_failures_are_told_nothing(said: str) -> None:
    assert hints(STRICT, said.encode(), {"db": said.encode()}, ["docker", "postgres"]) == []
