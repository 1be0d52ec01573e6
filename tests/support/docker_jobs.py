"""What tests of the Docker executor are made of: workspaces, archives, and running a job from start to end."""

from __future__ import annotations

import hashlib
import io
import secrets
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from daemon.executors.base import Collected, Dependencies, Outcome, Workspace
from daemon.executors.common.tar_workspace import TarWorkspace
from daemon.executors.docker.executor import DockerExecutor
from protocol.compression import decompressed
from protocol.messages import Assignment
from protocol.plan import ArtifactsSpec

WORKER = f"tests-{secrets.token_hex(3)[:5]}"
"""The worker's name, and the coordinator's id, whose first 12 characters are in names of containers: of all processes
that use this engine, only ours has it."""


def container_name(job: Assignment) -> str:
    """Of a job's container."""
    return f"longshore-{WORKER[:12]}-{job.attempt}"


def tar_of(path: Path, files: Mapping[str, str | bytes], *, mode: str = "w") -> Path:
    """A tar at `path` of files by name; a name that ends in `/` is an empty directory."""
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, content in files.items():
            info = tarfile.TarInfo(name.rstrip("/"))
            data = content.encode() if isinstance(content, str) else content
            info.mode = 0o755 if name.endswith("/") else 0o644
            info.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def unpacked(path: Path) -> tarfile.TarFile:
    """An archive's members, however it is compressed."""
    with decompressed(path) as stream:
        return tarfile.open(fileobj=io.BytesIO(stream.read()))


def tar_workspace(path: Path) -> TarWorkspace:
    """The workspace of a tar."""
    return TarWorkspace(path, hashlib.sha256(path.read_bytes()).hexdigest())


def contents(path: Path) -> dict[str, str]:
    """The files of an archive by name; directories have a name that ends in `/`, links show where they lead."""
    found = {}
    with unpacked(path) as tar:
        for member in tar:
            if member.isdir():
                found[member.name + "/"] = ""
            elif member.issym() or member.islnk():
                found[member.name] = f"-> {member.linkname}"
            else:
                file = tar.extractfile(member)
                assert file is not None
                found[member.name] = file.read().decode()
    return found


@dataclass(slots=True)
class Ran:
    """How a job went."""

    outcome: Outcome
    log: str
    collected: list[Collected] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def lines(self) -> list[str]:
        """Its log."""
        return self.log.splitlines()

    def archive(self) -> dict[str, str]:
        """What is in the archive that it left."""
        (archive,) = [one for one in self.collected if one.kind == "archive"]
        return contents(archive.path)


def run_job(
    executor: DockerExecutor,
    job: Assignment,
    *,
    workspace: Path | Workspace | None = None,
    dependencies: Dependencies | None = None,
    scratch: Path | None = None,
) -> Ran:
    """Runs a job from `prepare` to `remove`; with a `scratch` directory it is also asked for what it leaves."""
    sandbox = executor.sandbox(job)
    try:
        sandbox.prepare(tar_workspace(workspace) if isinstance(workspace, Path) else workspace)
        sandbox.release(dependencies or Dependencies())
        log = bytearray()
        sandbox.follow_log(0, log.extend)
        outcome = sandbox.wait()
        collected = sandbox.collect(scratch, succeeded=outcome.exit_code == 0) if scratch else []
        return Ran(outcome, log.decode(errors="backslashreplace"), collected, list(sandbox.warnings))
    finally:
        sandbox.remove()


class EndedJob:
    """A job that has ended well and whose container stays: what it leaves, for any `artifacts`, at the cost of one run.

    It is asked as a daemon asks that took the job over. Close it at the end.
    """

    def __init__(self, directory: Path, job: Assignment) -> None:
        name = f"{WORKER}-e"  # not swept by the executors of other tests
        self._executor = DockerExecutor(name, coordinator=name, directory=directory / "cache")
        self._job = job
        self._sandbox = self._executor.sandbox(job)
        self._sandbox.prepare(None)
        self._sandbox.release(Dependencies())
        log = bytearray()
        self._sandbox.follow_log(0, log.extend)
        self._outcome, self._log = self._sandbox.wait(), log.decode(errors="backslashreplace")
        assert self._outcome.exit_code == 0, self._log

    def leaves(self, scratch: Path, spec: ArtifactsSpec, *, succeeded: bool = True) -> Ran:
        """What the job leaves if its artifacts are these."""
        job = msgspec.structs.replace(self._job, job=msgspec.structs.replace(self._job.job, artifacts=spec))
        sandbox = self._executor.sandbox(job)
        collected = sandbox.collect(scratch, succeeded=succeeded)
        return Ran(self._outcome, self._log, collected, list(sandbox.warnings))

    def close(self) -> None:
        """Removes the container."""
        self._sandbox.remove()
        self._executor.close()
