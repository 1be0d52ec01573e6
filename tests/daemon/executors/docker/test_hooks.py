"""`hooks:pre_get_sources_script` runs before everything else of a job, in a shell of its own, whatever the shell."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from daemon.executors.base import Dependencies
from daemon.executors.docker.executor import DockerExecutor
from tests.support.docker_jobs import Ran, run_job
from tests.support.eventually import eventually
from tests.support.images import BUSYBOX, DASH, DEBIAN, ENTRYPOINT
from tests.support.plans import assignment

SHELLS = {"busybox": BUSYBOX, "bash": DEBIAN, "dash": DASH, "entrypoint": ENTRYPOINT}


def in_every_shell(executor: DockerExecutor, hook: list[str], **job: Any) -> dict[str, Ran]:
    """How a job with this hook goes in each shell."""
    after = ["echo after"]
    jobs = {
        shell: assignment(
            "echo main x=$x y=$y $PWD", pre_get_sources_script=hook, after_script=after, image=image, **job
        )
        for shell, image in SHELLS.items()
    }
    with ThreadPoolExecutor(len(jobs)) as pool:
        return dict(zip(jobs, pool.map(lambda one: run_job(executor, one), jobs.values()), strict=True))


def test_a_hook_runs_first_beside_the_project_s_directory_and_leaves_no_trace_in_the_shell(
    executor: DockerExecutor,
) -> None:
    hook = ["x=1; export y=2", "echo $CI_JOB_STATUS $PWD; set -u; trap 'echo bye' EXIT", "cd /tmp"]
    for shell, ran in in_every_shell(executor, hook, before_script=["echo before"]).items():
        assert ran.outcome.exit_code == 0, shell
        lines = ran.lines if shell != "entrypoint" else ran.lines[-11:]
        assert lines == [
            "$ x=1; export y=2",
            "$ echo $CI_JOB_STATUS $PWD; set -u; trap 'echo bye' EXIT",
            "running /builds/group",
            "$ cd /tmp",
            "bye",
            "$ echo before",
            "before",
            "$ echo main x=$x y=$y $PWD",
            "main x= y= /builds/group/project",
            "$ echo after",
            "after",
        ], shell


@pytest.mark.parametrize("last", ["exit 7", "(exit 7); echo not reached", "f() { return 7; }; f"])
def test_a_hook_that_fails_fails_the_job_and_nothing_else_of_it_runs(executor: DockerExecutor, last: str) -> None:
    for shell, ran in in_every_shell(executor, ["true", last, "echo not reached either"]).items():
        assert (ran.outcome.exit_code, ran.outcome.failure) == (7, ""), shell
        assert ran.lines[-2:] == ["$ true", f"$ {last}"], shell


def test_a_hook_with_a_syntax_error_fails_the_job(executor: DockerExecutor) -> None:
    for shell, ran in in_every_shell(executor, ["if then fi ) '"]).items():
        assert ran.outcome.exit_code not in (0, None), shell
        assert "main x" not in ran.log, shell


def test_a_hook_s_text_may_be_larger_than_an_environment(executor: DockerExecutor) -> None:
    hook = ["#" + "x" * 600_000, "echo all of it"]
    ran = run_job(executor, assignment("echo main", pre_get_sources_script=hook))
    assert [line for line in ran.lines if not line.startswith("$")] == ["all of it", "main"]


def test_a_job_that_is_stopped_in_its_hook_ends_there(executor: DockerExecutor) -> None:
    job = assignment(
        "echo main", pre_get_sources_script=["echo in the hook", "sleep 1000"], after_script=["echo after"]
    )
    sandbox = executor.sandbox(job)
    sandbox.prepare(None)
    sandbox.release(Dependencies())
    log = bytearray()
    follower = threading.Thread(target=sandbox.follow_log, args=(0, log.extend))
    follower.start()
    eventually(lambda: b"in the hook\n" in log)
    sandbox.stop(5.0)
    assert sandbox.wait().exit_code != 0
    follower.join()
    sandbox.remove()
    lines = [line for line in log.decode().splitlines() if line != "Terminated"]  # which a shell may say of a program
    assert lines == ["$ echo in the hook", "in the hook", "$ sleep 1000"]
