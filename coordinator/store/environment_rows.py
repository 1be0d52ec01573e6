"""Converts environments and releases to rows and back. Pure; as `rows` does for runs."""

from __future__ import annotations

from coordinator.engine.state import EnvironmentState
from coordinator.store.columns import as_json, load, maybe_text, text
from coordinator.store.rows import Row
from protocol.plan import Release
from protocol.statuses import EnvironmentStatus
from protocol.views import Deployment, ReleaseView


def environment_row(environment: EnvironmentState) -> Row:
    """A row of `Environment`."""
    deployment = environment.deployment
    return (
        text(environment.project),
        text(environment.name),
        text(environment.slug),
        text(environment.tier),
        text(environment.url),
        environment.status.value,
        deployment.run,
        text(deployment.job),
        text(deployment.ref),
        text(deployment.sha),
        deployment.at,
        as_json(environment.stop_jobs),
        as_json(environment.stopping),
        environment.auto_stop_in,
        environment.auto_stop_at,
        environment.auto_stop_mono,
        environment.auto_stop_boot,
        environment.stopped_at,
        maybe_text(environment.message),
    )


def environment_of(row: Row) -> EnvironmentState:
    """The environment of a row of `Environment`."""
    (
        project,
        name,
        slug,
        tier,
        url,
        status,
        run,
        job,
        ref,
        sha,
        deployed,
        stop_jobs,
        stopping,
        auto_stop_in,
        auto_stop_at,
        auto_stop_mono,
        auto_stop_boot,
        stopped,
        message,
    ) = row
    return EnvironmentState(
        project=project,
        name=name,
        slug=slug,
        tier=tier,
        url=url,
        status=EnvironmentStatus(status),
        deployment=Deployment(run=run, job=job, ref=ref, sha=sha, at=deployed),
        stop_jobs=load(list[str], stop_jobs),
        stopping=load(list[int], stopping),
        auto_stop_in=auto_stop_in,
        auto_stop_at=auto_stop_at,
        auto_stop_mono=auto_stop_mono,
        auto_stop_boot=auto_stop_boot,
        stopped_at=stopped,
        message=message,
    )


def release_of(row: Row) -> ReleaseView:
    """The release of a row of run, job, project, time and a release's JSON."""
    run, job, project, at, release = row
    return ReleaseView(run=run, job=job, project=project, at=at, release=load(Release, release))
