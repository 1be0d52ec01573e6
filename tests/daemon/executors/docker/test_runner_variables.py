"""Variables that steer GitLab's runner do here what they do there."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from daemon.executors.base import Checkout, CheckoutOptions, Dependencies, JobFailed, Outcome, Workspace
from daemon.executors.common.clone_path import at_clone_path
from daemon.executors.common.script_limits import Limits, limits_of
from daemon.executors.docker.executor import DockerExecutor
from protocol.messages import Assignment
from protocol.plan import ArtifactsSpec, ServiceSpec, Variable
from tests.support.docker_jobs import WORKER, contents, run_job, tar_of, tar_workspace
from tests.support.eventually import DEADLINE
from tests.support.images import BUSYBOX
from tests.support.plans import assignment, variables


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("3s", 3.0),
        ("5m", 300.0),
        ("1h20m", 4800.0),
        ("1h 30m", 5400.0),
        ("1.5h", 5400.0),
        ("500ms", 0.5),
        ("0", None),
        ("", None),
    ],
)
def test_a_duration_is_written_as_in_go(text: str, seconds: float | None) -> None:
    assert limits_of({"RUNNER_SCRIPT_TIMEOUT": text}) == Limits(script=seconds)
    assert limits_of({"RUNNER_AFTER_SCRIPT_TIMEOUT": text}) == Limits(after=seconds)


@pytest.mark.parametrize("text", ["1200", "soon", "-3s", "3 apples", "s"])
def test_what_is_no_duration_is_told_of_and_has_no_effect(text: str) -> None:
    limits = limits_of({"RUNNER_SCRIPT_TIMEOUT": text})
    assert limits.script is None
    assert limits.warnings == (f"RUNNER_SCRIPT_TIMEOUT has no effect: {text!r} is not a duration such as 40s or 1h20m",)


@pytest.mark.parametrize(("text", "counts"), [("false", True), ("0", True), ("true", False), ("1", False), ("", False)])
def test_errors_of_after_script_count_only_if_they_are_not_to_be_ignored(text: str, counts: bool) -> None:
    assert limits_of({"AFTER_SCRIPT_IGNORE_ERRORS": text}).after_counts is counts


def test_a_script_that_takes_too_long_is_stopped_and_after_script_runs(executor: DockerExecutor) -> None:
    job = assignment(
        "sleep 100",
        "echo too late",
        after_script=['echo "cleanup after $CI_JOB_STATUS"'],
        variables=variables(RUNNER_SCRIPT_TIMEOUT="${SECONDS_OF_IT}s", SECONDS_OF_IT="1"),
    )
    begun = time.monotonic()
    ran = run(executor, job)
    assert time.monotonic() - begun < DEADLINE
    assert ran[0].expired
    assert ran[0].exit_code != 0
    assert "too late" not in ran[1]
    assert ran[1][-1] == "cleanup after failed"


def run(executor: DockerExecutor, job: Assignment) -> tuple[Outcome, list[str]]:
    """As the worker does it: the end is waited for while the log is followed."""
    sandbox = executor.sandbox(job)
    sandbox.prepare(None)
    sandbox.release(Dependencies())
    outcome = sandbox.wait()
    log = bytearray()
    sandbox.follow_log(0, log.extend)
    sandbox.remove()
    return outcome, log.decode().splitlines()


def test_another_daemon_ends_a_script_that_takes_too_long(executor: DockerExecutor, tmp_path: Path) -> None:
    job = assignment("sleep 100", variables=variables(RUNNER_SCRIPT_TIMEOUT="1s"))
    executor.sandbox(job).prepare(None)
    executor.sandbox(job).release(Dependencies())
    another = DockerExecutor(WORKER, coordinator=WORKER, directory=tmp_path / "cache").sandbox(job)
    assert another.wait().expired
    another.remove()


def test_the_script_s_time_is_no_limit_for_after_script(executor: DockerExecutor) -> None:
    job = assignment(
        "echo main",
        after_script=["sleep 2", "echo all of it"],
        variables=variables(RUNNER_SCRIPT_TIMEOUT="1s"),
    )
    outcome, log = run(executor, job)
    assert (outcome.exit_code, outcome.expired, log[-1]) == (0, False, "all of it")


def test_an_after_script_that_takes_too_long_is_stopped_and_fails_nothing(executor: DockerExecutor) -> None:
    job = assignment(
        "echo main",
        after_script=["sleep 100", "echo too late"],
        variables=variables(RUNNER_AFTER_SCRIPT_TIMEOUT="1s"),
    )
    begun = time.monotonic()
    ran = run_job(executor, job)
    assert time.monotonic() - begun < DEADLINE
    assert ran.outcome.exit_code == 0
    assert ran.lines == ["$ echo main", "main", "$ sleep 100"]
    assert executor.sandbox(job).after_seconds == 1.0


@pytest.mark.parametrize(
    ("script", "ignored", "code"), [("true", "false", 3), ("true", "true", 0), ("exit 5", "false", 5)]
)
def test_after_script_s_failure_is_the_job_s_if_it_is_not_to_be_ignored(
    executor: DockerExecutor, script: str, ignored: str, code: int
) -> None:
    job = assignment(script, after_script=["exit 3"], variables=variables(AFTER_SCRIPT_IGNORE_ERRORS=ignored))
    assert run_job(executor, job).outcome.exit_code == code


def test_a_malformed_limit_is_a_warning_of_the_job(executor: DockerExecutor) -> None:
    ran = run_job(executor, assignment("true", variables=variables(RUNNER_SCRIPT_TIMEOUT="90")))
    assert ran.outcome.exit_code == 0
    assert ran.warnings == ["RUNNER_SCRIPT_TIMEOUT has no effect: '90' is not a duration such as 40s or 1h20m"]


def test_a_debug_trace_shows_what_really_runs(executor: DockerExecutor) -> None:
    job = assignment("echo $GREETING", variables=variables(GREETING="hello", CI_DEBUG_TRACE="true"))
    assert run_job(executor, job).lines == ["$ echo $GREETING", "+ echo hello", "hello"]


@pytest.mark.parametrize(
    ("given", "files"),
    [
        ({"GIT_STRATEGY": "none"}, []),
        ({"GIT_STRATEGY": "empty"}, []),
        ({"GIT_STRATEGY": "clone"}, ["file"]),
        ({"GIT_STRATEGY": "fetch"}, ["file"]),
        ({"GIT_CHECKOUT": "false"}, []),
    ],
)
def test_a_job_that_wants_no_sources_has_none(
    executor: DockerExecutor, tmp_path: Path, given: dict[str, str], files: list[str]
) -> None:
    job = assignment("ls -A", variables=variables(**given))
    ran = run_job(executor, job, workspace=tar_of(tmp_path / "w.tar", {"file": "x"}))
    assert ran.lines == ["$ ls -A", *files]


class Asked(Workspace):
    """A workspace that notes what it is asked for."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.options: list[CheckoutOptions] = []

    def checkout(self, options: CheckoutOptions) -> Checkout:
        self.options.append(options)
        return self.workspace.checkout(options)


def test_a_job_s_variables_choose_its_checkout(executor: DockerExecutor, tmp_path: Path) -> None:
    workspace = Asked(tar_workspace(tar_of(tmp_path / "w.tar", {"file": "x"})))
    wanted = variables(DEEP="7", GIT_DEPTH="$DEEP", GIT_SUBMODULE_STRATEGY="normal", GIT_CHECKOUT="what")
    sandbox = executor.sandbox(assignment("true", variables=wanted))
    sandbox.prepare(workspace)
    sandbox.prepare(workspace)
    sandbox.remove()
    assert workspace.options == [CheckoutOptions(depth=7, submodules="normal", submodule_depth=7)] * 2
    assert sandbox.warnings == ['GIT_CHECKOUT has no effect: \'what\' is neither "true" nor "false"']


def test_an_unknown_strategy_fails_the_job(executor: DockerExecutor) -> None:
    with pytest.raises(JobFailed, match="unknown GIT_STRATEGY 'pull'"):
        run_job(executor, assignment("true", variables=variables(GIT_STRATEGY="pull")))


def test_flags_give_a_job_sections_checks_and_an_init_process_and_levels_choose_how_archives_are_packed(
    executor: DockerExecutor, tmp_path: Path
) -> None:
    sizes: dict[str, int] = {}
    for level in ("slowest", "fastest", "best"):
        job = assignment(
            "set +e",
            "cat /proc/1/comm",
            "seq 100000 >numbers\nwc -l numbers",
            "sh -c 'exit 4'",
            "echo too late",
            artifacts=ArtifactsSpec(paths=["numbers"], when="always"),
            variables=variables(
                FF_SCRIPT_SECTIONS="1",
                FF_ENABLE_BASH_EXIT_CODE_CHECK="true",
                FF_USE_INIT_WITH_DOCKER_EXECUTOR="true",
                ARTIFACT_COMPRESSION_LEVEL=level,
            ),
        )
        scratch = tmp_path / level
        scratch.mkdir()
        ran = run_job(executor, job, scratch=scratch)
        sizes[level] = ran.collected[0].path.stat().st_size
    assert sizes["slowest"] < sizes["best"] < sizes["fastest"]
    assert ran.warnings == [
        "ARTIFACT_COMPRESSION_LEVEL has no effect: 'best' is none of fastest, fast, default, slow, slowest"
    ]
    assert ran.outcome.exit_code == 4
    assert "docker-init" in ran.lines
    assert "100000 numbers" in ran.lines
    assert ":section_script_step_2[hide_duration=true,collapsed=true]\r\x1b[0K$ seq" in ran.log
    assert "too late" not in ran.log.partition("exit 4")[2]


def test_a_job_finds_its_project_its_services_and_its_files_in_the_directory_of_its_choice(
    executor: DockerExecutor, tmp_path: Path
) -> None:
    job = assignment(
        "pwd; cat file $KEY; echo left >left",
        "for _ in 1 2 3 4 5 6 7 8 9 10; do [ -e seen ] && break; sleep 0.5; done; cat seen",
        services=[
            ServiceSpec(
                name=BUSYBOX,
                command=[
                    "sh",
                    "-c",
                    "until [ -e $CI_PROJECT_DIR/left ]; do sleep 0.1; done; echo $PWD >$GIT_CLONE_PATH/seen",
                ],
            )
        ],
        artifacts=ArtifactsSpec(paths=["left", "$CI_PROJECT_DIR/seen"]),
        variables=[
            *variables(GIT_CLONE_PATH="$CI_BUILDS_DIR/$CI_CONCURRENT_ID/here"),
            Variable(key="KEY", value="secret\n", file=True),
        ],
        predefined=variables(CI_BUILDS_DIR="/builds", CI_PROJECT_DIR="/builds/group/project"),
    )
    workspace = tar_of(tmp_path / "w.tar", {"file": "content\n"})
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    ran = run_job(executor, at_clone_path(job), workspace=workspace, scratch=scratch)
    assert ran.outcome.exit_code == 0, ran.log
    assert ran.lines[1:4] == ["/builds/0/here", "content", "secret"]
    assert set(contents(ran.collected[0].path)) == {"left", "seen"}
