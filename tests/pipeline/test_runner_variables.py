"""Variables that steer GitLab's runner, and have no effect here, are told of; others are left in peace."""

from __future__ import annotations

from tests.support.project import Project

TEXT = """\
variables:
  GIT_DEPTH: 1
  GET_SOURCES_ATTEMPTS: 3
  KUBERNETES_CPU_REQUEST: {value: "2", description: how many}
a:
  script: [a]
  variables: {GIT_CLONE_PATH: /elsewhere, RUNNER_SCRIPT_TIMEOUT: 5m, FF_USE_FASTZIP: "true", FF_OTHER: "true"}
b:
  script: [b]
  variables: {GIT_CLONE_PATH: /elsewhere, GIT_CHECKOUT: "true"}
c:
  script: [c]
  variables: {GIT_CHECKOUT: "false", GIT_SUBMODULE_STRATEGY: recursive, GIT_SUBMODULE_PATHS: lib}
"""


def test_variables_without_effect_are_told_of_once_with_their_place(project: Project) -> None:
    compiled = project.compile(TEXT)
    assert [(warning.line, warning.key) for warning in compiled.warnings] == [
        (4, "variables.KUBERNETES_CPU_REQUEST"),
        (7, "a.variables.GIT_CLONE_PATH"),
        (7, "a.variables.FF_OTHER"),
    ]
    assert all("has no effect here: " in warning.message for warning in compiled.warnings)


def test_a_file_that_only_tunes_the_runner_gets_no_warning(project: Project) -> None:
    tuned = "variables: {GIT_DEPTH: 5, GIT_STRATEGY: none, CI_DEBUG_SERVICES: 'true', CACHE_COMPRESSION_LEVEL: fast}"
    assert project.warnings(f"{tuned}\na: {{script: [a]}}\n") == []


def test_only_variables_of_the_kubernetes_executor_are_told_of(project: Project) -> None:
    names = ("CPU_LIMIT", "HELPER_MEMORY_REQUEST", "NODE_SELECTOR_x", "NAMESPACE_OVERWRITE", "RUNNER_TAG", "VERSION")
    written = "".join(f"  KUBERNETES_{name}: x\n" for name in names)
    warned = project.compile(f"variables:\n{written}a: {{script: [a]}}\n").warnings
    assert [warning.line for warning in warned] == [2, 3, 4, 5]
