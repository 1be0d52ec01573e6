"""Workspaces, artifacts and reports on their way between coordinator, cache and jobs."""

from __future__ import annotations

import hashlib
import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from protocol import messages as m
from protocol.plan import ArtifactsSpec
from protocol.reports import CodeQuality, FileCoverage, JobReports, LineCoverage, Link, QualityIssue
from protocol.statuses import ExecutionStatus as S
from protocol.statuses import FailureReason
from protocol.views import ArtifactRef, JUnitSummary
from protocol.workspace import TarWorkspace
from tests.support.fake_coordinator import FakeCoordinator, RunningWorker
from tests.support.fake_executor import FakeEngine, until
from tests.support.plans import assignment

LEAVES = ArtifactsSpec(paths=["out"])
"""That a job leaves something; what, `FakeEngine.artifacts` says."""

Start = Callable[..., RunningWorker]


def blob(coordinator: FakeCoordinator, size: int, seed: int = 1) -> tuple[str, bytes]:
    content = random.Random(seed).randbytes(size)
    digest = hashlib.sha256(content).hexdigest()
    coordinator.blobs[digest] = content
    return digest, content


def archive(job: str, digest: str, size: int) -> m.Dependency:
    ref = ArtifactRef(kind="archive", digest=digest, size=size, name="artifacts")
    return m.Dependency(job=job, status=S.SUCCESS, satisfied=True, artifacts=[ref])


def test_a_workspace_of_many_pieces_is_fetched_once_per_worker(
    coordinator: FakeCoordinator, engine: FakeEngine, run_worker: Start
) -> None:
    digest, content = blob(coordinator, 10_500_000)
    run_worker()
    for number in range(1, 5):
        workspace = TarWorkspace(digest=digest, size=len(content))
        coordinator.assign(assignment("true", attempt=f"{number}.1", workspace=workspace))
    coordinator.status("1.1", S.RUNNING)
    assert engine.made["1.1"].workspace == content
    for number in range(1, 5):
        assert coordinator.final(f"{number}.1").status is S.SUCCESS
    assert coordinator.count(m.BlobGet) == 11


def test_a_workspace_that_is_gone_fails_the_job_with_the_reason(
    coordinator: FakeCoordinator, run_worker: Start
) -> None:
    run_worker()
    coordinator.assign(assignment("noop", attempt="1.1", workspace=TarWorkspace(digest="ab" * 32, size=5)))
    final = coordinator.final("1.1")
    assert final.failure_reason is FailureReason.RUNNER_SYSTEM_FAILURE
    assert "workspace" in (final.message or "")


def test_a_blob_with_wrong_bytes_is_never_used(
    coordinator: FakeCoordinator, engine: FakeEngine, run_worker: Start, tmp_path: Path
) -> None:
    digest = "ab" * 32
    coordinator.blobs[digest] = b"something else"
    run_worker()
    coordinator.assign(assignment("noop", attempt="1.1", workspace=TarWorkspace(digest=digest, size=14)))
    assert coordinator.final("1.1").status is S.FAILED
    cache = tmp_path / "state" / "cache"
    assert cache.is_dir()
    assert not [name for _, _, names in os.walk(cache) for name in names if digest in name]


def test_artifacts_of_a_dependency_are_fetched_while_others_still_run(
    coordinator: FakeCoordinator, engine: FakeEngine, run_worker: Start
) -> None:
    digest, content = blob(coordinator, 3_000_000)
    run_worker()
    waits = [m.Dependency(job=job, status=S.RUNNING, satisfied=False) for job in ("a", "b")]
    coordinator.assign(assignment("true", attempt="1.1", waits_for=waits))
    engine.await_step("hold", "1.1")
    ref = ArtifactRef(kind="archive", digest=digest, size=len(content))
    coordinator.satisfy("1.1", "a", artifacts=[ref])
    coordinator.wait_for(lambda: coordinator.count(m.BlobGet) == 3, "the prefetch")
    assert "release" not in engine.steps("1.1")
    coordinator.satisfy("1.1", "b")
    coordinator.status("1.1", S.RUNNING)
    dependencies = engine.made["1.1"].dependencies
    assert dependencies is not None
    assert [path.read_bytes() for path in dependencies.archives] == [content]
    coordinator.final("1.1")
    assert coordinator.count(m.BlobGet) == 3


def test_artifacts_come_in_the_order_of_the_dependencies_and_reports_stay_out(
    coordinator: FakeCoordinator, engine: FakeEngine, run_worker: Start
) -> None:
    first, second, report = (blob(coordinator, size, seed=size)[0] for size in (100, 200, 300))
    with_report = m.Dependency(
        job="b",
        status=S.SUCCESS,
        satisfied=True,
        artifacts=[
            ArtifactRef(kind="archive", digest=second, size=200),
            ArtifactRef(kind="junit", digest=report, size=300),
        ],
    )
    run_worker()
    coordinator.assign(assignment("true", attempt="1.1", waits_for=[archive("a", first, 100), with_report]))
    coordinator.status("1.1", S.RUNNING)
    dependencies = engine.made["1.1"].dependencies
    assert dependencies is not None
    assert [path.name for path in dependencies.archives] == [first, second]


def test_artifacts_that_expired_fail_the_job_as_a_missing_dependency(
    coordinator: FakeCoordinator, run_worker: Start
) -> None:
    run_worker()
    coordinator.assign(assignment("noop", attempt="1.1", waits_for=[archive("build", "ab" * 32, 5)]))
    final = coordinator.final("1.1")
    assert final.failure_reason is FailureReason.MISSING_DEPENDENCY_FAILURE
    assert "build" in (final.message or "")


def test_a_transfer_goes_on_after_an_outage(
    coordinator: FakeCoordinator, engine: FakeEngine, run_worker: Start
) -> None:
    digest, content = blob(coordinator, 6_000_000)
    run_worker()
    coordinator.expect(m.Hello)
    coordinator.answering = False
    workspace = TarWorkspace(digest=digest, size=len(content))
    coordinator.assign(assignment("true", attempt="1.1", workspace=workspace))
    coordinator.expect(m.BlobGet)
    coordinator.down()
    coordinator.answering = True
    coordinator.up()
    coordinator.status("1.1", S.RUNNING)
    assert engine.made["1.1"].workspace == content


def test_what_a_job_leaves_is_stored_before_its_final_status_and_named_in_it(
    coordinator: FakeCoordinator, engine: FakeEngine, run_worker: Start
) -> None:
    content = random.Random(5).randbytes(5_000_000)
    engine.artifacts["build"] = [
        ("archive", "artifacts", content),
        ("dotenv", "build.env", b"COLOR=green\n"),
        ("junit", "report.xml", b'<testsuite><testcase name="t" time="1.5"/></testsuite>'),
    ]
    coordinator.drop_puts = 2  # pieces get lost on the way
    run_worker()
    coordinator.assign(assignment("true", attempt="1.1", name="build", artifacts=LEAVES))
    final = coordinator.final("1.1")
    assert final.status is S.SUCCESS
    assert [ref.kind for ref in final.artifacts] == ["archive", "dotenv", "junit"]
    assert (final.artifacts[0].name, final.artifacts[0].size) == ("artifacts", 5_000_000)
    assert coordinator.blobs[final.artifacts[0].digest] == content
    assert final.dotenv == {"COLOR": "green"}
    assert final.tests == JUnitSummary(total=1, seconds=1.5)
    engine.await_step("remove", "1.1")


def test_an_artifact_that_the_coordinator_has_is_not_sent_and_one_made_here_is_not_fetched(
    coordinator: FakeCoordinator, engine: FakeEngine, run_worker: Start
) -> None:
    engine.artifacts["build"] = [("archive", "artifacts", b"same")]
    run_worker()
    coordinator.assign(assignment("true", attempt="1.1", name="build", artifacts=LEAVES))
    ref = coordinator.final("1.1").artifacts[0]
    puts = coordinator.count(m.BlobPut)
    coordinator.assign(assignment("true", attempt="2.1", name="build", artifacts=LEAVES))
    coordinator.final("2.1")
    assert coordinator.count(m.BlobPut) == puts + 1
    coordinator.assign(assignment("noop", attempt="3.1", waits_for=[archive("build", ref.digest, ref.size)]))
    assert coordinator.final("3.1").status is S.SUCCESS
    assert coordinator.count(m.BlobGet) == 0


def test_a_dotenv_report_that_breaks_the_rules_fails_the_job_and_names_the_line(
    coordinator: FakeCoordinator, engine: FakeEngine, run_worker: Start
) -> None:
    engine.artifacts["build"] = [
        ("dotenv", "build.env", b"A=1\n# no comments\n"),
        ("archive", "artifacts", b"all the same"),
        ("junit", "report.xml", b'<testsuite><testcase name="t"/></testsuite>'),
    ]
    run_worker()
    coordinator.assign(assignment("true", attempt="1.1", name="build", artifacts=LEAVES))
    final = coordinator.final("1.1")
    assert (final.status, final.failure_reason) == (S.FAILED, FailureReason.SCRIPT_FAILURE)
    assert "build.env, line 2" in (final.message or "")
    assert [ref.kind for ref in final.artifacts] == ["dotenv", "archive", "junit"]
    assert (final.tests, final.dotenv) == (JUnitSummary(total=1), {})


def test_a_junit_report_that_can_not_be_read_is_told_and_fails_nothing(
    coordinator: FakeCoordinator, engine: FakeEngine, run_worker: Start
) -> None:
    engine.artifacts["build"] = [("junit", f"report{number}.xml", b"<html/>") for number in range(9)]
    engine.artifacts["build"].append(("junit", "good.xml", b'<testsuite><testcase name="t"/></testsuite>'))
    run_worker()
    coordinator.assign(assignment("true", attempt="1.1", name="build", artifacts=LEAVES))
    final = coordinator.final("1.1")
    assert final.status is S.SUCCESS
    assert "report0.xml: " in (final.message or "")
    assert "(and 6 more)" in (final.message or "")
    assert final.tests == JUnitSummary(total=1)


def test_reports_are_read_by_the_worker_and_odd_ones_fail_nothing(
    coordinator: FakeCoordinator, engine: FakeEngine, run_worker: Start
) -> None:
    place = {"path": "a.c", "lines": {"begin": 7}}
    issue: dict[str, Any] = {"description": "odd", "fingerprint": "1", "severity": "minor", "location": place}
    lines = '<line number="1" hits="1"/><line number="2" hits="0"/>'
    coverage = f'<coverage><package><class filename="a.c">{lines}</class></package></coverage>'
    engine.artifacts["build"] = [
        ("archive", "artifacts", b"files"),
        ("annotations", "links.json", b'{"docs": [{"external_link": {"label": "API", "url": "https://x"}}]}'),
        ("annotations", "odd.json", b"[]"),
        ("codequality", "quality.json", json.dumps([issue]).encode()),
        ("codequality", "odd.json", b""),
        ("cobertura", "coverage.xml", coverage.encode()),
        ("cobertura", "odd.xml", b"<html/>"),
    ]
    run_worker()
    exposed = ArtifactsSpec(paths=["out"], expose_as="All of it")
    coordinator.assign(assignment("true", attempt="1.1", name="build", artifacts=exposed))
    final = coordinator.final("1.1")
    assert final.status is S.SUCCESS
    assert final.reports == JobReports(
        links=[Link(title="All of it"), Link(title="API", url="https://x", group="docs")],
        lines=LineCoverage(covered=1, total=2, files=1, worst=[FileCoverage(path="a.c", covered=1, total=2)]),
        quality=CodeQuality(
            counts={"minor": 1}, issues=[QualityIssue(severity="minor", description="odd", path="a.c", line=7)]
        ),
    )
    for kind, file in (("annotations", "odd.json"), ("codequality", "odd.json"), ("cobertura", "odd.xml")):
        assert f"bad {kind} report: {file}: " in (final.message or "")


def test_reports_beyond_the_bounds_are_left_out_with_a_warning(
    coordinator: FakeCoordinator, engine: FakeEngine, run_worker: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daemon.reports.reader.MOST_FILES", 2)
    monkeypatch.setattr("daemon.reports.reader.KIND_BYTES", 5)
    engine.artifacts["build"] = [("codequality", f"{number}.json", b"[]") for number in range(4)]
    engine.artifacts["build"] += [("annotations", f"{number}.json", b"{  }") for number in range(4)]
    run_worker()
    exposed = ArtifactsSpec(paths=["gone"], expose_as="Nothing")
    coordinator.assign(assignment("true", attempt="1.1", name="build", artifacts=exposed))
    final = coordinator.final("1.1")
    assert "2 of 4 codequality reports left out: at most 2 files of 5 bytes in all" in (final.message or "")
    assert "3 of 4 annotations reports left out" in (final.message or "")
    assert final.reports == JobReports(quality=CodeQuality())  # no link to an archive that does not exist


def test_coverage_is_taken_from_the_log(coordinator: FakeCoordinator, run_worker: Start) -> None:
    run_worker()
    coordinator.assign(assignment("echo 'TOTAL 10 3 70%'; echo bye", attempt="1.1", coverage=r"/TOTAL.*? (\d+)%/"))
    assert coordinator.final("1.1").coverage == 70.0


def test_coverage_that_passed_by_before_a_restart_is_found_all_the_same(
    coordinator: FakeCoordinator, engine: FakeEngine, run_worker: Start, tmp_path: Path
) -> None:
    first = run_worker()
    go = tmp_path / "go"
    script = f"echo 'TOTAL 70%'; {until(go)}; echo bye"
    coordinator.assign(assignment(script, attempt="1.1", coverage=r"/TOTAL (\d+)%/"))
    coordinator.wait_for(lambda: coordinator.log("1.1") == b"TOTAL 70%\n", "the line")
    first.leave()
    run_worker()
    go.touch()
    assert coordinator.final("1.1").coverage == 70.0
    assert coordinator.log("1.1") == b"TOTAL 70%\nbye\n"


def test_a_log_past_its_limit_keeps_head_and_tail_and_the_job_its_result(
    coordinator: FakeCoordinator, run_worker: Start
) -> None:
    run_worker()
    coordinator.assign(assignment("seq 1 100000", attempt="1.1", log_limit=40_000))
    final = coordinator.final("1.1")
    log = coordinator.log("1.1")
    whole = b"".join(b"%d\n" % number for number in range(1, 100_001))
    assert final.status is S.SUCCESS
    assert final.log_length == len(log)
    head, _, tail = log.partition(b"\n[longshore: %d bytes are left out here; " % (len(whole) - 40_000))
    assert head == whole[:30_000]
    assert tail.endswith(whole[-10_000:])
