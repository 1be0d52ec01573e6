"""What every executor promises, as tests: subclass `ExecutorContract` beside an executor's own tests.

A class gives one fixture, `executors`: it opens executors of one worker on one engine, as lives of its daemon that
follow each other. A test runs where the executor claims the capability that it is about.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from daemon.executors.base import CommandFailed, Dependencies, Executor, Outcome, Sandbox
from protocol.messages import Terminal
from protocol.plan import ArtifactsSpec, Keep, Resources, ServiceSpec
from protocol.views import Capability
from tests.support.docker_jobs import tar_of, tar_workspace, unpacked
from tests.support.eventually import DEADLINE, eventually
from tests.support.images import BUSYBOX
from tests.support.plans import assignment

Open = Callable[[], Executor]


def execute(executor: Executor, sandbox: Sandbox) -> tuple[Outcome, bytes]:
    """From the prepared sandbox to the end: how it ended, and its log."""
    log = bytearray()
    opened = threading.Event()
    reader = threading.Thread(target=lambda: (opened.wait(DEADLINE), sandbox.follow_log(0, log.extend)))
    reader.start()
    outcome = executor.execute(sandbox, Dependencies(), opened.set)
    reader.join(DEADLINE)
    assert not reader.is_alive(), "a log ends with its job"
    return outcome, bytes(log)


class ExecutorContract:
    """See the module."""

    @pytest.fixture
    def executor(self, executors: Open, request: pytest.FixtureRequest) -> Executor:
        """The executor; skips the test where it does not claim what the test is about."""
        executor = executors()
        for mark in request.node.iter_markers("capability"):
            if mark.args[0] not in executor.capabilities:
                pytest.skip(f"{executor.kind} does not claim {mark.args[0].value}")
        return executor

    # what every executor does

    def test_it_says_what_it_is(self, executor: Executor) -> None:
        assert executor.kind
        assert executor.facts()
        assert executor.capabilities <= frozenset(Capability)

    def test_a_job_goes_from_prepare_to_remove_and_nothing_is_left(self, executor: Executor) -> None:
        job = assignment("true")
        sandbox = executor.sandbox(job)
        sandbox.prepare(None)
        assert execute(executor, sandbox)[0].exit_code == 0
        sandbox.remove()
        assert executor.find() == []

    def test_each_step_may_be_taken_twice(self, executor: Executor) -> None:
        sandbox = executor.sandbox(assignment("true"))
        sandbox.prepare(None)
        sandbox.prepare(None)
        assert execute(executor, sandbox)[0].exit_code == 0
        sandbox.remove()
        sandbox.remove()

    def test_the_gate_is_open_before_the_end_is_waited_for(self, executor: Executor) -> None:
        sandbox = executor.sandbox(assignment("true"))
        sandbox.prepare(None)
        calls: list[str] = []
        executor.execute(sandbox, Dependencies(), lambda: calls.append("opened"))
        assert calls == ["opened"]
        sandbox.remove()

    def test_what_nobody_wants_is_discarded_and_swept_whether_it_is_there_or_not(self, executor: Executor) -> None:
        kept, left = assignment("true"), assignment("true")
        for job in (kept, left):
            executor.sandbox(job).prepare(None)
        executor.discard("1.1")
        executor.sweep({kept.attempt})
        assert {found.attempt for found in executor.find()} <= {kept.attempt}
        executor.discard(kept.attempt)
        assert executor.find() == []

    def test_a_job_without_services_has_no_logs_of_them(self, executor: Executor) -> None:
        assert executor.sandbox(assignment("true")).service_logs() == {}

    def test_stopping_what_has_ended_is_no_error(self, executor: Executor) -> None:
        sandbox = executor.sandbox(assignment("true"))
        sandbox.prepare(None)
        execute(executor, sandbox)
        sandbox.stop(1.0)
        sandbox.kill()
        sandbox.prolong(10.0)
        sandbox.remove()

    # scripts

    @pytest.mark.capability(Capability.SCRIPTS)
    @pytest.mark.parametrize("code", [0, 1, 7, 255])
    def test_a_job_ends_with_its_scripts_exit_code(self, executor: Executor, code: int) -> None:
        sandbox = executor.sandbox(assignment(f"exit {code}"))
        sandbox.prepare(None)
        assert execute(executor, sandbox)[0].exit_code == code
        sandbox.remove()

    @pytest.mark.capability(Capability.SCRIPTS)
    def test_a_log_has_every_byte_once_from_any_offset(self, executor: Executor) -> None:
        sandbox = executor.sandbox(assignment("i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done"))
        sandbox.prepare(None)
        _, log = execute(executor, sandbox)
        assert log.endswith(b"".join(b"line %d\n" % i for i in range(2000)))
        again = bytearray()
        sandbox.follow_log(len(log) - 100, again.extend)
        assert again == log[-100:]
        sandbox.remove()

    # hold

    @pytest.mark.capability(Capability.HOLD)
    def test_a_held_job_does_not_begin_before_its_gate_opens(self, executor: Executor) -> None:
        sandbox = executor.sandbox(assignment("echo begun"))
        sandbox.prepare(None)
        sandbox.hold()
        outcome, _ = execute(executor, sandbox)
        assert outcome.exit_code == 0
        sandbox.remove()

    # stop

    @pytest.mark.capability(Capability.STOP)
    def test_a_script_is_stopped_within_its_grace(self, executor: Executor) -> None:
        sandbox = executor.sandbox(assignment("echo begun", "sleep 600"))
        sandbox.prepare(None)
        log = bytearray()

        def stop_when_begun() -> None:
            eventually(lambda: b"begun\n" in log)
            sandbox.stop(5.0)

        def opened() -> None:
            threading.Thread(target=sandbox.follow_log, args=(0, log.extend)).start()
            threading.Thread(target=stop_when_begun).start()

        began = time.monotonic()
        outcome = executor.execute(sandbox, Dependencies(), opened)
        assert outcome.exit_code != 0
        assert time.monotonic() - began < DEADLINE
        sandbox.remove()

    @pytest.mark.capability(Capability.STOP)
    def test_a_killed_job_ends_at_once(self, executor: Executor) -> None:
        sandbox = executor.sandbox(assignment("trap '' TERM; sleep 600"))
        sandbox.prepare(None)
        outcome = executor.execute(sandbox, Dependencies(), sandbox.kill)
        assert outcome.exit_code != 0
        sandbox.remove()

    # recovery

    @pytest.mark.capability(Capability.RECOVERY)
    def test_the_next_life_of_a_daemon_finds_a_job_and_sees_it_to_its_end(
        self, executor: Executor, executors: Open
    ) -> None:
        job = assignment("echo begun", "sleep 4", "echo done", "exit 3")
        sandbox = executor.sandbox(job)
        sandbox.prepare(None)
        assert [found.state for found in executor.find()] == ["created"]
        sandbox.release(Dependencies())
        successor = executors()
        eventually(lambda: [(one.attempt, one.state) for one in successor.find()] == [(job.attempt, "running")])
        taken_up = successor.sandbox(job)
        log = bytearray()
        taken_up.follow_log(0, log.extend)
        assert taken_up.wait().exit_code == 3
        assert log.endswith(b"done\n") or b"done\n" in log
        taken_up.remove()
        assert successor.find() == []

    # files

    @pytest.mark.capability(Capability.FILES)
    def test_a_workspace_comes_in_and_artifacts_come_out(self, executor: Executor, tmp_path: Path) -> None:
        archive = ArtifactsSpec(paths=["out/"])
        sandbox = executor.sandbox(assignment("mkdir out", "cat in.txt >out/copy", artifacts=archive))
        sandbox.prepare(tar_workspace(tar_of(tmp_path / "workspace.tar", {"in.txt": "content"})))
        assert execute(executor, sandbox)[0].exit_code == 0
        (collected,) = sandbox.collect(tmp_path, succeeded=True)
        with unpacked(collected.path) as tar:
            copy = tar.extractfile("out/copy")
            assert copy is not None
            assert copy.read() == b"content"
        sandbox.remove()

    # services, limits

    @pytest.mark.capability(Capability.SERVICES)
    def test_a_service_is_reached_by_its_alias(self, executor: Executor) -> None:
        service = ServiceSpec(
            name=BUSYBOX, aliases=["db"], command=["sh", "-c", "while echo hi | nc -l -p 99; do :; done"]
        )
        script = "for i in 1 2 3 4 5 6 7 8 9; do nc db 99 </dev/null | grep hi && exit 0; sleep 0.3; done; exit 1"
        sandbox = executor.sandbox(assignment(script, services=[service]))
        sandbox.prepare(None)
        assert execute(executor, sandbox)[0].exit_code == 0
        sandbox.remove()
        assert executor.find() == []

    @pytest.mark.capability(Capability.LIMITS)
    def test_a_job_that_needs_more_memory_than_it_may_have_fails(self, executor: Executor) -> None:
        eats = "x=a; while :; do x=$x$x$x$x; done"
        sandbox = executor.sandbox(assignment(eats, resources=Resources(memory=32 << 20)))
        sandbox.prepare(None)
        outcome, _ = execute(executor, sandbox)
        assert outcome.exit_code != 0
        sandbox.remove()

    # commands of people

    @pytest.mark.capability(Capability.COMMANDS)
    def test_commands_run_in_a_kept_container_also_under_the_next_daemon(
        self, executor: Executor, executors: Open
    ) -> None:
        job = assignment("echo left > left.txt; exit 3", keep=Keep(seconds=600.0))
        sandbox = executor.sandbox(job)
        sandbox.prepare(None)
        assert execute(executor, sandbox)[0].exit_code == 3
        assert sandbox.keep()
        following = executors()
        (found,) = following.find()
        assert (found.attempt, found.over) == (job.attempt, True)
        again = following.sandbox(job)
        for one in (sandbox, again):
            command = one.run_command(["sh", "-c", "cat - left.txt; echo aside >&2; exit 5"], None)
            command.write(b"given\n")
            command.end_input()
            said = {1: b"", 2: b""}

            def hear(stream: int, data: bytes, said: dict[int, bytes] = said) -> None:
                said[stream] += data

            assert command.follow(hear, lambda: None) == 5
            assert said == {1: b"given\nleft\n", 2: b"aside\n"}
        endless = again.run_command([], Terminal(rows=10, columns=40))
        endless.write(b"sleep 987\n")
        ender = threading.Timer(0.0, endless.end)
        ender.start()
        assert endless.follow(lambda stream, data: None, lambda: None) != 0
        ender.join()
        again.remove()
        with pytest.raises(CommandFailed):
            again.run_command(["true"], None)
        assert following.find() == []
