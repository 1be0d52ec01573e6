"""What jobs leave: artifacts and pages expire by themselves, releases and pages are those of successful jobs only."""

from __future__ import annotations

from typing import Any

from protocol.plan import ArtifactsSpec, PagesSpec, Release
from protocol.statuses import ExecutionStatus as S
from protocol.views import PAGES, ArtifactRef, Pages
from tests.support.engine_simulation import Sim, SimWorker
from tests.support.plans import job, plan

REFS = [ArtifactRef(kind=kind, digest="d" * 64, size=3) for kind in ("archive", PAGES)]
RELEASE = Release(tag_name="v1", description="d")
LEFT: dict[str, Any] = {
    "artifacts": REFS,
    "release": RELEASE,
    "pages": Pages(publish="public", path_prefix="odd", files=1, size=2),
}


def test_pages_and_artifacts_expire_each_in_their_time() -> None:
    sim = Sim(SimWorker("w"))
    publishes = job(
        artifacts=ArtifactsSpec(paths=["x"], expire_in=10.0), pages=PagesSpec(path_prefix="mr", expire_in=20.0)
    )
    run = sim.submit(plan(publishes))
    sim.start(run, "job")
    sim.succeed(run, "job", **LEFT)
    attempt = sim.job(run, "job").attempt
    assert attempt is not None
    assert [ref.expires_at for ref in attempt.artifacts] == [sim.wall + 10, sim.wall + 20]
    assert attempt.pages == Pages(publish="public", path_prefix="mr", files=1, size=2, expires_at=sim.wall + 20)


def test_a_job_that_fails_or_was_not_to_publish_anything_has_published_nothing() -> None:
    sim = Sim(SimWorker("w"))
    run = sim.submit(plan(job("fails", release=RELEASE, pages=PagesSpec()), job("plain")))
    for name in ("fails", "plain"):
        sim.start(run, name)
    sim.report(sim.attempt_of(run, "fails"), S.FAILED, exit_code=1, **LEFT)
    sim.succeed(run, "plain", **LEFT)
    for name in ("fails", "plain"):
        attempt = sim.job(run, name).attempt
        assert attempt is not None
        assert (attempt.release, attempt.pages) == (None, None)


def test_a_job_that_releases_and_publishes_has_both() -> None:
    sim = Sim(SimWorker("w"))
    run = sim.submit(plan(job(release=RELEASE, pages=PagesSpec())))
    sim.start(run, "job")
    sim.succeed(run, "job", **LEFT)
    attempt = sim.job(run, "job").attempt
    assert attempt is not None
    assert attempt.release == RELEASE
    assert attempt.pages == Pages(publish="public", files=1, size=2)
