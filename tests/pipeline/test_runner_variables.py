"""Variables that steer GitLab's runner: each works, or asks for what happens anyway, or is warned of by name."""

from __future__ import annotations

import pytest

from pipeline.runner_variables import TABLE, Effect, why_without_effect
from tests.support.project import Project

TEXT = """\
variables:
  GIT_DEPTH: 1
  GET_SOURCES_ATTEMPTS: 3
  KUBERNETES_CPU_REQUEST: {value: "2", description: how many}
a:
  script: [a]
  variables: {GIT_CLEAN_FLAGS: -fd, RUNNER_SCRIPT_TIMEOUT: 5m, FF_USE_FASTZIP: "true", FF_OTHER: "true"}
b:
  script: [b]
  variables: {GIT_CLEAN_FLAGS: -fd, GIT_CHECKOUT: "true"}
c:
  script: [c]
  variables: {GIT_CHECKOUT: "false", GIT_SUBMODULE_STRATEGY: recursive, GIT_SUBMODULE_PATHS: lib}
"""
FLAGS = """
    CLEAN_UP_FAILED_CACHE_EXTRACT CONCRETE DISABLE_AUTOMATIC_TOKEN_ROTATION DISABLE_POWERSHELL_STDIN
    DISABLE_UMASK_FOR_DOCKER_EXECUTOR DISABLE_UMASK_FOR_KUBERNETES_EXECUTOR ENABLE_BASH_EXIT_CODE_CHECK
    ENABLE_JOB_CLEANUP GIT_URLS_WITHOUT_TOKENS HASH_CACHE_KEYS KUBERNETES_HONOR_ENTRYPOINT
    LOG_IMAGES_CONFIGURED_FOR_JOB MASK_ALL_DEFAULT_TOKENS NETWORK_PER_BUILD POSIXLY_CORRECT_ESCAPES PRINT_POD_EVENTS
    RESOLVE_FULL_TLS_CHAIN SCRIPT_SECTIONS SCRIPT_TO_STEP_MIGRATION SECRET_RESOLVING_FAILS_IF_MISSING TIMESTAMPS
    USE_ADVANCED_POD_SPEC_CONFIGURATION USE_DIRECT_DOWNLOAD USE_DYNAMIC_TRACE_FORCE_SEND_INTERVAL USE_FASTZIP
    USE_GITALY_CORRELATION_ID USE_GIT_BUNDLE_URIS USE_GIT_NATIVE_CLONE USE_GIT_PROACTIVE_AUTH
    USE_INIT_WITH_DOCKER_EXECUTOR USE_LEGACY_BASH_EVAL USE_NATIVE_CONTAINER_STOP WAIT_FOR_POD_TO_BE_REACHABLE
"""
"""Feature flags of GitLab's runner, without FF_."""


def test_variables_without_effect_are_told_of_once_with_their_place(project: Project) -> None:
    compiled = project.compile(TEXT)
    assert [(warning.line, warning.key) for warning in compiled.warnings] == [
        (4, "variables.KUBERNETES_CPU_REQUEST"),
        (7, "a.variables.GIT_CLEAN_FLAGS"),
        (7, "a.variables.FF_OTHER"),
    ]
    assert all("has no effect here: " in warning.message for warning in compiled.warnings)


def test_a_file_that_asks_for_what_works_or_happens_anyway_gets_no_warning(project: Project) -> None:
    asked = "GIT_DEPTH: 5, GIT_STRATEGY: none, CI_DEBUG_SERVICES: 'true', CACHE_COMPRESSION_LEVEL: fast, FF_OTHER: 0"
    assert project.warnings(f"variables: {{{asked}, FF_NETWORK_PER_BUILD: true}}\na: {{script: [a]}}\n") == []


def test_the_user_s_and_the_project_s_variables_are_warned_of_too(project: Project) -> None:
    project.write(".gitlab-ci-local-variables.yml", "TRANSFER_METER_FREQUENCY: 2s\n")
    given = {"FF_NETWORK_PER_BUILD": "false", "GIT_DEPTH": "3", "SECURE_FILES_DOWNLOAD_PATH": "files"}
    assert project.warnings("a: {script: [a]}\n", variables=given) == [
        ".gitlab-ci-local-variables.yml: TRANSFER_METER_FREQUENCY: has no effect here: transfers are not shown in a "
        "job's log",
        "--var FF_NETWORK_PER_BUILD: has no effect here: it is always on: each job with services has a "
        "network of its own",
        "--var SECURE_FILES_DOWNLOAD_PATH: has no effect here: secure files are kept on a GitLab "
        "server; `longshore secret --file` has files",
    ]


@pytest.mark.parametrize("flag", FLAGS.split())
def test_each_feature_flag_works_or_is_warned_of_or_happens_anyway(flag: str) -> None:
    name = f"FF_{flag}"
    rows = [row for row in TABLE if name in row.names]
    assert len(rows) <= 1
    quiet = bool(rows) and rows[0].effect is not Effect.NONE
    assert bool(why_without_effect(name, "true")) is not quiet
    assert bool(why_without_effect(name, "$LATER")) is not quiet
    assert bool(why_without_effect(name, "false")) is (bool(rows) and rows[0].switch)


def test_no_variable_has_two_rows() -> None:
    names = [name for row in TABLE for name in row.names]
    assert len(set(names)) == len(names)
    assert why_without_effect("MY_VARIABLE", "true") == ""
    assert why_without_effect("GIT_CLEAN_FLAGS", "") == "", "an empty value asks for nothing"


def test_a_file_that_only_tunes_the_runner_gets_no_warning(project: Project) -> None:
    tuned = "variables: {GIT_DEPTH: 5, GIT_STRATEGY: none, CI_DEBUG_SERVICES: 'true', CACHE_COMPRESSION_LEVEL: fast}"
    assert project.warnings(f"{tuned}\na: {{script: [a]}}\n") == []


def test_only_variables_of_the_kubernetes_executor_are_told_of(project: Project) -> None:
    names = ("CPU_LIMIT", "HELPER_MEMORY_REQUEST", "NODE_SELECTOR_x", "NAMESPACE_OVERWRITE", "RUNNER_TAG", "VERSION")
    written = "".join(f"  KUBERNETES_{name}: x\n" for name in names)
    warned = project.compile(f"variables:\n{written}a: {{script: [a]}}\n").warnings
    assert [warning.line for warning in warned] == [2, 3, 4, 5]
