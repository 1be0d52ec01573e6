"""All keywords of GitLab's pipeline files: their shape, and whether they work here. The single source of both.

Validation, hints for misspelled keys and the table in docs/pipeline-file.md derive from it. A keyword's path is the
path of its mapping plus its name: `job.cache.key` is `key` inside a job's `cache`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from pipeline.schema import (
    Anything,
    Boolean,
    Choice,
    Fields,
    ListOf,
    MapOf,
    Number,
    Shape,
    Text,
    any_of,
    fields_by_path,
    one_or_more,
)


class Status(Enum):
    """Whether a keyword behaves as in GitLab's reference."""

    WORKS = "works"
    DIFFERS = "differs"
    IGNORED = "ignored"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Keyword:
    """A keyword. `note` describes the difference, the reason it has no effect, or the reason it is refused."""

    path: str
    shape: Shape
    status: Status = Status.WORKS
    note: str = ""

    @property
    def refused(self) -> str:
        return self.note if self.status is Status.REFUSED else ""

    @property
    def ignored(self) -> str:
        return self.note if self.status is Status.IGNORED else ""


def works(path: str, shape: Shape, note: str = "") -> Keyword:
    """A keyword that behaves as in the reference; a note adds a limit or a detail."""
    return Keyword(path, shape, Status.WORKS, note)


def differs(path: str, shape: Shape, note: str) -> Keyword:
    """A keyword that behaves differently from the reference."""
    return Keyword(path, shape, Status.DIFFERS, note)


def ignored(path: str, note: str) -> Keyword:
    """A keyword that is accepted without effect; its use causes a warning."""
    return Keyword(path, Anything(), Status.IGNORED, note)


def refused(path: str, note: str) -> Keyword:
    """A keyword that makes a file invalid here."""
    return Keyword(path, Anything(), Status.REFUSED, note)


TEXT = Text()
NAME = Text(empty=False, longest=255)
FILLED = Text(scalars=True, empty=False)
WORD = Text(scalars=True)
FLAG = Boolean()
TEXTS = ListOf(TEXT)
WORDS = ListOf(WORD)
COMMAND = Text(mend="quote a command that contains `: `")
SCRIPT = any_of(TEXT, ListOf(COMMAND))
DURATION = Text(scalars=True, empty=False)
VARIABLES = MapOf(any_of(WORD, Fields("variable")))
PULL_POLICY = one_or_more(Choice(("always", "if-not-present", "never")))
JOB_WHEN = ("on_success", "on_failure", "always", "manual", "delayed")
TIERS = ("production", "staging", "testing", "development", "other")
SAVE_WHEN = Choice(("on_success", "on_failure", "always"))
INPUT_TYPE = Choice(("string", "number", "boolean", "array"))
EXIT_CODES = one_or_more(Number(0, 255), least=1)
POLICY = any_of(ListOf(TEXT), Fields("policy"))
MATRIX = ListOf(MapOf(one_or_more(WORD)))
CHANGES = any_of(ListOf(TEXT), Fields("rule.changes"))
EXISTS = any_of(TEXT, ListOf(TEXT), Fields("rule.exists"))
NEEDS = any_of(
    ListOf(any_of(TEXT, Fields("need"))),
    Fields("need", required=("pipeline",), mend="write the jobs of this pipeline as a list"),
)
RETRY_REASONS = (
    "always",
    "unknown_failure",
    "script_failure",
    "api_failure",
    "stuck_or_timeout_failure",
    "stuck_pending_with_matching_runners",
    "stuck_pending_no_matching_runners",
    "no_updates_running",
    "no_updates_canceling",
    "runner_system_failure",
    "runner_configuration_error",
    "runner_external_dependency_failure",
    "runner_interrupted",
    "runner_unsupported",
    "stale_schedule",
    "job_execution_timeout",
    "server_timeout_running",
    "server_timeout_canceling",
    "archived_failure",
    "unmet_prerequisites",
    "scheduler_failure",
    "data_integrity_failure",
    "image_pull_failure",
    "missing_dependency_failure",
    "oom_killed",
    "service_unhealthy",
)
_MERGE_REQUEST = "a GitLab server shows it in merge requests, compared with the target branch"
_SECURITY = "a GitLab server makes findings of it: security dashboard, policies, merge requests"
_LICENSES = "a GitLab server checks it against its license policies"
_REQUIREMENTS = "a GitLab server marks its requirements as satisfied by it"
REPORTS_NOT_READ = {
    "accessibility": _MERGE_REQUEST,
    "api_fuzzing": _SECURITY,
    "browser_performance": _MERGE_REQUEST,
    "container_scanning": _SECURITY,
    "coverage_fuzzing": _SECURITY,
    "cyclonedx": "a GitLab server makes its dependency list of it",
    "dast": _SECURITY,
    "dependency_scanning": _SECURITY,
    "license_management": _LICENSES,
    "license_scanning": _LICENSES,
    "load_performance": _MERGE_REQUEST,
    "lsif": "a GitLab server's code browser uses it",
    "metrics": _MERGE_REQUEST,
    "performance": _MERGE_REQUEST,
    "repository_xray": "a GitLab server gives it to its code suggestions",
    "requirements": _REQUIREMENTS,
    "requirements_v2": _REQUIREMENTS,
    "sarif": _SECURITY,
    "sast": _SECURITY,
    "secret_detection": _SECURITY,
    "terraform": _MERGE_REQUEST,
}
"""Reports that are kept and not read, and what a GitLab server does with each."""

DEFAULT_KEYS = (
    "after_script",
    "artifacts",
    "before_script",
    "cache",
    "hooks",
    "id_tokens",
    "identity",
    "image",
    "interruptible",
    "retry",
    "services",
    "tags",
    "timeout",
    "x-longshore",
)
"""Keywords allowed in `default` and inherited by jobs."""
TRIGGER_KEYS = frozenset(
    (
        "allow_failure",
        "environment",
        "except",
        "extends",
        "inherit",
        "interruptible",
        "manual_confirmation",
        "needs",
        "only",
        "parallel",
        "resource_group",
        "rules",
        "stage",
        "start_in",
        "trigger",
        "variables",
        "when",
    )
)
"""The keywords of a job with `trigger`: GitLab refuses all others."""
GLOBAL_DEFAULTS = ("image", "services", "cache", "before_script", "after_script")
"""Keywords also allowed at the top level, an older way to write `default`."""

GLOBAL = [
    works("global.default", Fields("job", DEFAULT_KEYS)),
    works("global.include", one_or_more(any_of(TEXT, Fields("include")))),
    works("global.stages", ListOf(WORD), "`.pre` and `.post` always exist"),
    works("global.variables", VARIABLES),
    works("global.workflow", Fields("workflow")),
    *(works(f"global.{key}", Anything(), f"an older way to write `default:{key}`") for key in GLOBAL_DEFAULTS),
    works("global.$schema", TEXT, "for editors"),
    works("variable.value", WORD),
    works("variable.description", TEXT),
    works("variable.options", WORDS),
    works("variable.expand", FLAG),
    works("workflow.name", Text(longest=255)),
    works("workflow.rules", ListOf(Fields("workflow.rule"))),
    works("workflow.auto_cancel", Fields("auto_cancel")),
    works("workflow.rule.if", TEXT),
    works("workflow.rule.changes", CHANGES, "as `rules:changes`"),
    works("workflow.rule.exists", EXISTS),
    works("workflow.rule.when", Choice(("always", "never"))),
    works("workflow.rule.variables", VARIABLES),
    works("workflow.rule.auto_cancel", Fields("auto_cancel")),
    ignored("workflow.rule.start_in", "it applies to jobs only, in GitLab too"),
    ignored("workflow.rule.allow_failure", "it applies to jobs only, in GitLab too"),
    ignored("workflow.rule.needs", "it applies to jobs only, in GitLab too"),
    works("auto_cancel.on_new_commit", Choice(("conservative", "interruptible", "none"))),
    works("auto_cancel.on_job_failure", Choice(("all", "none"))),
]

INCLUDE = [
    works(
        "include.local",
        TEXT,
        "files of the project as they are on disk, except those that git ignores; a wildcard may match none",
    ),
    works(
        "include.project",
        TEXT,
        "fetched with git from the server of `origin`, or read from a directory: `--project NAME=DIR`",
    ),
    works("include.file", one_or_more(TEXT), "with `project`"),
    works("include.ref", TEXT, "with `project`: a branch, a tag or a full SHA"),
    works(
        "include.component",
        TEXT,
        "fetched as `project`, from the server that it names; its released versions are its semantic version tags",
    ),
    works("include.inputs", MapOf(Anything())),
    works("include.rules", ListOf(Fields("include.rule"))),
    works("include.rule.if", TEXT),
    works("include.rule.changes", CHANGES, "as `rules:changes`"),
    works("include.rule.exists", EXISTS),
    works("include.rule.when", Choice(("always", "never"))),
    works(
        "include.remote",
        TEXT,
        "fetched by HTTPS or HTTP, unless `--project` maps the beginning of the URL or, if it is the address of a raw "
        "file on a GitLab server, its project; addresses of this machine only with `--allow-local-includes`",
    ),
    works(
        "include.template",
        TEXT,
        "of GitLab's own project at a fixed release, fetched with git; `--templates` chooses another",
    ),
    refused("include.artifact", "it belongs under `trigger:include`, in GitLab too"),
    refused("include.job", "it belongs under `trigger:include`, in GitLab too"),
    works("include.integrity", TEXT, "of a fetched `remote`"),
    works("include.cache", any_of(FLAG, DURATION), "of a fetched `remote`; `true` is an hour"),
]

SPEC = [
    works("header.spec", Fields("spec")),
    works("spec.inputs", MapOf(Fields("spec.input")), "names may contain any characters, such as a slash"),
    works("spec.component", ListOf(TEXT)),
    works("spec.description", TEXT, "documentation only"),
    works(
        "spec.include",
        one_or_more(any_of(TEXT, Fields("include"))),
        "with `local`, `project` or `remote`; the file's own `spec:inputs` take precedence, then those of later files",
    ),
    works("spec.input.default", Anything()),
    works("spec.input.description", TEXT),
    works("spec.input.options", ListOf(Anything())),
    works("spec.input.regex", TEXT, "in RE2's syntax, as in GitLab"),
    works("spec.input.type", INPUT_TYPE),
    works("spec.input.rules", ListOf(Fields("spec.input.rule"), least=1)),
    works("spec.input.rule.if", TEXT),
    works("spec.input.rule.options", ListOf(Anything())),
    works("spec.input.rule.default", Anything()),
]

JOB = [
    works("job.after_script", SCRIPT),
    works("job.allow_failure", any_of(FLAG, Fields("job.allow_failure"))),
    works("job.allow_failure.exit_codes", EXIT_CODES),
    works("job.artifacts", Fields("job.artifacts")),
    works("job.before_script", SCRIPT),
    works("job.cache", any_of(Fields("job.cache"), ListOf(Fields("job.cache"), most=4)), "at most four, as in GitLab"),
    works("job.coverage", TEXT),
    works("job.dependencies", TEXTS),
    works(
        "job.environment",
        any_of(TEXT, Fields("job.environment", required=("name",))),
        "the coordinator keeps environments, see [Environments](#environments)",
    ),
    differs(
        "job.except",
        POLICY,
        "as GitLab's `except`; the source is `push`, unless `--var CI_PIPELINE_SOURCE=...` sets another one",
    ),
    works("job.extends", one_or_more(TEXT)),
    works("job.hooks", Fields("job.hooks")),
    differs(
        "job.hooks.pre_get_sources_script",
        SCRIPT,
        "runs in the job's own image, beside the project's directory, whose files are there already",
    ),
    ignored(
        "job.id_tokens",
        "others trust only tokens that a GitLab server has signed; keep credentials as `longshore secret`",
    ),
    ignored("job.identity", "Google Cloud trusts a GitLab server's tokens; keep credentials as `longshore secret`"),
    works("job.image", any_of(TEXT, Fields("job.image", required=("name",)))),
    works("job.inherit", Fields("job.inherit")),
    works("job.inherit.default", any_of(FLAG, ListOf(Choice(DEFAULT_KEYS)))),
    works("job.inherit.variables", any_of(FLAG, TEXTS)),
    works(
        "job.inputs",
        MapOf(Fields("job.inputs")),
        "set by `longshore play` and `longshore retry` ([Inputs of jobs](#inputs-of-jobs))",
    ),
    works("job.inputs.default", Anything(), "required, as in GitLab"),
    works("job.inputs.description", TEXT),
    works("job.inputs.options", ListOf(Anything())),
    works("job.inputs.regex", TEXT, "for strings; in RE2's syntax, as in GitLab"),
    works("job.inputs.type", INPUT_TYPE),
    works("job.interruptible", FLAG),
    works("job.manual_confirmation", TEXT),
    works("job.needs", NEEDS),
    differs("job.only", POLICY, "as GitLab's `only`; see `except`"),
    works("job.pages", any_of(FLAG, Fields("job.pages")), "kept with the run, see [Pages](#pages)"),
    works("job.parallel", any_of(Number(1, 200), Fields("job.parallel")), "at most 200 jobs, as in GitLab"),
    works("job.parallel.matrix", MATRIX),
    works("job.publish", TEXT, "an older way to write `pages:publish`"),
    works(
        "job.release",
        Fields("job.release", required=("tag_name", "description")),
        "recorded with the run, see [Releases](#releases)",
    ),
    works("job.resource_group", TEXT),
    works("job.retry", any_of(Number(0, 2), Fields("job.retry"))),
    works("job.rules", ListOf(Fields("rule"), least=1)),
    differs(
        "job.run",
        ListOf(Fields("job.run", required=("name",)), least=1),
        "each step's `script` runs in a shell of its own, which its first failing command ends",
    ),
    works("job.run.name", TEXT),
    works("job.run.script", TEXT),
    works("job.run.env", MapOf(WORD)),
    refused(
        "job.run.step",
        "predefined steps are run by GitLab's step runner, which jobs here do not have; write a `script`",
    ),
    ignored("job.run.inputs", "they are for predefined steps"),
    works("job.script", SCRIPT),
    ignored(
        "job.secrets",
        "Vault and other stores trust tokens that a GitLab server has signed; keep secrets as `longshore secret`",
    ),
    works(
        "job.services",
        ListOf(any_of(TEXT, Fields("job.services", required=("name",)))),
        "one that exits with an error, or never becomes healthy, fails the job (`service_unhealthy`)",
    ),
    works("job.stage", WORD),
    works("job.start_in", DURATION),
    works(
        "job.tags",
        ListOf(WORD, most=49),
        "a tag that expands to nothing is dropped. Local workers (`run` alone, `up`) ignore tags, unless `--label` "
        "sets labels ([docs/cli.md](cli.md#where-runs-are-stored))",
    ),
    works("job.timeout", DURATION),
    works("job.trigger", any_of(TEXT, Fields("job.trigger")), "see [Child pipelines](#child-pipelines)"),
    works("job.variables", VARIABLES),
    works("job.when", Choice(JOB_WHEN, hints=(("never", "`never` belongs in `rules`"),))),
    ignored("job.dast_configuration", "profiles of sites and scanners are kept on a GitLab server"),
    works("job.x-longshore", Fields("job.x-longshore"), "Longshore's own: limits of the job's container"),
    works("job.x-longshore.cpus", Number(0.01, 4096, whole=False)),
    works("job.x-longshore.memory", WORD, "such as `512m` or `2g`"),
    works("job.x-longshore.log_limit", WORD, "such as `16m`"),
]

JOB_PARTS = [
    works("job.artifacts.paths", TEXTS, "see [Files](#artifacts-and-caches)"),
    works("job.artifacts.exclude", TEXTS),
    works(
        "job.artifacts.expire_in",
        DURATION,
        "while a run is under way, its artifacts are kept; variables are expanded, which GitLab refuses here",
    ),
    works("job.artifacts.name", TEXT),
    works("job.artifacts.untracked", FLAG),
    works("job.artifacts.when", SAVE_WHEN),
    works("job.artifacts.reports", Fields("job.artifacts.reports")),
    works("job.artifacts.reports.dotenv", one_or_more(TEXT)),
    works("job.artifacts.reports.junit", one_or_more(TEXT), "a file that is not a report is skipped with a warning"),
    works("job.artifacts.reports.annotations", one_or_more(TEXT), "see [Reports](#reports)"),
    works("job.artifacts.reports.codequality", one_or_more(TEXT), "see [Reports](#reports)"),
    works(
        "job.artifacts.reports.coverage_report",
        Fields("job.artifacts.reports.coverage_report", required=("coverage_format", "path")),
        "see [Reports](#reports)",
    ),
    works("job.artifacts.reports.coverage_report.coverage_format", Choice(("cobertura", "jacoco"))),
    works("job.artifacts.reports.coverage_report.path", TEXT),
    *(
        differs(f"job.artifacts.reports.{kind}", one_or_more(TEXT), f"the file is kept with the run; {what}")
        for kind, what in REPORTS_NOT_READ.items()
    ),
    ignored("job.artifacts.reports.cobertura", "GitLab has dropped it; write `coverage_report`"),
    ignored(
        "job.artifacts.access",
        "roles in a project exist on a GitLab server; here all users of the coordinator have access",
    ),
    ignored(
        "job.artifacts.public",
        "public pipelines exist on a GitLab server; here all users of the coordinator have access",
    ),
    works("job.artifacts.expose_as", Text(empty=False, longest=100), "see [Reports](#reports)"),
    works("job.cache.key", any_of(WORD, Fields("job.cache.key"))),
    works(
        "job.cache.key.files", TEXTS, "one or two files, directories or patterns, see [Files](#artifacts-and-caches)"
    ),
    works(
        "job.cache.key.files_commits",
        TEXTS,
        "one or two files or patterns, see [Files](#artifacts-and-caches)",
    ),
    works("job.cache.key.prefix", WORD),
    works("job.cache.paths", TEXTS),
    works("job.cache.untracked", FLAG),
    works("job.cache.when", SAVE_WHEN),
    works("job.cache.policy", Choice(("pull-push", "pull", "push"), variables=True)),
    works("job.cache.fallback_keys", ListOf(TEXT, most=5)),
    ignored("job.cache.unprotect", "only a GitLab server protects branches, so caches are not split by them"),
    works("job.environment.name", TEXT),
    works(
        "job.environment.url", Text(longest=255), "with all variables of the job, including those known only to its run"
    ),
    works("job.environment.action", Choice(("start", "prepare", "stop", "verify", "access"))),
    works("job.environment.deployment_tier", Choice(TIERS, variables=True), "gives `CI_ENVIRONMENT_TIER`"),
    works("job.environment.on_stop", TEXT, "a job of the same pipeline, see [Environments](#environments)"),
    works("job.environment.auto_stop_in", DURATION, "counts from the deployment, see [Environments](#environments)"),
    ignored("job.environment.kubernetes", "clusters are connected to a GitLab server, by its agents"),
    works("job.pages.publish", FILLED, "a directory, `public` by default; its artifacts include it"),
    works("job.pages.path_prefix", TEXT, "part of `CI_PAGES_URL`"),
    works("job.pages.expire_in", DURATION, "with a `path_prefix`, a day by default"),
    works("job.release.tag_name", FILLED),
    works("job.release.description", FILLED, "a text, or the path of a file in the project directory"),
    works("job.release.name", TEXT),
    differs("job.release.tag_message", TEXT, "recorded; no tag is created"),
    differs("job.release.ref", TEXT, "recorded; no tag is created"),
    differs("job.release.milestones", one_or_more(TEXT), "recorded; milestones exist only on a GitLab server"),
    works("job.release.released_at", TEXT, "a time in ISO 8601"),
    works("job.release.assets", Fields("job.release.assets", required=("links",))),
    works("job.release.assets.links", ListOf(Fields("job.release.assets.links", required=("name", "url")), most=100)),
    works("job.release.assets.links.name", FILLED),
    works("job.release.assets.links.url", FILLED),
    works("job.release.assets.links.filepath", TEXT),
    works("job.release.assets.links.link_type", Choice(("other", "runbook", "image", "package"))),
    works("job.image.name", TEXT),
    works("job.image.entrypoint", TEXTS),
    works("job.image.pull_policy", PULL_POLICY),
    works("job.image.docker", Fields("job.image.docker")),
    works("job.image.docker.user", WORD),
    works("job.image.docker.platform", TEXT),
    ignored(
        "job.image.kubernetes", "it is for pods in Kubernetes; GitLab Runner ignores it too where jobs run in Docker"
    ),
    works("job.services.name", TEXT),
    works("job.services.alias", TEXT, "several, separated by commas or blanks"),
    works("job.services.entrypoint", TEXTS),
    works("job.services.command", TEXTS),
    works("job.services.variables", VARIABLES),
    works("job.services.pull_policy", PULL_POLICY),
    works("job.services.docker", Fields("job.image.docker")),
    ignored(
        "job.services.kubernetes", "it is for pods in Kubernetes; GitLab Runner ignores it too where jobs run in Docker"
    ),
    works("job.retry.max", Number(0, 2)),
    works("job.retry.when", one_or_more(Choice(RETRY_REASONS))),
    works("job.retry.exit_codes", EXIT_CODES),
    works("job.trigger.include", one_or_more(any_of(TEXT, Fields("job.trigger.include")))),
    works("job.trigger.include.local", TEXT, "a file of the run's own snapshot, as it was when the run was started"),
    works("job.trigger.include.project", TEXT, "fetched by the coordinator ([Child pipelines](#child-pipelines))"),
    works("job.trigger.include.file", one_or_more(TEXT)),
    works("job.trigger.include.ref", TEXT),
    works("job.trigger.include.template", TEXT, "fetched by the coordinator"),
    works("job.trigger.include.remote", TEXT, "fetched by the coordinator"),
    works("job.trigger.include.component", TEXT, "fetched by the coordinator"),
    works("job.trigger.include.artifact", TEXT),
    works("job.trigger.include.job", TEXT, "a job that has ended by then: one of an earlier stage, or of `needs`"),
    works("job.trigger.include.inputs", MapOf(Anything())),
    works("job.trigger.include.rules", ListOf(Fields("include.rule")), "with the variables of the child pipeline"),
    works("job.trigger.project", TEXT, "see [Pipelines of other projects](#pipelines-of-other-projects)"),
    works("job.trigger.branch", TEXT, "without effect on a directory that is given with `--project`"),
    works("job.trigger.strategy", Choice(("depend", "mirror"))),
    works("job.trigger.forward", Fields("job.trigger.forward")),
    works("job.trigger.forward.yaml_variables", FLAG),
    works("job.trigger.forward.pipeline_variables", FLAG),
    works("job.trigger.inputs", MapOf(Anything())),
    works("need.job", TEXT),
    works("need.artifacts", FLAG),
    works("need.optional", FLAG),
    works("need.parallel", Fields("need.parallel", instead="name a job of a numbered `parallel` in full: `job 1/3`")),
    differs(
        "need.parallel.matrix",
        ListOf(MapOf(one_or_more(WORD)), least=1),
        "a selector may name a subset of the matrix variables, in any order: it selects all matching jobs. As in "
        "GitLab, each of its combinations must exist, unless the need is `optional`",
    ),
    works("need.pipeline", WORD, "see [Needs of other pipelines](#needs-of-other-pipelines)"),
    works("need.project", TEXT, "of the runs that the coordinator has"),
    works("need.ref", TEXT),
    works("policy.refs", one_or_more(TEXT)),
    works("policy.variables", one_or_more(TEXT)),
    works("policy.changes", TEXTS),
    differs("policy.kubernetes", TEXT, "no cluster exists: a job that requires one is excluded"),
    works("rule.if", TEXT, "with variables as written: as in GitLab, variables inside them are not expanded"),
    differs(
        "rule.changes",
        CHANGES,
        "changes that a push would contain, plus uncommitted ones; without push or history, all paths count as changed",
    ),
    works("rule.changes.paths", TEXTS),
    works("rule.changes.regexp", Text(longest=255)),
    works("rule.changes.compare_to", TEXT),
    works("rule.exists", EXISTS, "files of the project as they are on disk; a path that ends in `/` is a directory"),
    works("rule.exists.paths", one_or_more(TEXT)),
    works("rule.exists.regexp", Text(longest=255)),
    works("rule.exists.project", TEXT, "as `include:project`"),
    works("rule.exists.ref", TEXT, "with `project`: as `include:ref`"),
    works("rule.when", Choice((*JOB_WHEN, "never"))),
    works("rule.start_in", DURATION),
    works("rule.allow_failure", any_of(FLAG, Fields("job.allow_failure"))),
    works("rule.interruptible", FLAG),
    works("rule.needs", NEEDS),
    works("rule.variables", VARIABLES),
]

SECTIONS = {
    "At the top of a file": GLOBAL,
    "Under `include`": INCLUDE,
    "In the header": SPEC,
    "In a job": JOB,
    "Inside the keywords of a job": JOB_PARTS,
}
KEYWORDS: tuple[Keyword, ...] = tuple(keyword for keywords in SECTIONS.values() for keyword in keywords)
FIELDS = fields_by_path((keyword.path, keyword) for keyword in KEYWORDS)
"""Keywords by the mapping that contains them."""
NOT_JOBS = frozenset((*FIELDS["global"], "spec"))
"""Top-level names that are not jobs."""
