"""The variables that steer GitLab's runner: what each does here, and warnings of those without effect. Pure.

The table in docs/pipeline-file.md is made of it. Variables that work are the worker's concern.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from enum import Enum

import msgspec

from pipeline.nodes import Map, Mark, Origin, Value, text_of
from pipeline.problems import Report
from pipeline.project_variables import FILE_NAME
from protocol.plan import Variable


class Effect(Enum):
    """What a variable of GitLab's runner does here."""

    WORKS = "works"
    ALWAYS = "always so"
    NONE = "no effect"


class RunnerVariable(msgspec.Struct, frozen=True):
    """Variables of one meaning. A name that ends in `*` stands for all that begin so.

    ALWAYS: the variable asks for what happens anyway. A `switch` may be turned off, which has no effect.
    """

    names: tuple[str, ...]
    effect: Effect
    note: str
    switch: bool = False


def _works(*names: str, note: str) -> RunnerVariable:
    return RunnerVariable(names, Effect.WORKS, note)


def _always(*names: str, note: str, switch: bool = False) -> RunnerVariable:
    return RunnerVariable(names, Effect.ALWAYS, note, switch)


def _without(*names: str, note: str) -> RunnerVariable:
    return RunnerVariable(names, Effect.NONE, note)


TABLE = (
    _works(
        "RUNNER_SCRIPT_TIMEOUT",
        note="a script that takes longer is stopped, `after_script` runs, and the job fails with "
        "`job_execution_timeout`; a duration as in Go (`40s`, `1h20m`, also `1h 20m`)",
    ),
    _works("RUNNER_AFTER_SCRIPT_TIMEOUT", note="an `after_script` that takes longer is stopped; 5 min by default"),
    _works("AFTER_SCRIPT_IGNORE_ERRORS", note='`"false"`: a job whose script succeeds fails with its `after_script`'),
    _works(
        "GIT_STRATEGY",
        note="`none` and `empty`: the project's directory is empty; `clone` and `fetch` are the same: every job gets a "
        "fresh checkout",
    ),
    _works("GIT_DEPTH", note="commits of history in a job; 20 by default, `0` for all"),
    _works(
        "GIT_CHECKOUT",
        note='`"false"`: the job finds `.git`, and no files; in a project without git, an empty directory',
    ),
    _works(
        "GIT_CLONE_PATH",
        note="the project's directory, below `$CI_BUILDS_DIR`; `CI_PROJECT_DIR` follows. `$CI_CONCURRENT_ID` is 0 in "
        "it: each job has a file system of its own",
    ),
    _works(
        "GIT_SUBMODULE_STRATEGY",
        "GIT_SUBMODULE_PATHS",
        "GIT_SUBMODULE_DEPTH",
        note="`none` (default), `normal` or `recursive`: submodules as they are checked out where the run was started; "
        "the paths choose among them; the depth is `GIT_DEPTH` by default",
    ),
    _works(
        "GIT_LFS_SKIP_SMUDGE", note="for `git lfs` in a script; the checkout has files of Git LFS as they are on disk"
    ),
    _works("CI_DEBUG_TRACE", note='`"true"`: the log shows each command that the shell runs (`set -x`)'),
    _works(
        "CI_DEBUG_SERVICES",
        note='`"true"`: the output of the services follows that of the script in the job\'s log, each line with '
        "`[service:NAME]`. Each service has a log of its own in any case",
    ),
    _works("CACHE_FALLBACK_KEY", note="the last of each cache's fallback keys"),
    _works(
        "ARTIFACT_COMPRESSION_LEVEL",
        "CACHE_COMPRESSION_LEVEL",
        note="`fastest`, `fast`, `default`, `slow` or `slowest`: levels -3, -1, 1, 6 and 12 of zstd",
    ),
    _works(
        "DOCKER_AUTH_CONFIG",
        note="the `auths` of a Docker configuration file, as text or as a variable of type file: logins at registries, "
        "before those of the worker's `docker login`. Keep it as a [secret](cli.md#secret). Helpers named in it are "
        "not run. An image that one job has pulled is there for all jobs of the worker, unless they have "
        "`pull_policy: always`",
    ),
    _works("FF_SCRIPT_SECTIONS", note="a command of several lines is a section of the log, which can be unfolded"),
    _works("FF_ENABLE_BASH_EXIT_CODE_CHECK", note="a command that fails ends the script even after `set +e`"),
    _works("FF_USE_INIT_WITH_DOCKER_EXECUTOR", note="job and services run below Docker's init process"),
    _works("FF_DISABLE_UMASK_FOR_DOCKER_EXECUTOR", note="files keep the modes of the repository (see above)"),
    _always(
        "ARTIFACT_DOWNLOAD_ATTEMPTS",
        "GET_SOURCES_ATTEMPTS",
        "RESTORE_CACHE_ATTEMPTS",
        note="transfers from the coordinator are repeated until they succeed; caches are on the worker's host",
    ),
    _always("GIT_SUBMODULE_FORCE_HTTPS", note="jobs fetch no submodules: they come with the snapshot"),
    _always("FF_NETWORK_PER_BUILD", note="each job with services has a network of its own", switch=True),
    _always("FF_ENABLE_JOB_CLEANUP", note="a job's project directory is removed with it", switch=True),
    _always("FF_CLEAN_UP_FAILED_CACHE_EXTRACT", note="a damaged cache is not unpacked, with a warning", switch=True),
    _always("FF_HASH_CACHE_KEYS", note="caches are stored under hashes of their keys", switch=True),
    _always("FF_GIT_URLS_WITHOUT_TOKENS", note="a job's repository has no credentials", switch=True),
    _always(
        "FF_POSIXLY_CORRECT_ESCAPES",
        "FF_USE_NEW_BASH_EVAL_STRATEGY",
        note="scripts run so in any shell",
        switch=True,
    ),
    _always(
        "FF_USE_DYNAMIC_TRACE_FORCE_SEND_INTERVAL", note="logs are sent as they come, within a fraction of a second"
    ),
    _always(
        "FF_USE_DIRECT_DOWNLOAD",
        "FF_USE_EXPONENTIAL_BACKOFF_STAGE_RETRY",
        "FF_USE_FASTZIP",
        "FF_USE_GIT_BUNDLE_URIS",
        "FF_USE_GIT_NATIVE_CLONE",
        "FF_USE_PARALLEL_ARTIFACT_TRANSFER",
        "FF_USE_PARALLEL_CACHE_TRANSFER",
        note="they change only the speed of GitLab Runner's transfers; Longshore has its own",
    ),
    _without("GIT_CLEAN_FLAGS", note="every job gets a fresh checkout: no file of an earlier job is there to be kept"),
    _without(
        "GIT_CLONE_EXTRA_FLAGS",
        "GIT_FETCH_EXTRA_FLAGS",
        "GIT_SUBMODULE_UPDATE_FLAGS",
        note="a checkout is made from the run's snapshot, without `git clone`, `fetch` or `submodule update`",
    ),
    _without("EXECUTOR_JOB_SECTION_ATTEMPTS", note="a job whose container is lost fails; `retry` runs it again"),
    _without("CACHE_REQUEST_TIMEOUT", note="caches are on the worker's host: no request is made for them"),
    _without("CACHE_COMPRESSION_FORMAT", note="caches are tars, compressed with zstd"),
    _without("TRANSFER_METER_FREQUENCY", note="transfers are not shown in a job's log"),
    _without(
        "CACHE_CHUNK_SIZE",
        "CACHE_CONCURRENCY",
        "CACHE_TRANSFER_BUFFER_SIZE",
        "FASTZIP_*",
        note="they tune GitLab Runner's own archiver and its transfers",
    ),
    _without(
        "RUNNER_GENERATE_ARTIFACTS_METADATA",
        "SLSA_PROVENANCE_SCHEMA_VERSION",
        note="artifact metadata is not generated: a GitLab server would have to vouch for it",
    ),
    _without("SECRETS_RETRIEVAL_ATTEMPTS", note="only a GitLab server fetches `secrets` of other stores"),
    _without(
        "SECURE_FILES_DOWNLOAD_PATH",
        note="secure files are kept on a GitLab server; `longshore secret --file` has files",
    ),
    _without("KUBERNETES_*", note="jobs run in Docker; `x-longshore` bounds their CPUs and memory"),
    _always(
        "FF_TIMESTAMPS",
        note="the time of each line is stored beside the log, not in it; `logs -t` and the dashboard's `t` show it",
        switch=True,
    ),
    _without(
        "FF_MASK_ALL_DEFAULT_TOKENS",
        note="only secrets and masked variables are masked: tokens of GitLab exist only with its server",
    ),
    _without("FF_*", note="it is a feature flag of GitLab's runner, of something that Longshore does not have"),
)
TRUE = frozenset({"1", "t", "true"})
"""What GitLab Runner takes for true, in lower case."""
KUBERNETES = re.compile(
    r"KUBERNETES_(?:(?:NAMESPACE|SERVICE_ACCOUNT)_OVERWRITE|BEARER_TOKEN"
    r"|(?:NODE_SELECTOR|NODE_TOLERATIONS|POD_LABELS|POD_ANNOTATIONS)_.+"
    r"|(?:(?:SERVICE|HELPER|POD)_)?(?:CPU|MEMORY|EPHEMERAL_STORAGE)_(?:LIMIT|REQUEST))\Z"
)
"""Variables that the Kubernetes executor of GitLab's runner takes; others of the prefix are the project's own."""
_BY_NAME = {name: row for row in TABLE for name in row.names if not name.endswith("*")}
_BY_PREFIX = [(name.removesuffix("*"), row) for row in TABLE for name in row.names if name.endswith("*")]


def warn_of_runner_variables(
    report: Report, holders: Iterable[tuple[str, Map]], given: Sequence[Variable] = (), own: int = 0
) -> None:
    """Warns of `variables` of the whole file and of jobs; each holder comes with its job's name.

    `given` are those of the run; the first `own` of them are the project's.
    """
    for name, holder in holders:
        variables = holder.get("variables")
        if not isinstance(variables, Map):
            continue
        for key, value, mark in variables.entries():
            if reason := why_without_effect(key, _text(value)):
                report.without_effect(key, reason, mark, ".".join(filter(None, [name, "variables", key])))
    for number, variable in enumerate(given):
        if reason := why_without_effect(variable.key, variable.value):
            place = Mark(Origin(FILE_NAME), 0) if number < own else None
            report.without_effect(variable.key, reason, place, variable.key if place else f"--var {variable.key}")


def why_without_effect(key: str, value: str) -> str:
    """Why a variable with this value does nothing here; empty if it works, or asks for nothing."""
    row = _BY_NAME.get(key) or next((row for prefix, row in _BY_PREFIX if key.startswith(prefix)), None)
    if key.startswith("KUBERNETES_") and not KUBERNETES.match(key):
        return ""
    if row is None or row.effect is Effect.WORKS or not value:
        return ""
    is_on = "$" in value or value.strip().lower() in TRUE
    if row.effect is Effect.ALWAYS:
        return f"it is always on: {row.note}" if row.switch and not is_on else ""
    return row.note if is_on or not key.startswith("FF_") else ""


def table() -> str:
    """The table in Markdown."""
    lines = ["| variable | here | how, or why |", "| --- | --- | --- |"]
    for row in TABLE:
        names = ", ".join(f"`{name}`" for name in row.names)
        lines.append(f"| {names} | {row.effect.value} | {row.note} |")
    return "\n".join(lines)


def _text(value: Value) -> str:
    if isinstance(value, Map):
        value = value.get("value")
    return text_of(value) if isinstance(value, str | int | float) else ""
