"""The compilation of child pipelines beside the coordinator: its requests and answers. Pure data.

`coordinator/children` asks; the process of `compiler` answers once, on its stdout.
"""

from __future__ import annotations

import msgspec

from protocol.plan import IncludeOptions, Plan, TriggerPlan, Variable
from protocol.views import ArtifactRef
from protocol.workspace import Changes, ObjectId, Workspace


class Part(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Base of this module's types."""


class MirroredCommit(Part, frozen=True, kw_only=True):
    """A commit of a bare repository on this host, instead of a workspace.

    `refs` are those that `rules:changes:compare_to` may name, by their full names in a job. `changes` are the files
    that count as changed; None: all.
    """

    repository: str
    commit: ObjectId
    refs: dict[bytes, ObjectId] = {}
    changes: Changes | None = None


class ChildRequest(Part, frozen=True, kw_only=True):
    """All that a child pipeline's plan depends on, or the plan of another project's pipeline.

    `run` and `job` are the parent's; `job_id` is the job's. `file` is the parent's pipeline file as messages name it.
    `predefined`, `project_variables`, `default_image` and `includes` are those of the parent's plan; all five, and
    `workspace`, are the other project's if `trigger` names one, and `upstream_project` is the parent's `CI_PROJECT_ID`
    then. `variables` are forwarded to the child with the
    precedence of `--var`. `archives` are the archives of jobs that `trigger` names, by job.

    With `commit`, it is the pipeline of a commit that no run has started: `file` is its pipeline file, and of the
    trigger, the run and its job, nothing is used.
    """

    run: int
    job: str
    job_id: int = 0
    upstream_project: str = ""
    trigger: TriggerPlan
    file: str = ""
    predefined: list[Variable] = []
    project_variables: list[Variable] = []
    variables: list[Variable] = []
    default_image: str | None = None
    includes: IncludeOptions = IncludeOptions()
    workspace: Workspace | None = None
    archives: dict[str, list[ArtifactRef]] = {}
    commit: MirroredCommit | None = None

    @property
    def workspace_bytes(self) -> int:
        """The size of the workspace's blobs."""
        return sum(blob.size for blob in self.workspace.blobs) if self.workspace is not None else 0

    def known(self, key: str) -> str:
        """The value of a predefined variable; empty without one."""
        return next((variable.value for variable in self.predefined if variable.key == key), "")


class Bounds(Part, frozen=True, kw_only=True):
    """Limits of one compilation. A snapshot that is not indexed yet gets more time, by its size."""

    seconds: float = 60.0
    cpu_seconds: int = 60
    memory_bytes: int = 1 << 30
    """Address space from which a task's process is killed."""
    open_files: int = 256
    fetch_seconds: float = 60.0
    """Further time if includes of other projects may be fetched."""
    bytes_per_second: int = 4 << 20
    """Rate at which packs are at least indexed."""
    answer_bytes: int = 16 << 20
    """Maximum size of an answer: of a plan, as clients may submit it."""

    def seconds_for(self, task: CompileTask) -> float:
        """Seconds from which a task's process is killed."""
        indexing = task.request.workspace_bytes // self.bytes_per_second
        return self.seconds + indexing + (self.fetch_seconds if task.includes else 0.0)


def needs_memory(bounds: Bounds) -> str:
    """The problem of a compilation that has exhausted its memory."""
    return f"compiling the pipeline needs more than {bounds.memory_bytes >> 20} MB of memory"


class Includes(Part, frozen=True, kw_only=True):
    """How the includes of other projects are fetched. `environment` is the number of the inherited open file that has
    the fetching process's environment, as msgpack. With `own_access`, credentials, SSH keys and directories of the
    coordinator's user are used.
    """

    environment: int
    own_access: bool


class CompileTask(Part, frozen=True, kw_only=True):
    """What a compiler process reads from its stdin.

    `blobs` are the files of the request's blobs, by digest. `store` keeps snapshots for later processes, up to
    `store_bytes` and for `store_seconds` unused; `scratch` is this process's own directory, on the same file system.
    `cache` is the directory of fetched includes; without `includes`, none are fetched.
    """

    request: ChildRequest
    bounds: Bounds
    blobs: dict[str, str]
    store: str
    store_bytes: int
    store_seconds: float
    scratch: str
    cache: str
    includes: Includes | None = None


class Compiled(Part, frozen=True, kw_only=True, tag_field="type", tag="compiled"):
    """A child pipeline's plan. `warnings` are lines of text."""

    plan: Plan
    warnings: list[str] = []


class NotCompiled(Part, frozen=True, kw_only=True, tag_field="type", tag="not_compiled"):
    """Why there is no plan: lines of text, those of a pipeline file with file, line and key.

    `defect` is a traceback, if Longshore itself is at fault. `nothing_to_run`: the file is sound, or there is none, and
    no job is to run.
    """

    problems: list[str]
    defect: str = ""
    nothing_to_run: bool = False


Answer = Compiled | NotCompiled


class AnyAnswer(Part, frozen=True, kw_only=True):
    """What a compiler process writes to its stdout."""

    answer: Answer
