"""The plan: a compiled pipeline, with all includes, anchors and rules resolved.

`pipeline/` creates it, the coordinator stores it, a worker runs one `JobPlan` of it.
Durations are seconds, sizes are bytes.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec

from protocol.names import ReportKind

When = Literal["on_success", "on_failure", "always", "manual", "delayed", "never"]
SaveWhen = Literal["on_success", "on_failure", "always"]


class Part(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Base of a plan's types: immutable, without unknown fields."""


class Variable(Part, frozen=True, kw_only=True):
    """One variable of a job; a later one of the same key wins.

    `raw` values are not expanded (`expand: false`); `masked` values never appear in logs or views;
    `file` values are written to a file in the container, whose path becomes the value.
    """

    key: str
    value: str
    raw: bool = False
    masked: bool = False
    file: bool = False


class Need(Part, frozen=True, kw_only=True):
    """One entry of `needs`, fully resolved to a job of this plan."""

    job: str
    artifacts: bool = True
    optional: bool = False


class ExternalNeed(Part, frozen=True, kw_only=True):
    """A job of another pipeline, whose artifacts and `reports:dotenv` a job gets: the latest successful one of this
    name in `project` at `ref`; that of the run `pipeline`, an id, which belongs to the same family of children; or with
    both, that of the run `pipeline` of the job's own project, which a user has chosen (`run --reuse`).
    """

    job: str
    project: str = ""
    ref: str = ""
    pipeline: str = ""


class ImageSpec(Part, frozen=True, kw_only=True):
    """An image to run; `name` may contain `$VARIABLES`, which the worker expands."""

    name: str
    entrypoint: list[str] | None = None
    user: str | None = None
    pull_policy: list[Literal["always", "if-not-present", "never"]] = []
    platform: str | None = None


class ServiceSpec(Part, frozen=True, kw_only=True):
    """A sidecar container on the job's private network."""

    name: str
    aliases: list[str] = []
    entrypoint: list[str] | None = None
    command: list[str] | None = None
    variables: list[Variable] = []
    user: str | None = None
    pull_policy: list[Literal["always", "if-not-present", "never"]] = []
    platform: str | None = None


class ArtifactsSpec(Part, frozen=True, kw_only=True):
    """A job's artifacts and reports. Patterns are relative to the project directory.

    `expose_as` is the text of a link to the artifacts; empty for none. `unread` are the reports, by kind, that are kept
    as files and not read.
    """

    paths: list[str] = []
    exclude: list[str] = []
    when: SaveWhen = "on_success"
    expire_in: float | None = None
    name: str = ""
    untracked: bool = False
    dotenv: list[str] = []
    junit: list[str] = []
    expose_as: str = ""
    annotations: list[str] = []
    codequality: list[str] = []
    cobertura: list[str] = []
    jacoco: list[str] = []
    unread: dict[ReportKind, list[str]] = {}

    @property
    def reports(self) -> dict[str, list[str]]:
        """The patterns of the reports that the job leaves, by kind."""
        kinds = ("dotenv", "junit", "annotations", "codequality", "cobertura", "jacoco")
        return {kind: patterns for kind in kinds if (patterns := getattr(self, kind))} | self.unread


class CacheSpec(Part, frozen=True, kw_only=True):
    """A set of directories kept on the worker's host from job to job.

    `key` may contain `$VARIABLES`; with `key_files` (names and patterns), the worker hashes those files and prepends
    `key_prefix`, or the cache's index in its job.
    """

    key: str = "default"
    key_files: list[str] = []
    key_prefix: str = ""
    fallback_keys: list[str] = []
    paths: list[str] = []
    untracked: bool = False
    policy: str = "pull-push"
    when: SaveWhen = "on_success"


class RetrySpec(Part, frozen=True, kw_only=True):
    """Automatic retries of a failed job; empty `when` and `exit_codes` mean any failure."""

    max: int = 0
    when: list[str] = []
    exit_codes: list[int] = []


class EnvironmentSpec(Part, frozen=True, kw_only=True):
    """A job's deployment target. `url` is not expanded yet.

    `on_stop` is the job of the same pipeline that stops it; `auto_stop_in` is how long a deployment lasts, in seconds.
    """

    name: str
    url: str = ""
    action: str = "start"
    slug: str = ""
    tier: str = ""
    on_stop: str = ""
    auto_stop_in: float | None = None


class ReleaseLink(Part, frozen=True, kw_only=True):
    """A file of a release that is kept elsewhere. `link_type` is other, runbook, image or package."""

    name: str
    url: str
    filepath: str = ""
    link_type: str = ""


class Release(Part, frozen=True, kw_only=True):
    """What a job releases when it succeeds. `released_at` is as written.

    In a plan, values may contain variables, which the worker expands; a `description` without white space may be the
    path of a file that has it.
    """

    tag_name: str
    description: str
    name: str = ""
    tag_message: str = ""
    ref: str = ""
    milestones: list[str] = []
    released_at: str = ""
    links: list[ReleaseLink] = []


class PagesSpec(Part, frozen=True, kw_only=True):
    """The static pages that a job publishes: the directory `publish`, which its artifacts include.

    `publish` may contain variables; `expire_in` is in seconds.
    """

    publish: str = "public"
    path_prefix: str = ""
    expire_in: float | None = None


class Resources(Part, frozen=True, kw_only=True):
    """`x-longshore`: limits of one job's container. `memory` and `log_limit` are bytes."""

    cpus: float | None = None
    memory: int | None = None
    log_limit: int | None = None


class TriggerInclude(Part, frozen=True, kw_only=True):
    """A file of a child pipeline: named by `local`, `template`, `remote` or `component`; or `file` of a `project` at
    `ref`; or `artifact`, a path among the artifacts of the job `job`. `inputs` are JSON texts by name, `rules` the JSON
    text of a list: without a match, the child does without the file.
    """

    local: str = ""
    template: str = ""
    remote: str = ""
    component: str = ""
    project: str = ""
    file: str = ""
    ref: str = ""
    artifact: str = ""
    job: str = ""
    inputs: dict[str, str] = {}
    rules: str = ""


class TriggerPlan(Part, frozen=True, kw_only=True):
    """The pipeline that a job starts: a child, of the files in `include`; or that of another `project` at its `branch`,
    by default its default branch.

    The job waits for it unless `strategy` is none: `mirror` takes over its status, `depend` its success or failure.
    `yaml_variables` are the keys of the job's variables that the other pipeline gets; with `pipeline_variables`, it
    gets those of the run too. `inputs` are JSON texts by name, for files without their own.
    """

    include: list[TriggerInclude] = []
    project: str = ""
    branch: str = ""
    strategy: Literal["none", "depend", "mirror"] = "none"
    yaml_variables: list[str] = []
    pipeline_variables: bool = False
    inputs: dict[str, str] = {}


InputValue: TypeAlias = str | bool | int | float | list[Any]
"""The value of an input, as in JSON; a list's items may be any JSON values."""


class JobInput(Part, frozen=True, kw_only=True):
    """An input of a job, which users may set when they play or retry it.

    `options` are all allowed values, any if there are none; an array's items are among them. `regex`, without slashes,
    matches a string somewhere.
    """

    default: InputValue
    type: Literal["string", "number", "boolean", "array"] = "string"
    options: list[InputValue] = []
    regex: str | None = None
    description: str = ""


class JobPlan(Part, frozen=True, kw_only=True):
    """One job, ready to run. `needs`: None waits for all earlier stages, [] for nothing.

    With `inputs`, the texts of scripts, image, services, artifacts and caches may contain expressions `${{ ... }}`,
    which the coordinator replaces before a worker gets the job; without, they are plain text.
    """

    name: str
    stage: str
    script: list[str]
    pre_get_sources_script: list[str] = []
    before_script: list[str] = []
    after_script: list[str] = []
    image: ImageSpec | None = None
    services: list[ServiceSpec] = []
    variables: list[Variable] = []
    inputs: dict[str, JobInput] = {}
    when: When = "on_success"
    start_in: float = 0.0
    allow_failure: bool = False
    allow_failure_exit_codes: list[int] = []
    needs: list[Need] | None = None
    external_needs: list[ExternalNeed] = []
    dependencies: list[str] | None = None
    tags: list[str] = []
    timeout: float = 3600.0
    artifacts: ArtifactsSpec | None = None
    caches: list[CacheSpec] = []
    retry: RetrySpec = RetrySpec()
    resource_group: str | None = None
    interruptible: bool = False
    coverage: str | None = None
    environment: EnvironmentSpec | None = None
    release: Release | None = None
    pages: PagesSpec | None = None
    resources: Resources = Resources()
    manual_confirmation: str | None = None
    trigger: TriggerPlan | None = None
    """Set if the job starts another pipeline; it has no script then, and no worker gets it."""
    mirrors: str = ""
    """The project whose latest pipeline's status the job takes; it has no script then, and no worker gets it."""


class IncludeOptions(Part, frozen=True, kw_only=True):
    """How the user wants the includes of child pipelines to be fetched: the options --server, --templates, --offline
    and --allow-local-includes of the parent. Addresses have no credentials.

    `projects` are the directories that the user has named instead (--project), on the client's machine. `generated`
    pipelines are those whose file a job has written, and all that they start.
    """

    server: str = ""
    templates: str = ""
    offline: bool = False
    allow_local: bool = False
    projects: dict[str, str] = {}
    generated: bool = False


class Keep(Part, frozen=True, kw_only=True):
    """A job's container is to stay for so many seconds after the job's end: after a failure, or `always`."""

    seconds: float
    always: bool = False


class KeepRequest(Part, frozen=True, kw_only=True):
    """Whose containers a run keeps after their end, for so many seconds: those of failed jobs if `failed`, those of
    `jobs` in any case.
    """

    seconds: float
    failed: bool = False
    jobs: list[str] = []

    def of(self, job: str) -> Keep | None:
        """What it asks for a job of this name."""
        if job in self.jobs:
            return Keep(seconds=self.seconds, always=True)
        return Keep(seconds=self.seconds) if self.failed else None


class Plan(Part, frozen=True, kw_only=True):
    """A whole pipeline, ready to run.

    `stages` are in order, `.pre` first and `.post` last; stages without jobs are omitted. A job's variables, lowest
    precedence first: `predefined`, those added by coordinator and worker for this run and job, the job's own
    `variables`, those of `reports:dotenv` of its dependencies, `run_variables` (`--var`).
    """

    name: str
    project: str
    project_dir: str
    stages: list[str]
    jobs: list[JobPlan]
    predefined: list[Variable] = []
    run_variables: list[Variable] = []
    project_variables: int = 0
    """How many of the first `run_variables` are the project's own, which its child pipelines have too."""
    auto_cancel_on_new_commit: Literal["conservative", "interruptible", "none"] = "conservative"
    auto_cancel_on_job_failure: Literal["all", "none"] = "none"
    default_image: str | None = None
    includes: IncludeOptions = IncludeOptions()
    keep: KeepRequest | None = None
