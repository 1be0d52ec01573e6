"""A job's script runs as GitLab Runner runs it, whatever the image's shell: bash, dash or busybox."""

from __future__ import annotations

import pytest

from daemon.docker_executor import DockerExecutor
from protocol.plan import ImageSpec
from tests.daemon.docker.builders import BUSYBOX, DASH, DEBIAN, ENTRYPOINT, assignment, run_job

every_shell = pytest.mark.parametrize("image", [BUSYBOX, DEBIAN, DASH], ids=["busybox", "bash", "dash"])


@every_shell
def test_every_command_is_echoed_before_its_output_in_one_shell(executor: DockerExecutor, image: str) -> None:
    ran = run_job(
        executor,
        assignment(
            "cd /tmp && x=1",
            "echo $x in $PWD >&2",
            "say() { echo \"said: $1\"; }\nsay 'it''s' # multi",
            "say again",
            image=image,
            before_script=['echo "before"'],
        ),
    )
    assert ran.outcome.exit_code == 0
    assert ran.lines == [
        '$ echo "before"',
        "before",
        "$ cd /tmp && x=1",
        "$ echo $x in $PWD >&2",
        "1 in /tmp",
        '$ say() { echo "said: $1"; } # collapsed multi-line command',
        "said: its",
        "$ say again",
        "said: again",
    ]


@every_shell
def test_it_stops_at_the_first_failing_command_and_after_script_runs_in_a_new_shell(
    executor: DockerExecutor, image: str
) -> None:
    ran = run_job(
        executor,
        assignment(
            "x=1; cd /tmp; export Y=2",
            "(exit 7)",
            "echo not reached",
            image=image,
            after_script=['echo "$CI_JOB_STATUS x=$x Y=$Y $PWD"', "false", "echo not reached either"],
        ),
    )
    assert ran.outcome.exit_code == 7
    assert ran.outcome.failure == ""
    assert ran.lines == [
        "$ x=1; cd /tmp; export Y=2",
        "$ (exit 7)",
        '$ echo "$CI_JOB_STATUS x=$x Y=$Y $PWD"',
        "failed x= Y= /builds/group/project",
        "$ false",
    ]


@every_shell
def test_a_failing_after_script_does_not_change_the_result(executor: DockerExecutor, image: str) -> None:
    ran = run_job(
        executor, assignment("echo $CI_JOB_STATUS", image=image, after_script=["echo $CI_JOB_STATUS", "exit 9"])
    )
    assert ran.outcome.exit_code == 0
    assert [line for line in ran.lines if not line.startswith("$")] == ["running", "success"]


@every_shell
def test_a_failure_in_a_pipe_counts_where_the_shell_can_see_it(executor: DockerExecutor, image: str) -> None:
    ran = run_job(executor, assignment("false | true", "echo reached", image=image))
    sees_it = image != DASH  # Debian 12's dash has no pipefail
    assert ("reached" in ran.lines) is not sees_it
    assert ran.outcome.exit_code == (1 if sees_it else 0)


@every_shell
def test_exit_within_the_script_is_its_exit_code(executor: DockerExecutor, image: str) -> None:
    ran = run_job(executor, assignment("trap 'echo bye' EXIT", "exit 3", image=image))
    assert ran.outcome.exit_code == 3
    assert ran.lines[-1] == "bye"


@every_shell
def test_commands_find_an_empty_stdin(executor: DockerExecutor, image: str) -> None:
    ran = run_job(executor, assignment("cat", "read line || echo nothing", image=image))
    assert ran.lines == ["$ cat", "$ read line || echo nothing", "nothing"]


@every_shell
def test_heredocs_quotes_and_other_letters_come_through(executor: DockerExecutor, image: str) -> None:
    text = 'it\'s "quoted" \\n $HOME `date` — żółć 日本'
    ran = run_job(executor, assignment(f"cat <<'END'\n{text}\nEND", "printf '%s\\n' 'a\\b'", image=image))
    assert ran.lines[1] == text
    assert ran.lines[-1] == "a\\b"


@every_shell
def test_xtrace_shows_commands_but_not_our_echo_of_them(executor: DockerExecutor, image: str) -> None:
    ran = run_job(executor, assignment("set -x", "echo one", image=image))
    assert ran.lines[:2] == ["$ set -x", "$ echo one"]
    assert ran.lines[2].lstrip("+ ") == "echo one"
    assert ran.lines[3:] == ["one"]


@every_shell
def test_carriage_returns_at_line_ends_do_no_harm(executor: DockerExecutor, image: str) -> None:
    ran = run_job(executor, assignment("if true; then\r\necho yes\r\nfi\r\n", image=image))
    assert ran.lines == ["$ if true; then # collapsed multi-line command", "yes"]


@every_shell
def test_a_script_of_200_kb_runs(executor: DockerExecutor, image: str) -> None:
    big = "\n".join(f": {number} {'ä' * 40}" for number in range(2200)) + "\necho done"
    ran = run_job(executor, assignment(big, image=image))
    assert len(big.encode()) > 190_000
    assert ran.outcome.exit_code == 0
    assert ran.lines[-1] == "done"


@every_shell
def test_processes_left_in_the_background_do_not_keep_a_job(executor: DockerExecutor, image: str) -> None:
    ran = run_job(executor, assignment("sleep 600 &", "echo done", image=image))
    assert ran.outcome.exit_code == 0
    assert ran.outcome.ran_for < 10
    assert ran.lines[-1] == "done"


@every_shell
def test_the_script_sees_nothing_of_ours(executor: DockerExecutor, image: str) -> None:
    ran = run_job(
        executor,
        assignment("set", "env", "tr '\\0' ' ' </proc/1/cmdline", "trap", image=image, after_script=["set; env"]),
    )
    assert "longshore_" not in ran.log
    assert "LONGSHORE_" not in ran.log.replace("$LONGSHORE_ENTRY", "").replace("${LONGSHORE_ENTRY?the", "")


@every_shell
def test_interrupts_reach_what_the_script_starts(executor: DockerExecutor, image: str) -> None:
    """A shell's background jobs ignore SIGINT; the script must not be one."""
    ran = run_job(executor, assignment("sh -c 'kill -INT $$; echo survived' || echo $?", image=image))
    assert ran.lines[-1] == "130"


@every_shell
def test_no_command_line_holds_the_script_where_pkill_would_find_it(executor: DockerExecutor, image: str) -> None:
    ran = run_job(executor, assignment("sleep 54321 &", "grep -l '5432[1]' /proc/[0-9]*/cmdline | wc -l", image=image))
    assert ran.lines[-1] == "1"


def test_the_entrypoint_of_the_image_runs_first_unless_it_is_overridden(executor: DockerExecutor) -> None:
    kept = run_job(executor, assignment("echo script $FROM_ENTRYPOINT", image=ENTRYPOINT))
    assert kept.lines == ["entrypoint said hello", "$ echo script $FROM_ENTRYPOINT", "script yes"]
    replaced = ImageSpec(name=ENTRYPOINT, entrypoint=[""])
    assert run_job(executor, assignment("echo script", image=replaced)).lines == ["$ echo script", "script"]


def test_an_entrypoint_that_does_not_become_the_shell_does_no_harm(executor: DockerExecutor) -> None:
    spec = ImageSpec(name=BUSYBOX, entrypoint=["sh", "-c", '"$@"; exit $?', "entrypoint"])
    ran = run_job(executor, assignment("echo pid $$", "exit 5", image=spec, after_script=["echo after"]))
    assert ran.outcome.exit_code == 5
    assert ran.lines[-1] == "after"
