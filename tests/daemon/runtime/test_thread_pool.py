"""Threads that are used again."""

from __future__ import annotations

import logging
import threading

import pytest

from daemon.runtime.thread_pool import MOST_IDLE, Task, Threads

SECONDS = 10.0


def test_a_free_thread_takes_the_next_task_under_its_name() -> None:
    threads, seen = Threads(), []
    free = threading.Event()
    for number, name in enumerate(("first", "second"), 1):
        threads.start(Task(lambda: seen.append((threading.get_ident(), threading.current_thread().name)), name))
        while len(seen) < number or not threads.idle:
            free.wait(0.001)
    (first, first_name), (second, second_name) = seen
    assert first == second
    assert (first_name, second_name) == ("first", "second")


def test_a_task_never_waits_for_another_one() -> None:
    threads, gate = Threads(), threading.Barrier(MOST_IDLE + 10)
    tasks = [Task(lambda: gate.wait(SECONDS), f"task {number}") for number in range(MOST_IDLE + 9)]
    for task in tasks:
        threads.start(task)
    gate.wait(SECONDS)  # passes only when all of them run at once
    for task in tasks:
        task.join()
    assert threads.idle <= MOST_IDLE


def test_many_short_tasks_take_few_threads() -> None:
    threads, done = Threads(), []
    tasks = [Task(lambda: done.append(threading.get_ident()), "short") for _ in range(1000)]
    for task in tasks:
        threads.start(task)
    for task in tasks:
        task.join()
    assert len(done) == 1000
    assert len(set(done)) < 100


def test_a_task_that_has_not_begun_is_done_by_who_waits_for_it() -> None:
    ran_by = []
    task = Task(lambda: ran_by.append(threading.current_thread()), "never started")
    task.join()
    task.run()
    assert ran_by == [threading.current_thread()]


def test_a_task_that_no_thread_can_be_had_for_is_told_so_and_never_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    threads, ran = Threads(), []

    def fail(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", fail)
        with pytest.raises(RuntimeError):
            threads.start(Task(lambda: ran.append("refused"), "refused"))
    done = threading.Event()
    threads.start(Task(done.set, "taken"))
    assert done.wait(SECONDS)
    assert not ran


def test_join_returns_after_the_body_has() -> None:
    threads, go, done = Threads(), threading.Event(), []

    def body() -> None:
        go.wait(SECONDS)
        done.append(True)

    task = Task(body, "slow")
    threads.start(task)
    go.set()
    task.join()
    assert done


def test_who_can_not_wait_learns_whether_a_task_is_over() -> None:
    threads, begun, go = Threads(), threading.Event(), threading.Event()

    def body() -> None:
        begun.set()
        go.wait(SECONDS)

    task = Task(body, "slow")
    assert not task.returns_within(0)  # nobody has begun with it
    threads.start(task)
    assert begun.wait(SECONDS)
    assert not task.returns_within(0.01)
    go.set()
    assert task.returns_within(SECONDS)


def test_what_a_body_raises_is_logged_and_its_thread_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    threads = Threads()
    with caplog.at_level(logging.ERROR):
        failing = Task(lambda: 1 / 0, "failing")
        threads.start(failing)
        failing.join()
    assert "failing failed" in caplog.text
    after = Task(lambda: None, "after")
    threads.start(after)
    after.join()
