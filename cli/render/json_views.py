"""JSON documents printed by `--json`. The contract is docs/schemas/: fields may be added, never changed."""

from __future__ import annotations

import json
import re
import sys
from datetime import UTC, datetime
from typing import Any

import msgspec

from cli.render.phrases import failed_tests
from protocol.display import IN_LINES
from protocol.messages import JobDetail
from protocol.plan import JobInput, Release
from protocol.reports import JobReports
from protocol.views import (
    ArtifactRef,
    AttemptView,
    JobView,
    Pages,
    ParentJob,
    RunSummary,
    RunView,
    StageView,
    StoryLine,
    WorkerView,
)


def print_json(document: Any) -> None:
    """Prints the single document of a `--json` verb to stdout."""
    text = json.dumps(document, indent=2, ensure_ascii=False)
    sys.stdout.write(IN_LINES.sub(_escaped, text) + "\n")  # only strings contain these; escapes are equivalent
    sys.stdout.flush()


def _escaped(found: re.Match[str]) -> str:
    return json.dumps(found[0])[1:-1]


def rfc3339(seconds: float | None) -> str | None:
    """A time in RFC 3339, in UTC with milliseconds."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def summary_json(run: RunSummary) -> dict[str, Any]:
    """A run as a list entry."""
    return {
        "id": run.id,
        "status": str(run.status),
        "name": run.name,
        "project": run.project,
        "ref": run.ref,
        "sha": run.sha,
        "title": run.title,
        "warnings": run.warnings,
        "counts": run.counts,
        "created_at": rfc3339(run.created_at),
        "started_at": rfc3339(run.started_at),
        "finished_at": rfc3339(run.finished_at),
        "parent": None if run.parent is None else _parent_json(run.parent),
    }


def _parent_json(parent: ParentJob) -> dict[str, Any]:
    """The job that has started a run; `project` is its project, if it is not that of the run."""
    return {"run": parent.run, "job": parent.job, "project": parent.project or None}


def run_json(run: RunView) -> dict[str, Any]:
    """A run with its stages and jobs."""
    return summary_json(run) | {"stages": [_stage_json(stage) for stage in run.stages]}


def _stage_json(stage: StageView) -> dict[str, Any]:
    return {
        "name": stage.name,
        "status": str(stage.status),
        "started_at": rfc3339(stage.started_at),
        "finished_at": rfc3339(stage.finished_at),
        "jobs": [job_json(job) for job in stage.jobs],
    }


def job_json(job: JobView) -> dict[str, Any]:
    """A job with the state of its current attempt."""
    return {
        "id": job.id,
        "name": job.name,
        "status": str(job.status),
        "attempt": job.attempt,
        "worker": job.worker,
        "exit_code": job.exit_code,
        "failure_reason": None if job.failure_reason is None else str(job.failure_reason),
        "message": job.message,
        "when": job.when,
        "allow_failure": job.allow_failure,
        "needs": job.needs,
        "pending_reason": job.pending_reason,
        "coverage": job.coverage,
        "tests": None if job.tests is None else msgspec.structs.asdict(job.tests),
        **_reports_json(job.reports or JobReports()),
        "artifacts": [_artifact_json(ref) for ref in job.artifacts],
        "child_runs": job.child_runs,
        "downstream_project": job.downstream_project,
        "mirrors": job.mirrors,
        "workspace": job.workspace,
        "environment": job.environment,
        "environment_url": job.environment_url,
        "release": None if job.release is None else release_json(job.release),
        "pages": None if job.pages is None else pages_json(job.pages),
        "kept_until": rfc3339(job.kept_until),
        "created_at": rfc3339(job.created_at),
        "started_at": rfc3339(job.started_at),
        "finished_at": rfc3339(job.finished_at),
    }


def release_json(release: Release) -> dict[str, Any]:
    """What a job has released."""
    return {
        "tag_name": release.tag_name,
        "name": release.name,
        "description": release.description,
        "tag_message": release.tag_message or None,
        "ref": release.ref,
        "milestones": release.milestones,
        "released_at": release.released_at or None,
        "links": [
            {
                "name": link.name,
                "url": link.url,
                "filepath": link.filepath or None,
                "link_type": link.link_type or "other",
            }
            for link in release.links
        ],
    }


def pages_json(pages: Pages) -> dict[str, Any]:
    """The static pages that a job has published."""
    return {
        "publish": pages.publish,
        "path_prefix": pages.path_prefix,
        "files": pages.files,
        "size": pages.size,
        "expires_at": rfc3339(pages.expires_at),
    }


def _reports_json(reports: JobReports) -> dict[str, Any]:
    lines, quality = reports.lines, reports.quality
    return {
        "links": [msgspec.structs.asdict(link) for link in reports.links],
        "line_coverage": None if lines is None else msgspec.to_builtins(lines),
        "code_quality": None if quality is None else msgspec.to_builtins(quality),
    }


def _artifact_json(ref: ArtifactRef) -> dict[str, Any]:
    return {"kind": ref.kind, "name": ref.name, "size": ref.size, "expires_at": rfc3339(ref.expires_at)}


def job_detail_json(run: int, stage: str, job: JobView, detail: JobDetail) -> dict[str, Any]:
    """One job with its attempts, event history and the lists of its reports."""
    reports = _reports_json(detail.reports or JobReports())
    return (
        job_json(job)
        | reports
        | {
            "run": run,
            "stage": stage,
            "failed_tests": [msgspec.structs.asdict(test) for test in failed_tests(job, detail)],
            "services": detail.services,
            "environment_status": None if detail.environment is None else str(detail.environment.status),
            "inputs": {name: _input_json(spec, detail.inputs.get(name)) for name, spec in detail.job.inputs.items()},
            "attempts": [_attempt_json(attempt) for attempt in detail.attempts],
            "story": [_story_json(line) for line in detail.story],
        }
    )


def _input_json(spec: JobInput, value: object) -> dict[str, Any]:
    return {"value": value} | {field: getattr(spec, field) for field in spec.__struct_fields__}


def _attempt_json(attempt: AttemptView) -> dict[str, Any]:
    return {
        "number": attempt.number,
        "status": str(attempt.status),
        "worker": attempt.worker,
        "exit_code": attempt.exit_code,
        "failure_reason": None if attempt.failure_reason is None else str(attempt.failure_reason),
        "message": attempt.message,
        "inputs": attempt.inputs,
        "workspace": attempt.workspace,
        "started_at": rfc3339(attempt.started_at),
        "finished_at": rfc3339(attempt.finished_at),
    }


def _story_json(line: StoryLine) -> dict[str, Any]:
    return {"at": rfc3339(line.at), "attempt": line.attempt, "text": line.text}


def worker_json(worker: WorkerView) -> dict[str, Any]:
    """A worker."""
    return {
        "name": worker.name,
        "status": str(worker.status),
        "slots": worker.slots,
        "running": worker.running,
        "waiting": worker.waiting,
        "labels": worker.labels,
        "last_seen": rfc3339(worker.last_seen),
        "jobs": worker.jobs,
        "kept": worker.kept,
        "engine": worker.executor.engine,
        "executor": worker.executor.kind,
        "capabilities": [capability.value for capability in worker.executor.capabilities],
    }
