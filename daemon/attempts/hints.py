"""Suggests worker options that would have let a failed job get further, from the output of its programs. Pure.

Matches only messages that programs print for lack of a privilege and rarely for another reason. A hint decides nothing:
it is appended to the message of a job that has already failed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from daemon.executors.policy import Policy

TAIL_BYTES = 64 << 10
"""Bytes searched at the end of a log: a script ends with the command that failed."""
NO_NEW_PRIVILEGES = re.compile(
    rb'"no new privileges" flag is set'  # sudo
    rb"|effective uid is not 0, is (?:sudo|\S+ on a file system with)"  # sudo before 1.9
    rb"|\bsu: must be suid to work"  # busybox
    rb"|\bdoas: not installed setuid|\bpkexec must be setuid root"
    rb"|\bnew[ug]idmap: .*Operation not permitted"  # rootless podman and buildah
    rb"|\bping: .*Operation not permitted"
)
NO_DOCKER_SOCKET = re.compile(rb"unix:///(?:var/)?run/docker\.sock|dial unix /(?:var/)?run/docker\.sock")
NO_DOCKER_SERVICE = re.compile(
    rb"Cannot connect to the Docker daemon at tcp://|error during connect|lookup docker\b|docker: no such host"
)
UNPRIVILEGED = re.compile(
    rb"mount: .*(?:[Pp]ermission denied|Operation not permitted|must be superuser)|are you root\?|you must be root"
    rb"|failed to mount overlay|Error initializing network controller|failed to register layer: .*not permitted"
    rb"|(?:iptables|ip6tables|nft)\b.*(?:not permitted|[Pp]ermission denied)"
    rb"|(?:unshare|cannot clone|bwrap|newns|CLONE_NEW\w+).*(?:Operation not permitted|No permissions)"
    rb"|Failed to move to new namespace|fuse: device not found|/dev/fuse\b|/dev/kvm\b|KVM kernel module"
    rb"|losetup: |\bsysctl: .*(?:Read-only file system|[Pp]ermission denied)"
)
NO_PROCESS = re.compile(
    rb"(?:fork|clone|pthread_create|spawn)\b.*Resource temporarily unavailable|\b[Cc]an(?:'|no)t fork"
    rb"|unable to create (?:new )?native thread|failed to create new OS thread"
)
SOCKET = "/var/run/docker.sock"
WHOSE = "an option of run, up and worker"


def hints(policy: Policy, log: bytes, services: Mapping[str, bytes], images: Iterable[str]) -> list[str]:
    """Hints for a failed job. `log` is the end of its log, `services` are the logs of its services by name, `images`
    their images.
    """
    found = []
    if not (policy.new_privileges or policy.privileged) and NO_NEW_PRIVILEGES.search(log):
        found.append(f"sudo and similar tools need --allow new-privileges, {WHOSE}")
    if not policy.privileged:
        found += _unprivileged(policy, log, services, images)
    if NO_PROCESS.search(log):
        found.append(f"it may have reached --pids-limit ({policy.pids} processes), {WHOSE}")
    return found


def _unprivileged(policy: Policy, log: bytes, services: Mapping[str, bytes], images: Iterable[str]) -> list[str]:
    needing = [name for name, said in services.items() if UNPRIVILEGED.search(said)]
    dind = [image for image in images if _is_dind(image)]
    if needing or (dind and NO_DOCKER_SERVICE.search(log)):
        names = ", ".join(filter(None, needing)) or ", ".join(dind) or "of its"
        return [f"a service ({names}) needs --allow privileged, {WHOSE}, which gives its jobs root on this host"]
    if NO_DOCKER_SOCKET.search(log) and not any(":" + SOCKET in bind for bind in policy.volumes):
        return [
            f"Docker in a job needs --allow volume:{SOCKET}:{SOCKET}, or the service docker:dind and "
            f"--allow privileged; both are options of run, up and worker, and give its jobs root on this host"
        ]
    if UNPRIVILEGED.search(log):
        return [f"it may need --allow privileged, {WHOSE}, which gives its jobs root on this host"]
    return []


def _is_dind(image: str) -> bool:
    repository, _, tag = image.partition("@")[0].rpartition("/")[2].partition(":")
    return repository == "docker" and "dind" in tag
