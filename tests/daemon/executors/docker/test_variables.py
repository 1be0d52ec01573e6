"""The variables of a job's script: GitLab's precedence and expansion, what the worker adds, what dependencies leave."""

from __future__ import annotations

from pathlib import Path

import pytest

from daemon.executors.base import Dependencies, JobFailed, Slot
from daemon.executors.docker.executor import DockerExecutor
from protocol.messages import Dependency
from protocol.plan import ImageSpec, ServiceSpec, Variable
from protocol.statuses import ExecutionStatus, FailureReason
from tests.support.docker_jobs import run_job
from tests.support.images import BUSYBOX, ENTRYPOINT
from tests.support.plans import assignment, variables


def dependency(**left: str) -> Dependency:
    """An ended job that leaves variables."""
    return Dependency(job="before", status=ExecutionStatus.SUCCESS, satisfied=True, variables=left)


def test_what_dependencies_leave_is_above_the_job_and_below_the_run(executor: DockerExecutor) -> None:
    job = assignment(
        'printf "%s\\n" "$URL" "$QUOTED" "$OF_RUN" "$PLAIN" "$LINES"',
        variables=[
            *variables(URL="http://$HOST/$$", HOST="job", LINES="a $HOST\nb"),
            Variable(key="RAW", value="$HOST"),
        ],
        predefined=variables(PLAIN="plain", HOST="predefined"),
        run_variables=variables(OF_RUN="run"),
    )
    first = dependency(HOST="first", QUOTED='it\'s $HOME "x" \\', OF_RUN="dependency")
    ran = run_job(executor, job, dependencies=Dependencies([first, dependency(HOST="second")]))
    assert ran.lines[1:] == ["http://second/$", 'it\'s $HOME "x" \\', "run", "plain", "a second", "b"]


def test_raw_values_are_not_expanded(executor: DockerExecutor) -> None:
    raw = Variable(key="RAW", value="$A ${B}", raw=True)
    ran = run_job(executor, assignment('echo "$RAW $USES"', variables=[raw, *variables(A="a", USES="+$A")]))
    assert ran.lines[1:] == ["$A ${B} +a"]


def test_a_path_that_hides_the_image_s_is_named_where_no_shell_is_found(executor: DockerExecutor) -> None:
    with pytest.raises(
        JobFailed, match=r"the job's variable PATH, '/opt/tool', .* `export PATH=\.\.\.` in `before_script`"
    ):
        run_job(executor, assignment("true", variables=variables(PATH="/opt/tool")))


def test_the_worker_tells_about_itself_and_the_job(executor: DockerExecutor) -> None:
    names = "CI_PROJECT_DIR CI_BUILDS_DIR CI_JOB_IMAGE CI_JOB_TIMEOUT CI_RUNNER_TAGS CI_SERVER PORT"
    ran = run_job(
        executor,
        assignment(
            f"for name in {names}; do eval echo \\$$name; done",
            "echo $CI_JOB_STARTED_AT_SLUG $CI_JOB_STARTED_AT",
            image="longshore/$IMAGE:test",
            tags=["linux", "fast"],
            variables=variables(IMAGE="busybox", PORT="80$CI_CONCURRENT_ID$CI_CONCURRENT_PROJECT_ID"),
            predefined=variables(CI_SERVER="given"),
        ),
        dependencies=Dependencies(slot=Slot(3, 1)),
    )
    told = ["/builds/group/project", "/builds", BUSYBOX, "3600", '["linux", "fast"]', "given", "8031"]
    assert ran.lines[1:8] == told
    slug, at = ran.lines[-1].split()
    assert at.endswith("Z")
    assert slug == at.lower().replace(":", "-")


def test_file_variables_are_files_that_only_the_job_s_user_reads(executor: DockerExecutor) -> None:
    secret = Variable(key="KEY", value="line 1\n$line 2", file=True)
    for image, user in (BUSYBOX, "0"), (ENTRYPOINT, "1000"):
        ran = run_job(
            executor,
            assignment('cat "$KEY"', 'stat -c "%a %u" "$KEY"', image=ImageSpec(name=image), variables=[secret]),
        )
        assert ran.outcome.exit_code == 0
        assert ran.lines[-4:] == ['$ cat "$KEY"', "line 1", '$line 2$ stat -c "%a %u" "$KEY"', f"600 {user}"]


def test_an_image_may_be_named_by_what_a_dependency_leaves(executor: DockerExecutor, tmp_path: Path) -> None:
    waiting = Dependency(job="before", status=ExecutionStatus.RUNNING, satisfied=False)
    sandbox = executor.sandbox(assignment("echo here", image="longshore/$WHICH:test", waits_for=[waiting]))
    sandbox.prepare(None)
    sandbox.hold()
    sandbox.release(Dependencies([dependency(WHICH="busybox")]))
    log = bytearray()
    sandbox.follow_log(0, log.extend)
    assert sandbox.wait().exit_code == 0
    assert log == b"$ echo here\nhere\n"


BIG = "x" * (140 << 10)
"""Longer than Linux takes one string of an environment."""


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"BIG": BIG}, "variable BIG is longer than Linux's limit of 128 KiB"),
        ({f"V{number}": "x" * 100_000 for number in range(25)}, "bytes together, at most 1572864"),
        ({f"V{number}": "€" * 30_000 for number in range(25)}, "bytes together, at most 1572864"),
    ],
)
def test_variables_that_no_program_starts_with_fail_their_job_and_say_so(
    executor: DockerExecutor, values: dict[str, str], message: str
) -> None:
    with pytest.raises(JobFailed, match=message) as raised:
        run_job(executor, assignment("true", variables=variables(**values)))
    assert raised.value.reason is FailureReason.SCRIPT_FAILURE


def test_what_dependencies_make_too_long_fails_the_job_before_its_script(executor: DockerExecutor) -> None:
    job = assignment("true", variables=variables(ALL="$LEFT$LEFT$LEFT"))
    with pytest.raises(JobFailed, match="variable ALL is longer than Linux's limit"):
        run_job(executor, job, dependencies=Dependencies([dependency(LEFT="x" * 60_000)]))


def test_a_service_s_own_variables_may_not_be_too_long_either(executor: DockerExecutor) -> None:
    service = ServiceSpec(name=BUSYBOX, command=["sleep", "60"], aliases=["s"], variables=variables(BIG=BIG))
    with pytest.raises(JobFailed, match=f"service '{BUSYBOX}': variable BIG is longer"):
        run_job(executor, assignment("true", services=[service]))
