"""What is equal in the jobs of a plan is there once, and nothing else of them changes."""

from __future__ import annotations

import msgspec

from coordinator.engine.interning import intern_parts
from protocol.plan import JobPlan, Plan, Variable
from tests.support.plans import job, plan


def arrived(*jobs: JobPlan) -> list[JobPlan]:
    """The jobs as they come from a client: each with objects of its own."""
    return msgspec.msgpack.decode(msgspec.msgpack.encode(plan(*jobs)), type=Plan).jobs


def test_equal_parts_of_jobs_that_follow_each_other_become_one_object() -> None:
    first, second = arrived(job("a", image="alpine"), job("b", image="alpine"))
    assert first.image is not second.image

    intern_parts([first, second])

    assert first.image is second.image
    assert first.script is second.script
    assert first.tags is second.tags


def test_the_jobs_say_the_same_afterwards() -> None:
    jobs = [
        job("a", image="alpine"),
        job("b", image="alpine", variables=[Variable(key="K", value="v")]),
        job("c", image="debian"),
        job("d", image="debian"),
    ]
    changed = arrived(*jobs)

    intern_parts(changed)

    assert changed == jobs
