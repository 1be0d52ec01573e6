"""The store gives back what it was given, whole turns or nothing, on SQLite and on PostgreSQL."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest

from coordinator.engine.effects import KeptTests, OwnWorkspace, Story, Turn
from coordinator.engine.state import AttemptState, EnvironmentState, JobState, RunState, StageState, WorkerState
from coordinator.engine.views import run_summary
from coordinator.store.attempt_tests import ANSWER_BYTES
from coordinator.store.models import Environment, Job, Run
from coordinator.store.reader import Reader
from coordinator.store.run_filter import conditions
from coordinator.store.store import Store
from protocol.messages import RunFilter, Source
from protocol.plan import Release, ReleaseLink, Variable
from protocol.reports import CodeQuality, FileCoverage, JobReports, LineCoverage, Link, QualityIssue
from protocol.statuses import EnvironmentStatus, FailureReason
from protocol.statuses import ExecutionStatus as S
from protocol.views import ArtifactRef, Capability, Deployment, ExecutorInfo, JUnitSummary, Pages, ParentJob
from protocol.workspace import GitWorkspace, Pack, TarWorkspace
from tests.support.plans import job, plan

NEVER_STORED = {"sent_mono", "last_seen_mono", "attempts", "active", "held", "online"}
"""Of attempts and workers: what only this process knows."""
GIT = GitWorkspace(
    snapshot="0a" * 20,
    packs=[Pack(digest="ab" * 32, size=1 << 40), Pack(digest="cd" * 32, size=1)],
    commits=["1b" * 20, "2c" * 20],
    shallow=["2c" * 20],
    depth=20,
)


def make_run(id: int, *, first_job: int, **changes: Any) -> RunState:
    """A run of two stages and three jobs, as the engine makes it."""
    its_plan = plan(job("build", "build"), job("unit", "test"), job("lint \N{SNOWMAN}", "test", needs=["build"]))
    stages = [StageState(run_id=id, index=i, name=name, jobs=[]) for i, name in enumerate(its_plan.stages)]
    run = RunState(id=id, token=f"token {id}", plan=its_plan, source=Source(ref="main"), stages=stages, created_at=1.5)
    for i, job_plan in enumerate(its_plan.jobs):
        stage = stages[0 if job_plan.stage == "build" else 1]
        stage.jobs.append(JobState(id=first_job + i, run_id=id, stage_index=stage.index, plan=job_plan))
    for name, value in changes.items():
        setattr(run, name, value)
    return run


def whole(*runs: RunState) -> Turn:
    """A turn that writes all of these runs."""
    stages = [stage for run in runs for stage in run.stages]
    jobs = [each for stage in stages for each in stage.jobs]
    attempts = [attempt for each in jobs for attempt in each.attempts]
    return Turn(runs=list(runs), stages=stages, jobs=jobs, attempts=attempts)


def facts(state: Any) -> Any:
    """A state as nested tuples, to compare by value what the engine compares by identity."""
    if is_dataclass(state):
        skipped = NEVER_STORED if isinstance(state, WorkerState) else NEVER_STORED - {"attempts"}
        return {f.name: facts(getattr(state, f.name)) for f in fields(state) if f.name not in skipped}
    if isinstance(state, list):
        return [facts(each) for each in state]
    return state


@pytest.fixture
def store(database_url: str) -> Any:
    opened = Store(database_url)
    yield opened
    opened.close()


def test_a_run_comes_back_as_it_was_written(store: Store) -> None:
    run = make_run(7, first_job=40, workspace=GIT, canceling=True, status=S.RUNNING)
    run.started_at = 2.25
    run.stages[0].status, run.stages[0].finished_at = S.SUCCESS, 3.125
    done = run.stages[0].jobs[0]
    done.status, done.played, done.automatic_retries, done.not_before_at = S.FAILED, True, 2, 9.5
    done.child_runs, run.parent = [8, 9], ParentJob(run=3, job="start", level=2)
    done.inputs = {"text": "1.10", "number": 1, "real": 1.5, "flag": True, "list": ["a", {"b": [None]}]}
    done.not_before_mono, done.not_before_boot = 4.25, "a boot"
    done.play_variables = [Variable(key="K", value="v", masked=True)]
    done.failure_reason, done.message, done.allowed_to_fail = FailureReason.OOM_KILLED, "no memory", True
    done.attempts = [
        AttemptState(id="40.1", job_id=40, number=1, worker="w1", status=S.CANCELED, revoking=True),
        AttemptState(
            id="40.2",
            job_id=40,
            number=2,
            worker="w2",
            status=S.FAILED,
            status_seq=(1 << 62) + 3,
            released=True,
            canceling=True,
            exit_code=137,
            failure_reason=FailureReason.OOM_KILLED,
            message="killed",
            artifacts=[ArtifactRef(kind="archive", digest="cd" * 32, size=5, expires_at=77.0)],
            dotenv={"A": "1\n2", "\N{SNOWMAN}": ""},
            tests=JUnitSummary(total=3, failed=1, failures=["it fails"]),
            reports=JobReports(
                links=[
                    Link(title="docs", url="https://docs.example", group="more"),
                    Link(title="all", paths=["a", "b"]),
                ],
                lines=LineCoverage(covered=1, total=2, files=1, worst=[FileCoverage(path="a.py", covered=1, total=2)]),
                quality=CodeQuality(
                    counts={"major": 1},
                    issues=[QualityIssue(severity="major", description="\0odd", path="a.py", line=3, check="E1")],
                ),
            ),
            coverage=81.5,
            inputs={**done.inputs, "more": "x"},
            release=Release(tag_name="v1", description="a\0b", links=[ReleaseLink(name="l", url="https://l")]),
            pages=Pages(publish="public", path_prefix="mr-1", files=3, size=1 << 40, expires_at=5.5),
            log_length=1 << 35,
            assigned_at=1.0,
            started_at=2.0,
            finished_at=3.0,
        ),
    ]
    run.stages[1].jobs[0].pending_reason = "waiting for build"
    store.write_turn(whole(run))
    loaded = store.load_run(7)
    assert facts(loaded) == facts(run)
    assert facts(store.load_unfinished()[0]) == [facts(run)]


def test_a_jobs_own_files_come_back_and_are_kept_as_long_as_its_run(store: Store, database_url: str) -> None:
    run, own = make_run(7, first_job=40, workspace=GIT), TarWorkspace(digest="ef" * 32, size=3)
    retried = run.stages[0].jobs[0]
    retried.own_workspaces = {2: own, 3: None}
    store.write_turn(whole(run))
    changed = [OwnWorkspace(40, 2, GIT), OwnWorkspace(40, 2, own)]  # before the attempt started
    effects = [*changed, OwnWorkspace(40, 3, None)]
    store.write_turn(Turn(jobs=[retried], workspaces=effects))
    assert facts(store.load_run(7)) == facts(run)
    with Reader(database_url) as reader:
        assert "ef" * 32 in reader.needed_blobs(100.0, None)
    store.remove_run(7)
    with Reader(database_url) as reader:
        assert reader.needed_blobs(100.0, None) == {}


def test_workers_come_back_offline(store: Store) -> None:
    worker = WorkerState(
        name="w1",
        labels=["a", "b c"],
        run_untagged=False,
        slots=4,
        executor=ExecutorInfo(kind="docker", engine="Docker", capabilities=[Capability.HOLD]),
        online=True,
    )
    worker.draining, worker.disk_low, worker.last_seen_at = True, True, 12.5
    store.write_turn(Turn(workers=[worker]))
    (loaded,) = store.load_unfinished()[1]
    assert facts(loaded) == facts(worker)
    assert not loaded.online


def make_environment(name: str, **changes: Any) -> EnvironmentState:
    """A deployed environment."""
    deployment = Deployment(run=1, job="deploy", ref="main", sha="abc", at=5.0)
    environment = EnvironmentState(project="p", name=name, slug="s", tier="other", deployment=deployment)
    for field, value in changes.items():
        setattr(environment, field, value)
    return environment


def test_environments_come_back_unless_they_are_stopped(store: Store) -> None:
    whole_one = make_environment(
        "review/\N{SNOWMAN}",
        url="https://r",
        status=EnvironmentStatus.STOPPING,
        stop_jobs=["stop a", "stop b"],
        stopping=[4, 5],
        auto_stop_in=60.0,
        auto_stop_at=65.0,
        auto_stop_mono=7.5,
        auto_stop_boot="a boot",
        message="why",
    )
    store.write_turn(Turn(environments=[whole_one, make_environment("b", deployment=Deployment(run=2, job="d", at=6))]))
    assert facts(store.load_environments()[1]) == facts(whole_one)
    whole_one.status, whole_one.stopped_at = EnvironmentStatus.STOPPED, 70.0
    store.write_turn(Turn(environments=[whole_one]))
    assert [each.name for each in store.load_environments()] == ["b"]
    assert [each.name for each in store.list_environments(None, 10)] == ["b", whole_one.name]
    assert [each.name for each in store.list_environments(None, 1)] == ["b"]
    assert store.list_environments("another", 10) == []


def test_an_environment_with_a_row_that_makes_no_sense_is_left_out(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    store.write_turn(Turn(environments=[make_environment("a"), make_environment("b")]))
    store._database.execute(Environment.update(stopping_json="{").where(Environment.name == "a"))
    assert [each.name for each in store.load_environments()] == ["b"]
    assert "environment a can't be read" in caplog.text


def test_a_removed_run_takes_the_stopped_environments_along_that_it_deployed(store: Store) -> None:
    store.write_turn(whole(make_run(1, first_job=1)))
    store.write_turn(whole(make_run(2, first_job=10)))
    gone, stays = (
        make_environment(f"stopped {run}", deployment=Deployment(run=run, job="d"), status=EnvironmentStatus.STOPPED)
        for run in (1, 2)
    )
    store.write_turn(Turn(environments=[gone, stays, make_environment("deployed")]))
    store.remove_run(1)
    assert sorted(each.name for each in store.list_environments(None, 10)) == ["deployed", "stopped 2"]


def test_releases_are_listed_newest_first(store: Store) -> None:
    runs = make_run(1, first_job=1), make_run(2, first_job=10)
    for at, run in enumerate(runs, 1):
        made = AttemptState(id=f"{run.stages[0].jobs[0].id}.1", job_id=run.stages[0].jobs[0].id, number=1, worker="w")
        made.finished_at, made.release = float(at), Release(tag_name=f"v{at}", description="d")
        run.stages[0].jobs[0].attempts = [made]
    store.write_turn(whole(*runs))
    found = store.list_releases(None, 10)
    assert [(each.run, each.job, each.at, each.release.tag_name) for each in found] == [
        (2, "build", 2.0, "v2"),
        (1, "build", 1.0, "v1"),
    ]
    assert [each.run for each in store.list_releases(runs[0].plan.project, 1)] == [2]
    assert store.list_releases("another", 10) == []


def test_a_later_turn_updates_rows_and_leaves_the_others(store: Store) -> None:
    run, other = make_run(1, first_job=1), make_run(2, first_job=10)
    store.write_turn(whole(run, other))
    changed = run.stages[1].jobs[1]
    changed.status = run.status = S.RUNNING
    changed.attempts.append(AttemptState(id="3.1", job_id=3, number=1, worker="w"))
    store.write_turn(Turn(runs=[run], jobs=[changed], attempts=changed.attempts))
    assert facts(store.load_run(1)) == facts(run)
    assert facts(store.load_run(2)) == facts(other)


def test_only_unfinished_runs_are_taken_up_again(store: Store) -> None:
    runs = [make_run(i, first_job=10 * i, status=status) for i, status in enumerate(S, start=1)]
    store.write_turn(whole(*runs))
    ended = {S.SUCCESS, S.FAILED, S.CANCELED, S.SKIPPED}
    assert [run.id for run in store.load_unfinished()[0]] == [run.id for run in runs if run.status not in ended]


def test_a_turn_that_fails_leaves_nothing_behind(store: Store) -> None:
    run = make_run(1, first_job=1)
    turn = whole(run)
    turn.attempts.append(AttemptState(id="99.1", job_id=99, number=1, worker="w"))  # there is no job 99
    turn.stories.append(Story(run_id=1, job="build", attempt=None, at=1.0, text="begins"))
    with pytest.raises(Exception, match=r"(?i)foreign key"):
        store.write_turn(turn)
    assert store.load_run(1) is None
    turn.attempts.pop()
    store.write_turn(turn)
    assert facts(store.load_run(1)) == facts(run)
    assert [line.text for line in store.story(1, "build")] == ["begins"]


def test_writing_a_turn_twice_is_the_same_as_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    turn = whole(make_run(1, first_job=1))
    turn.stories.append(Story(run_id=1, job="build", attempt=None, at=1.0, text="begins"))
    before = store._last_run, store._last_story
    store.write_turn(turn)
    store._last_run, store._last_story = before  # as after a commit whose answer got lost
    store.write_turn(turn)
    assert [line.text for line in store.story(1, "build")] == ["begins"]
    assert facts(store.load_run(1)) == facts(turn.runs[0])


def test_ids_go_on_after_a_restart(database_url: str) -> None:
    store = Store(database_url)
    assert store.next_ids() == (1, 1)
    first_id = store.coordinator_id
    turn = whole(make_run(41, first_job=500))
    turn.stories.append(Story(run_id=41, job="build", attempt=None, at=1.0, text="first"))
    store.write_turn(turn)
    store.close()
    store = Store(database_url)
    assert store.next_ids() == (42, 503)
    assert store.coordinator_id == first_id
    store.write_turn(Turn(stories=[Story(run_id=41, job="build", attempt="500.1", at=2.0, text="second")]))
    assert [(line.text, line.attempt) for line in store.story(41, "build")] == [("first", None), ("second", "500.1")]
    store.close()


def test_a_token_finds_its_run(store: Store) -> None:
    store.write_turn(whole(make_run(3, first_job=1, token="t\N{SNOWMAN}")))
    assert store.run_by_token("t\N{SNOWMAN}") == 3
    assert store.run_by_token("other") is None


def test_the_list_of_runs_is_newest_first_in_pages_and_counts_as_the_engine_does(store: Store) -> None:
    runs = [make_run(i, first_job=10 * i) for i in range(1, 6)]
    for each in runs[2].stages[1].jobs:
        each.status, each.allowed_to_fail = S.FAILED, each.plan.name == "unit"
    runs[2].stages[0].jobs[0].status = S.SUCCESS
    store.write_turn(whole(*runs))
    assert store.list_runs(100) == [run_summary(run) for run in reversed(runs)]
    assert [run.id for run in store.list_runs(2)] == [5, 4]
    assert [run.id for run in store.list_runs(2, before=4)] == [3, 2]
    assert store.list_runs(1, before=4)[0].warnings
    assert store.list_runs(10, before=1) == []


def test_a_list_of_runs_may_be_of_some_only(store: Store) -> None:
    runs = [make_run(i, first_job=10 * i, source=Source(ref="main" if i % 2 else "next")) for i in range(1, 6)]
    for number, status in ((1, S.FAILED), (3, S.FAILED), (5, S.CANCELED)):
        runs[number - 1].status = status
    runs[3].plan = plan(job("other"), project="group/other")
    runs[3].stages = [StageState(run_id=4, index=0, name="test", jobs=[])]
    runs[3].stages[0].jobs.append(JobState(id=40, run_id=4, stage_index=0, plan=runs[3].plan.jobs[0]))
    store.write_turn(whole(*runs))

    def found(limit: int = 10, before: int | None = None, **only: Any) -> list[int]:
        return [run.id for run in store.list_runs(limit, before, RunFilter(**only))]

    assert found() == [5, 4, 3, 2, 1]
    assert found(statuses=[S.FAILED]) == [3, 1]
    assert found(statuses=[S.FAILED, S.CANCELED], limit=2) == [5, 3]
    assert found(ref="main", before=5) == [3, 1]
    assert found(ref="main\0") == []
    assert found(project="group/other") == [4]
    assert found(job="unit") == [5, 3, 2, 1]
    assert found(job="unit", ref="next", statuses=[S.CREATED]) == [2]
    assert store.list_runs(1, None, RunFilter(project="group/other")) == [run_summary(runs[3])]


def test_runs_with_a_job_are_found_by_an_index_of_names(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'runs.db'}")
    query, values = Run.select().where(*conditions(RunFilter(job="unit"))).sql()
    plan = [row[3] for row in store._database.execute_sql(f"EXPLAIN QUERY PLAN {query}", values)]
    assert any("INDEX job_name_run_id (name=? AND run_id=?)" in step for step in plan), plan
    store.close()


def test_results_of_tests_come_back_by_job_newest_first_and_go_with_their_run(store: Store) -> None:
    runs = [make_run(i, first_job=10 * i, source=Source(ref="main", sha="abc")) for i in (1, 2)]
    runs[1].status, runs[1].finished_at = S.SUCCESS, 9.0
    tests = [KeptTests(10, 1, "f1", b"\0\xff"), KeptTests(21, 1, "f2", b"a"), KeptTests(21, 2, "f2", b"b")]
    turn = whole(*runs)
    turn.tests = tests
    store.write_turn(turn)
    store.write_turn(turn)  # again after a crash
    found, more = store.test_results(None, None, None, None)
    assert not more
    assert [(each.run, each.job, each.attempt, each.results) for each in found] == [
        (2, "unit", 2, b"b"),
        (2, "unit", 1, b"a"),
        (1, "build", 1, b"\0\xff"),
    ]
    assert (found[0].files, found[0].sha, found[0].ref, found[0].project) == ("f2", "abc", "main", runs[0].plan.project)
    assert [each.run for each in store.test_results(None, None, None, 21)[0]] == [1]
    assert [each.run for each in store.test_results(None, None, "build", None)[0]] == [1]
    assert store.test_results("other", None, None, None) == ([], False)
    assert store.test_results(None, "next", None, None) == ([], False)
    store.remove_run(2)
    assert [each.run for each in store.test_results(None, None, None, None)[0]] == [1]


def test_results_of_tests_are_read_in_pages_of_whole_jobs(store: Store) -> None:
    run = make_run(1, first_job=1)
    turn = whole(run)
    turn.tests = [KeptTests(job, number, "f", b"x" * (ANSWER_BYTES // 2)) for job in (1, 2, 3) for number in (1, 2)]
    store.write_turn(turn)
    pages: list[list[int]] = []
    before, more = None, True
    while more:
        found, more = store.test_results(None, None, None, before)
        pages.append([each.job_id for each in found])
        before = found[-1].job_id
    assert pages == [[3, 3], [2, 2], [1, 1]]


def test_text_that_a_database_can_not_keep_does_not_stop_it(store: Store) -> None:
    run = make_run(1, first_job=1)
    run.plan = plan(job("a\0b", "build"))
    run.stages = [StageState(run_id=1, index=0, name="build", jobs=[])]
    run.stages[0].jobs.append(JobState(id=1, run_id=1, stage_index=0, plan=run.plan.jobs[0], message="\0"))
    store.write_turn(whole(run))
    loaded = store.load_run(1)
    assert loaded is not None
    assert loaded.stages[0].jobs[0].plan == run.plan.jobs[0]
    assert loaded.stages[0].jobs[0].message == "\N{REPLACEMENT CHARACTER}"


def test_deleting_a_run_takes_all_that_belongs_to_it(store: Store) -> None:
    run = make_run(1, first_job=1)
    run.stages[0].jobs[0].attempts = [AttemptState(id="1.1", job_id=1, number=1, worker="w")]
    turn = whole(run, make_run(2, first_job=10))
    turn.stories.append(Story(run_id=1, job="build", attempt="1.1", at=1.0, text="begins"))
    store.write_turn(turn)
    store._database.execute_sql('DELETE FROM "run" WHERE id = 1')
    assert store.load_run(1) is None
    assert store.story(1, "build") == []
    assert {row[1] for row in store._rows(Job.select())} == {2}
