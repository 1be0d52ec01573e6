"""A job's script runs as GitLab Runner runs it, whatever the image's shell: bash, dash or busybox."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from daemon.executors.base import JobFailed
from daemon.executors.docker.executor import DockerExecutor
from protocol.plan import ImageSpec, Variable
from protocol.statuses import FailureReason
from tests.support.docker_jobs import WORKER, Ran, run_job, tar_of
from tests.support.images import BUSYBOX, DASH, DEBIAN, ENTRYPOINT
from tests.support.plans import assignment, variables

SHELLS = {"busybox": BUSYBOX, "bash": DEBIAN, "dash": DASH}


def in_every_shell(executor: DockerExecutor, *commands: str, **job: Any) -> dict[str, Ran]:
    """How the same job goes in each shell; all at the same time, which is quicker."""
    jobs = {shell: assignment(*commands, image=image, **job) for shell, image in SHELLS.items()}
    with ThreadPoolExecutor(len(jobs)) as pool:
        return dict(zip(jobs, pool.map(lambda one: run_job(executor, one), jobs.values()), strict=True))


TEXT = 'it\'s "quoted" \\n $HOME `date` — żółć 日本'
BIG = "\n".join(f": {number} {'ä' * 40}" for number in range(2200)) + "\necho done"
FORKS = "until grep -q ^sleep /proc/$!/cmdline; do :; done"
SECTIONS: dict[str, tuple[str, ...]] = {
    "echo": (
        "cd /tmp && x=1",
        "echo $x in $PWD >&2",
        "say() { echo \"said: $1\"; }\nsay 'it''s' # multi",
        "say again",
    ),
    "stdin": ("cat", "read line || echo nothing"),
    "text": (f"cat <<'END'\n{TEXT}\nEND", "printf '%s\\n' 'a\\b'"),
    "xtrace": ("set -x", "echo one", "{ set +x; } 2>/dev/null"),
    "carriage returns": ("if true; then\r\necho yes\r\nfi\r\n",),
    "big": (BIG,),
    "interrupts": ("sh -c 'kill -INT $$; echo survived' || echo $?",),
    "background": ("sleep 54321 &", FORKS, "grep -l '5432[1]' /proc/[0-9]*/cmdline | wc -l"),
}
"""What commands do that succeed; each begins with an echo of its name."""


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ran]:
    """How one job with all sections goes in each shell."""
    owner = f"{WORKER}-s"
    executor = DockerExecutor(owner, coordinator=owner, directory=tmp_path_factory.mktemp("together"))
    commands = [line for name, lines in SECTIONS.items() for line in (f": section {name}", *lines)]
    runs = in_every_shell(executor, *commands, before_script=['echo "before"'])
    executor.close()
    return runs


def section(ran: Ran, name: str) -> list[str]:
    """What a job has said in a section."""
    assert ran.outcome.exit_code == 0, ran.log[-2000:]
    begin = ran.lines.index(f"$ : section {name}") + 1
    rest = ran.lines[begin:]
    return rest[: next((at for at, line in enumerate(rest) if line.startswith("$ : section ")), len(rest))]


def test_every_command_is_echoed_before_its_output_in_one_shell(together: dict[str, Ran]) -> None:
    for shell, ran in together.items():
        assert ran.lines[:2] == ['$ echo "before"', "before"], shell
        assert section(ran, "echo") == [
            "$ cd /tmp && x=1",
            "$ echo $x in $PWD >&2",
            "1 in /tmp",
            '$ say() { echo "said: $1"; } # collapsed multi-line command',
            "said: its",
            "$ say again",
            "said: again",
        ], shell


def test_commands_find_an_empty_stdin(together: dict[str, Ran]) -> None:
    for shell, ran in together.items():
        assert section(ran, "stdin") == ["$ cat", "$ read line || echo nothing", "nothing"], shell


def test_heredocs_quotes_and_other_letters_come_through(together: dict[str, Ran]) -> None:
    for shell, ran in together.items():
        assert section(ran, "text")[1] == TEXT, shell
        assert section(ran, "text")[-1] == "a\\b", shell


def test_xtrace_shows_commands_but_not_our_echo_of_them(together: dict[str, Ran]) -> None:
    for shell, ran in together.items():
        lines = section(ran, "xtrace")
        assert lines[:2] == ["$ set -x", "$ echo one"], shell
        assert lines[2].lstrip("+ ") == "echo one", shell
        assert lines[3:] == ["one", "$ { set +x; } 2>/dev/null"], shell


def test_carriage_returns_at_line_ends_do_no_harm(together: dict[str, Ran]) -> None:
    for shell, ran in together.items():
        lines = section(ran, "carriage returns")
        assert lines == ["$ if true; then # collapsed multi-line command", "yes"], shell


def test_a_command_of_200_kb_runs(together: dict[str, Ran]) -> None:
    assert len(BIG.encode()) > 190_000
    for shell, ran in together.items():
        assert section(ran, "big")[-1] == "done", shell


def test_interrupts_reach_what_the_script_starts(together: dict[str, Ran]) -> None:
    """A shell's background jobs ignore SIGINT; the script must not be one."""
    for shell, ran in together.items():
        assert section(ran, "interrupts")[-1] == "130", shell


def test_no_command_line_holds_the_script_where_pkill_would_find_it(together: dict[str, Ran]) -> None:
    for shell, ran in together.items():
        assert section(ran, "background")[-1] == "1", shell


def test_processes_left_in_the_background_do_not_keep_a_job(together: dict[str, Ran]) -> None:
    for shell, ran in together.items():
        assert SECTIONS["background"][0] == "sleep 54321 &"
        assert (ran.outcome.exit_code, ran.outcome.ran_for < 10) == (0, True), shell


def test_it_stops_at_the_first_failing_command_and_after_script_runs_in_a_new_shell(executor: DockerExecutor) -> None:
    runs = in_every_shell(
        executor,
        "x=1; cd /tmp; export Y=2",
        "(exit 7)",
        "echo not reached",
        after_script=['echo "$CI_JOB_STATUS x=$x Y=$Y $PWD"', "false", "echo not reached either"],
    )
    for shell, ran in runs.items():
        assert (ran.outcome.exit_code, ran.outcome.failure) == (7, ""), shell
        assert ran.lines == [
            "$ x=1; cd /tmp; export Y=2",
            "$ (exit 7)",
            '$ echo "$CI_JOB_STATUS x=$x Y=$Y $PWD"',
            "failed x= Y= /builds/group/project",
            "$ false",
        ], shell


def test_a_failing_after_script_does_not_change_the_result(executor: DockerExecutor) -> None:
    runs = in_every_shell(executor, "echo $CI_JOB_STATUS", after_script=["echo $CI_JOB_STATUS", "exit 9"])
    for shell, ran in runs.items():
        assert ran.outcome.exit_code == 0, shell
        assert [line for line in ran.lines if not line.startswith("$")] == ["running", "success"], shell


def test_a_failure_in_a_pipe_counts_where_the_shell_can_see_it(executor: DockerExecutor) -> None:
    for shell, ran in in_every_shell(executor, "false | true", "echo reached").items():
        sees_it = shell != "dash"  # Debian 12's has no pipefail
        assert ("reached" in ran.lines) is not sees_it, shell
        assert ran.outcome.exit_code == (1 if sees_it else 0), shell


def test_exit_within_the_script_is_its_exit_code(executor: DockerExecutor) -> None:
    for shell, ran in in_every_shell(executor, "trap 'echo bye' EXIT", "exit 3").items():
        assert ran.outcome.exit_code == 3, shell
        assert ran.lines[-1] == "bye", shell


def test_the_script_sees_nothing_of_ours(executor: DockerExecutor) -> None:
    runs = in_every_shell(
        executor, "set", "env", "tr '\\0' ' ' </proc/1/cmdline", "trap", "ls /proc/self/fd", after_script=["set; env"]
    )
    for shell, ran in runs.items():
        assert "longshore_" not in ran.log, shell
        assert "LONGSHORE_" not in ran.log.replace("$LONGSHORE_ENTRY", "").replace("${LONGSHORE_ENTRY?the", ""), shell
        descriptors = ran.lines[ran.lines.index("$ ls /proc/self/fd") + 1 :][:5]
        assert descriptors[:4] == ["0", "1", "2", "3"], shell  # the third is of ls itself
        assert not descriptors[4].isdigit(), shell


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


@pytest.mark.parametrize("kib", [200, 300, 1500, 5000])
def test_a_script_may_be_of_any_size(executor: DockerExecutor, kib: int) -> None:
    """Up to 256 KiB it is in the environment, which Linux bounds; each line counts twice there, for it is echoed."""
    lines = [f": {number:06} {'é' * 240}" for number in range(kib * 1024 // 980)]
    runs = in_every_shell(
        executor,
        "x=1",
        *lines,
        "say() { echo $x; false; echo never; }",
        "say",
        "echo never",
        after_script=[*lines, "pwd"],
    )
    for shell, ran in runs.items():
        assert ran.outcome.exit_code == 1, shell
        assert ran.lines.count("1") == 1, shell
        assert [line for line in ran.lines if "never" in line] == ["$ say() { echo $x; false; echo never; }"]
        assert sum(line.startswith("$ : ") for line in ran.lines) == 2 * len(lines)
        assert ran.lines[-1] == "/builds/group/project"


def test_a_large_script_is_its_user_s_alone_and_takes_nothing_from_variables_of_type_file(
    executor: DockerExecutor,
) -> None:
    commands = ["#" + "x" * 500_000, "cat $KEY", "stat -c '%a %u' $CI_PROJECT_DIR.tmp/*; ls $CI_PROJECT_DIR"]
    job = assignment(*commands, image=ENTRYPOINT, variables=[Variable(key="KEY", value="secret\n", file=True)])
    ran = run_job(executor, job)
    assert "secret" in ran.lines
    assert ran.lines[-2:] == ["600 1000", "600 1000"]


def test_variables_that_linux_would_start_nothing_with_are_told_of(executor: DockerExecutor, tmp_path: Path) -> None:
    def run(size: int, *commands: str) -> Ran:
        values = variables(**{f"V{number}": "x" * 100_000 for number in range(size // 100_000)})
        workspace = tar_of(tmp_path / "w.tar", {"f": "y" * 40_000})
        return run_job(executor, assignment(*commands, variables=values), workspace=workspace)

    for _ in range(2):  # the second one has its workspace in the environment too
        assert run(1_500_000, "# " + "x" * 120_000, "cat f | wc -c").lines[-1] == "40000"
    with pytest.raises(JobFailed, match=r"variables have 16\d{5} bytes together, at most 1572864") as failed:
        run(1_600_000, "true")
    assert failed.value.reason is FailureReason.SCRIPT_FAILURE
