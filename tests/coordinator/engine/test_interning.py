"""What is equal in the jobs of a plan is there once, and nothing else of them changes."""

from __future__ import annotations

import msgspec

from coordinator.engine.interning import intern_parts
from protocol.plan import ImageSpec, JobPlan, Plan, Variable


def arrived(*jobs: JobPlan) -> list[JobPlan]:
    """The jobs as they come from a client: each with objects of its own."""
    plan = Plan(name="", project="p", project_dir="/builds/p", stages=["test"], jobs=list(jobs))
    return msgspec.msgpack.decode(msgspec.msgpack.encode(plan), type=Plan).jobs


def job(name: str, image: str, *variables: Variable) -> JobPlan:
    return JobPlan(name=name, stage="test", script=["true"], image=ImageSpec(name=image), variables=list(variables))


def test_equal_parts_of_jobs_that_follow_each_other_become_one_object() -> None:
    first, second = arrived(job("a", "alpine"), job("b", "alpine"))
    assert first.image is not second.image

    intern_parts([first, second])

    assert first.image is second.image
    assert first.script is second.script
    assert first.tags is second.tags


def test_the_jobs_say_the_same_afterwards() -> None:
    jobs = [
        job("a", "alpine"),
        job("b", "alpine", Variable(key="K", value="v")),
        job("c", "debian"),
        job("d", "debian"),
    ]
    changed = arrived(*jobs)

    intern_parts(changed)

    assert changed == jobs
