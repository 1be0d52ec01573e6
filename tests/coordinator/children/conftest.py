"""A parent pipeline's project, its workspaces and artifacts, and the compiler of its children."""

from __future__ import annotations

import hashlib
import io
import shutil
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cli.submit.snapshot import write_snapshot
from cli.submit.workspace.maker import GitWorkspaceMaker
from coordinator.children.compiler import ChildCompiler, CompilerSettings
from pipeline import Repository
from protocol.compilation import Answer, ChildRequest, Compiled, NotCompiled
from protocol.compression import compressed
from protocol.plan import JobPlan, Plan, TriggerInclude, TriggerPlan
from protocol.views import ArtifactRef
from protocol.workspace import TarWorkspace, Workspace
from tests.support.eventually import DEADLINE
from tests.support.git_workspaces import Client
from tests.support.project import Project

Start = Callable[..., ChildCompiler]
PARENT = "stages: [build]\nmake: {stage: build, script: [make]}\n"


class Parent:
    """A run whose jobs start children. Its blobs are files named by their digest, as the coordinator's are."""

    def __init__(self, folder: Path, start: Start) -> None:
        self.project = Project(folder / "project")
        self.project.write(".gitlab-ci.yml", PARENT)
        self.client = Client(folder / "client")
        self.state = folder / "state"
        self.workspace: Workspace | None = None
        self._start = start
        self._compiler: ChildCompiler | None = None

    @property
    def compiler(self) -> ChildCompiler:
        """The compiler, started when it is needed."""
        if self._compiler is None:
            self._compiler = self._start(self)
        return self._compiler

    def start(self, **settings: Any) -> ChildCompiler:
        """Starts the compiler with other settings."""
        self._compiler = self._start(self, **settings)
        return self._compiler

    def blob(self, digest: str) -> Path:
        """A blob's file."""
        return self.client.packs / digest

    def commit(self) -> None:
        """Commits the project, and takes its snapshot."""
        self.project.commit()
        self.snap()

    def snap(self) -> None:
        """Takes the snapshot of a git repository."""
        self.workspace = self.client.workspace(self.project.root)

    def snap_as_client(self, *include: TriggerInclude) -> None:
        """Takes the snapshot as `longshore run` does, of a pipeline with a job that starts a child of these files."""
        plan = self.project.plan()
        starting = msgspec.structs.replace(plan.jobs[0], trigger=TriggerPlan(include=list(include)))
        maker = GitWorkspaceMaker(Repository(self.project.root))
        with closing(maker):
            made = maker.make(msgspec.structs.replace(plan, jobs=[starting]), [])
        for digest, path in made.files.items():
            shutil.move(path, self.blob(digest))
        self.workspace = made.workspace

    def pack_tar(self) -> None:
        """Takes the snapshot of a directory without git."""
        made = write_snapshot(self.project.root, self.client.packs / "tar")
        made.path.rename(self.blob(made.digest))
        self.workspace = TarWorkspace(digest=made.digest, size=made.size)

    def archive(self, files: Mapping[str, bytes], **links: str) -> ArtifactRef:
        """An archive of artifacts, as a worker uploads it."""
        plain = io.BytesIO()
        with tarfile.open(fileobj=plain, mode="w") as tar:
            for name, target in links.items():
                info = tarfile.TarInfo(f"{name}.yml")
                info.type, info.linkname = tarfile.SYMTYPE, target
                tar.addfile(info)
            for name, content in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
        packed = io.BytesIO()
        with compressed(packed) as stream:
            stream.write(plain.getvalue())
        data = packed.getvalue()
        digest = hashlib.sha256(data).hexdigest()
        self.blob(digest).write_bytes(data)
        return ArtifactRef(kind="archive", digest=digest, size=len(data), name="artifacts")

    def request(self, *include: TriggerInclude, **fields: Any) -> ChildRequest:
        """A request for a child of these files; `inputs` are the trigger's."""
        plan: Plan = self.project.plan()
        trigger = TriggerPlan(include=list(include), inputs=fields.pop("inputs", {}))
        known: dict[str, Any] = {"predefined": plan.predefined, "workspace": self.workspace, "file": ".gitlab-ci.yml"}
        return ChildRequest(run=7, job="go", trigger=trigger, **(known | fields))

    def answer(self, *include: TriggerInclude, **fields: Any) -> Answer:
        """The answer for a child of these files."""
        return self.compiler.compile(self.request(*include, **fields)).result(DEADLINE)

    def compiled(self, *include: TriggerInclude, **fields: Any) -> Compiled:
        """The same; there has to be a plan."""
        answer = self.answer(*include, **fields)
        assert isinstance(answer, Compiled), answer
        return answer

    def jobs(self, *include: TriggerInclude, **fields: Any) -> dict[str, JobPlan]:
        """The jobs of a child, by name."""
        return {job.name: job for job in self.compiled(*include, **fields).plan.jobs}

    def problems(self, *include: TriggerInclude, **fields: Any) -> list[str]:
        """Why there is no child."""
        answer = self.answer(*include, **fields)
        assert isinstance(answer, NotCompiled), answer
        assert not answer.defect, answer.defect
        return answer.problems

    def generated(self, content: str | bytes, name: str = "child.yml") -> tuple[TriggerInclude, dict[str, Any]]:
        """A file that the job `generate` has written, and the request's field with its artifacts."""
        data = content.encode() if isinstance(content, str) else content
        include = TriggerInclude(artifact=name, job="generate")
        return include, {"archives": {"generate": [self.archive({name: data})]}}


def local(path: str, **inputs: str) -> TriggerInclude:
    """A file of the project; `inputs` are JSON texts."""
    return TriggerInclude(local=path, inputs=inputs)


@pytest.fixture
def parent(tmp_path: Path) -> Iterator[Parent]:
    """A parent pipeline in a directory of its own."""
    with ExitStack() as stack:

        def start(of: Parent, **settings: Any) -> ChildCompiler:
            compiler = ChildCompiler(of.state / "children", of.blob, CompilerSettings(**settings))
            stack.callback(compiler.close)
            return compiler

        yield Parent(tmp_path, start)
