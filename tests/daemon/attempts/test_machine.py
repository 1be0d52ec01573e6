"""Single stories of the worker's core that random steps seldom come by."""

from __future__ import annotations

from tests.support.worker_simulation import WorkerSimulation


def run_two(sim: WorkerSimulation) -> None:
    for attempt in ("1.1", "2.1"):
        sim.assign(attempt)
        sim.step_runner(attempt)  # prepared, and opened for it has a slot
        sim.step_runner(attempt)
    assert [box.state for box in sim.boxes.values()] == ["running", "running"]


def test_jobs_of_an_earlier_life_keep_their_slots_before_they_are_taken_up() -> None:
    sim = WorkerSimulation()
    sim.connect()
    run_two(sim)
    sim.begin()
    sim.connect()
    sim.assign("3.1")
    sim.step_runner("3.1")
    assert sim.runners["3.1"].phase == "prepared"
    while sim.questions:
        sim.answer()
    sim.step_runner("1.1")  # ends
    assert sim.runners["3.1"].phase == "opened"


def test_a_slot_of_an_earlier_life_is_free_when_nobody_wants_its_job() -> None:
    sim = WorkerSimulation()
    sim.connect()
    run_two(sim)
    sim.begin()
    sim.seen["1.1"].dropped = True
    sim.connect()
    sim.assign("3.1")
    sim.step_runner("3.1")
    assert sim.runners["3.1"].phase == "opened"
