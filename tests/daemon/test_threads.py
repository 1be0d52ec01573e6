"""Threads that are used again."""

from __future__ import annotations

import logging
import threading

import pytest

from daemon.threads import MOST_IDLE, Task, Threads

SECONDS = 10.0


def test_a_free_thread_takes_the_next_task_under_its_name() -> None:
    threads, seen = Threads(), []
    free = threading.Event()
    for name in ("first", "second"):
        task = Task(lambda: seen.append((threading.get_ident(), threading.current_thread().name)), name)
        threads.start(task)
        task.join()
        while not threads.idle:  # it becomes free only after its task has been joined
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
