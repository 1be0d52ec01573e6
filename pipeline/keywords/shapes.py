"""Shapes of values that several keywords share, and the lists of keywords and words that GitLab fixes."""

from __future__ import annotations

from pipeline.schema import Boolean, Choice, Fields, ListOf, MapOf, Number, Text, any_of, one_or_more

TEXT = Text()
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
