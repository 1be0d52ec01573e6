"""Whatever happens in whatever order, what the design guarantees of a worker stays true."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from protocol.statuses import ENDED
from tests.support.worker_simulation import LINE, SETTINGS, WorkerSimulation

MOST_ATTEMPTS = 6


class Worker(RuleBasedStateMachine):
    """Random assignments and random accidents."""

    @initialize()
    def begin(self) -> None:
        self.sim = WorkerSimulation()
        self.sim.connect()

    def _pick(self, names: list[str], number: int) -> str:
        return sorted(names)[number % len(names)]

    @rule(needs=st.booleans(), lease=st.sampled_from([None, None, 30.0]))
    def assign(self, needs: bool, lease: float | None) -> None:
        if len(self.sim.seen) < MOST_ATTEMPTS:
            self.sim.assign(f"{len(self.sim.seen) + 1}.1", needs=needs, lease=lease)

    @precondition(lambda self: self.sim.seen)
    @rule(number=st.integers(0, 5))
    def assign_again(self, number: int) -> None:
        self.sim.assign(self._pick(list(self.sim.seen), number))

    @precondition(lambda self: self.sim.seen)
    @rule(number=st.integers(0, 5))
    def satisfy(self, number: int) -> None:
        self.sim.satisfy(self._pick(list(self.sim.seen), number))

    @precondition(lambda self: self.sim.runners)
    @rule(number=st.integers(0, 5), exit_code=st.integers(0, 1), times=st.integers(1, 3))
    def work(self, number: int, exit_code: int, times: int) -> None:
        for _ in range(times):
            if self.sim.runners:
                self.sim.step_runner(self._pick(list(self.sim.runners), number), exit_code=exit_code)

    @precondition(lambda self: self.sim.boxes)
    @rule(number=st.integers(0, 5))
    def write(self, number: int) -> None:
        self.sim.write(self._pick(list(self.sim.boxes), number))

    @rule(times=st.integers(1, 5))
    def deliver(self, times: int) -> None:
        for _ in range(times):
            self.sim.deliver()

    @rule()
    def lose(self) -> None:
        self.sim.lose()

    @rule(refuse=st.booleans())
    def answer(self, refuse: bool) -> None:
        self.sim.answer(refuse=refuse)

    @rule(removed=st.booleans())
    def give_up(self, removed: bool) -> None:
        self.sim.give_up(removed=removed)

    @precondition(lambda self: self.sim.seen)
    @rule(number=st.integers(0, 5), what=st.sampled_from(["cancel", "revoke", "discard"]))
    def ask_for(self, number: int, what: str) -> None:
        self.sim.ask_for(self._pick(list(self.sim.seen), number), what)

    @rule()
    def disconnect(self) -> None:
        self.sim.disconnect()

    @rule()
    def connect(self) -> None:
        self.sim.connect()

    @rule()
    def heartbeat(self) -> None:
        self.sim.heartbeat()

    @rule()
    def crash(self) -> None:
        self.sim.begin()

    @rule(seconds=st.sampled_from([0.005, 0.05, 1.0, 6.0, 40.0]))
    def pass_time(self, seconds: float) -> None:
        self.sim.pass_time(seconds)

    @invariant()
    def an_attempt_runs_at_most_once(self) -> None:
        assert all(count == 1 for count in self.sim.opened.values())

    @invariant()
    def no_more_run_than_there_are_slots(self) -> None:
        opened = sum(runner.phase == "opened" for runner in self.sim.runners.values())
        running = sum(box.state == "running" for box in self.sim.boxes.values())
        assert opened + running <= SETTINGS.slots

    @invariant()
    def running_jobs_have_different_slots(self) -> None:
        begun = {attempt for attempt, runner in self.sim.runners.items() if runner.phase == "opened"}
        begun |= {attempt for attempt, box in self.sim.boxes.items() if box.state == "running"}
        slots = [self.sim.boxes[attempt].slot for attempt in begun if attempt in self.sim.boxes]
        for numbers in ([slot.number for slot in slots if slot], [slot.of_project for slot in slots if slot]):
            assert len(set(numbers)) == len(slots), "all jobs here are of one project"
            assert all(number < SETTINGS.slots for number in numbers)

    @invariant()
    def a_stored_log_is_the_log(self) -> None:
        for seen in self.sim.seen.values():
            assert seen.log == LINE * (len(seen.log) // len(LINE)), "no byte twice, none lost in the middle"

    def teardown(self) -> None:
        """With a line that holds, everything comes to its end and nothing is left."""
        sim = self.sim
        for _ in range(60):
            sim.connect()
            while sim.line or sim.questions:
                sim.deliver()
                sim.answer()
            sim.give_up()
            for attempt in list(sim.seen):
                sim.satisfy(attempt)
            for attempt in list(sim.runners):
                if attempt in sim.runners:
                    sim.step_runner(attempt)
            sim.pass_time(1.0)
            sim.heartbeat()
        assert len(sim.machine) == 0, sim.machine.descriptions()
        assert sim.machine.held() == []
        assert sim.machine.known == set()
        assert sim.boxes == {}
        for attempt, seen in sim.seen.items():
            assert seen.status in ENDED or seen.returned or seen.dropped, attempt


TestWorker = Worker.TestCase
TestWorker.settings = settings(
    max_examples=150, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
)
