"""Environments for people: what became of each, and when it will be stopped."""

from __future__ import annotations

import time

import pytest

from cli.render.environments import environment_rows
from protocol.statuses import EnvironmentStatus as Status
from protocol.views import Deployment, EnvironmentView


@pytest.mark.parametrize(
    ("status", "left", "message", "note"),
    [
        (Status.AVAILABLE, None, None, ""),
        (Status.AVAILABLE, 7259.0, None, "stops in 2 h 00 min"),
        (Status.AVAILABLE, -1.0, None, "due to be stopped"),
        (Status.AVAILABLE, None, "job stop of run 1 is failed", "job stop of run 1 is failed"),
        (Status.STOPPING, -1.0, None, ""),
        (Status.STOPPED, None, "by job stop of run 1", "by job stop of run 1"),
    ],
)
def test_a_note_says_when_it_is_stopped_or_why(
    status: Status, left: float | None, message: str | None, note: str
) -> None:
    now = time.time()
    view = EnvironmentView(
        project="p",
        name="review",
        slug="review",
        tier="other",
        status=status,
        deployment=Deployment(run=1, job="deploy", at=now),
        auto_stop_at=None if left is None else now + left,
        message=message,
    )
    (row,) = environment_rows([view], for_people=True)
    assert row["note"] == note
