"""Warns of variables in a pipeline file that configure GitLab's runner and have no effect here. Pure.

Variables with an effect are the worker's concern. No warning for those that only tune GitLab's runner
(GIT_CLEAN_FLAGS, *_ATTEMPTS, *_COMPRESSION_LEVEL), nor for behaviour that is always on here (CI_DEBUG_SERVICES,
FF_NETWORK_PER_BUILD).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from pipeline.nodes import Map
from pipeline.problems import Report

NO_EFFECT = {
    "DOCKER_AUTH_CONFIG": "images are pulled with the worker's `docker login` credentials",
    "GIT_CLONE_PATH": "the project is always where CI_PROJECT_DIR says",
    "RUNNER_GENERATE_ARTIFACTS_METADATA": "artifact metadata is not generated",
    "SECURE_FILES_DOWNLOAD_PATH": "a Longshore run has no GitLab server that could keep secure files",
}
KUBERNETES = re.compile(
    r"KUBERNETES_(?:(?:NAMESPACE|SERVICE_ACCOUNT)_OVERWRITE|BEARER_TOKEN"
    r"|(?:NODE_SELECTOR|NODE_TOLERATIONS|POD_LABELS|POD_ANNOTATIONS)_.+"
    r"|(?:(?:SERVICE|HELPER|POD)_)?(?:CPU|MEMORY|EPHEMERAL_STORAGE)_(?:LIMIT|REQUEST))\Z"
)
"""Variables that the Kubernetes executor of GitLab's runner takes; others of the prefix are the project's own."""
FLAGS = "FF_"
QUIET_FLAGS = frozenset(
    {
        "FF_CMD_DISABLE_DELAYED_ERROR_LEVEL_EXPANSION",
        "FF_DISABLE_UMASK_FOR_DOCKER_EXECUTOR",
        "FF_ENABLE_BASH_EXIT_CODE_CHECK",
        "FF_NETWORK_PER_BUILD",
        "FF_SCRIPT_SECTIONS",
        "FF_TIMESTAMPS",
        "FF_USE_DIRECT_DOWNLOAD",
        "FF_USE_DOCKER_AUTOSCALER_DIAL_STDIO",
        "FF_USE_DYNAMIC_TRACE_FORCE_SEND_INTERVAL",
        "FF_USE_FASTZIP",
        "FF_USE_GIT_NATIVE_CLONE",
        "FF_USE_IMPROVED_URL_MASKING",
        "FF_USE_NEW_BASH_EVAL_STRATEGY",
        "FF_USE_PARALLEL_CACHE_TRANSFER",
        "FF_USE_WINDOWS_JOB_OBJECT",
    }
)
"""Feature flags with an effect here, and those whose effect is negligible."""


def warn_of_runner_variables(report: Report, holders: Iterable[tuple[str, Map]]) -> None:
    """Warns of `variables` of the whole file and of jobs; each holder comes with its job's name."""
    for name, holder in holders:
        variables = holder.get("variables")
        if not isinstance(variables, Map):
            continue
        for key, _, mark in variables.entries():
            if reason := _why_without_effect(key):
                report.without_effect(key, reason, mark, ".".join(filter(None, [name, "variables", key])))


def _why_without_effect(key: str) -> str:
    if KUBERNETES.match(key):
        return "jobs run in Docker; `x-longshore` bounds their CPUs and memory"
    if key.startswith(FLAGS) and key not in QUIET_FLAGS:
        return "it is a feature flag of GitLab's runner"
    return NO_EFFECT.get(key, "")
