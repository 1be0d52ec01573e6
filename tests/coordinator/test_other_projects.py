"""What a coordinator knows of other projects and pipelines: by the runs in its store."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from coordinator.engine.effects import LookUp, Turn
from coordinator.engine.state import AttemptState, JobState, RunState, StageState
from coordinator.engine.upstreams import LatestRun
from coordinator.files.blob_store import BlobStore
from coordinator.other_projects import Artifacts, KnownProjects, Refused, check_hierarchy
from coordinator.store.history import History
from coordinator.store.reader import Reader
from coordinator.store.store import Store
from protocol.errors import LongshoreError
from protocol.messages import Dependency, Origin, Source
from protocol.plan import ExternalNeed
from protocol.statuses import ExecutionStatus as S
from protocol.statuses import FailureReason
from protocol.views import ArtifactRef, ParentJob
from protocol.workspace import TarWorkspace
from tests.support.eventually import eventually
from tests.support.plans import job, plan, variables

LIB = "group/lib"
APP = "group/app"


class World:
    """A store, with runs as short as they can be."""

    def __init__(self, folder: Path) -> None:
        self.url = f"sqlite:///{folder / 'longshore.db'}"
        self.store = Store(self.url)
        self.blobs = BlobStore(folder / "blobs", lambda: None)
        self.history = History(self.store.all)
        self.projects = KnownProjects(self.store, self.history, self.blobs)
        self.artifacts = Artifacts(self.history, self.blobs)
        self._ids = iter(range(1, 10_000))

    def close(self) -> None:
        self.blobs.close()
        self.store.close()

    def blob(self, content: bytes) -> str:
        """Stores a blob. Returns its digest."""
        digest = hashlib.sha256(content).hexdigest()
        self.blobs.put(digest, len(content), 0, content)
        eventually(lambda: self.blobs.finished() or self.blobs.size(digest), so=bool)
        return digest

    def run(
        self,
        project: str = LIB,
        ref: str = "main",
        status: S = S.SUCCESS,
        *,
        parent: ParentJob | None = None,
        workspace: TarWorkspace | None = None,
        left: ArtifactRef | None = None,
        projects: list[Origin] | None = None,
    ) -> RunState:
        """A run with the job `make`, which has left an artifact, and the variable V."""
        id = next(self._ids)
        facts = variables(CI_COMMIT_REF_NAME=ref, CI_DEFAULT_BRANCH="main", CI_CONFIG_PATH="ci.yml")
        made = plan(job("make"), project=project, predefined=facts)
        attempt = AttemptState(f"{id}.1", id, 1, "w", status, artifacts=[left] if left else [], dotenv={"V": str(id)})
        stage = StageState(id, 0, "test", [JobState(id, id, 0, made.jobs[0], status, [attempt])], status)
        run = RunState(
            id,
            f"token {id}",
            made,
            Source(ref=ref),
            [stage],
            workspace,
            parent,
            projects or [],
            status,
            created_at=1.0,
            finished_at=2.0 if status in (S.SUCCESS, S.FAILED) else None,
        )
        self.store.write_turn(Turn(runs=[run], stages=run.stages, jobs=stage.jobs, attempts=[attempt]))
        return run

    def wanted(self, need: ExternalNeed, *, run: int = 99) -> list[Dependency]:
        return self.artifacts.find(LookUp(1, run, APP, [need], ""), 100.0)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with closing(World(tmp_path)) as made:
        yield made


def below(run: RunState, *, project: str = "") -> ParentJob:
    root = run.parent.root if run.parent else run.id
    return ParentJob(run=run.id, job="go", level=0 if project else 1, project=project, root=root)


def test_a_project_is_made_of_what_its_newest_run_of_the_branch_has(world: World) -> None:
    digest = world.blob(b"files")
    world.run(ref="main", workspace=TarWorkspace(digest=world.blob(b"old"), size=3))
    newest = world.run(ref="main", workspace=TarWorkspace(digest=digest, size=5))
    topic = world.run(ref="topic")
    world.run(ref="main", parent=below(newest))
    found = world.projects.find(LIB, "")
    assert (found.project, found.file, found.workspace) == (LIB, "ci.yml", newest.workspace)
    assert world.projects.find(LIB, "topic").predefined == topic.plan.predefined


@pytest.mark.parametrize(
    ("project", "branch", "why"),
    [
        ("group/none", "", "this coordinator has had no run of it"),
        ("group/none", "main", "this coordinator has had no run of it"),
        (LIB, "no", "this coordinator has no run of its branch 'no', but of: main, topic"),
    ],
)
def test_an_unknown_project_is_named_with_both_ways_to_make_it_known(
    world: World, project: str, branch: str, why: str
) -> None:
    world.run(ref="main")
    world.run(ref="topic")
    with pytest.raises(Refused) as error:
        world.projects.find(project, branch)
    mend = f"run its pipeline here first, or give --project {project}=DIR"
    assert str(error.value) == f"project {project} is not known here: {why}; {mend}"
    assert error.value.reason is FailureReason.DOWNSTREAM_BRIDGE_PROJECT_NOT_FOUND


def test_a_project_whose_files_are_gone_is_not_known_either(world: World) -> None:
    run = world.run(workspace=TarWorkspace(digest="e" * 64, size=1))
    with pytest.raises(Refused, match=f"the files of its newest run, {run.id}, are gone"):
        world.projects.find(LIB, "")


def test_the_latest_run_of_a_project_is_that_of_its_default_branch(world: World) -> None:
    assert world.projects.latest(LIB) is None
    main = world.run(ref="main", status=S.FAILED)
    world.run(ref="topic")
    assert world.projects.latest(LIB) == LatestRun(main.id, LIB, S.FAILED)


def test_artifacts_are_those_of_the_latest_successful_job_also_of_a_run_that_goes_on(world: World) -> None:
    left = ArtifactRef(kind="archive", digest=world.blob(b"artifact"), size=8)
    world.run(left=left)
    running = world.run(left=left)
    running.status = S.RUNNING
    world.store.write_turn(Turn(runs=[running]))
    world.run(status=S.FAILED)
    world.run(ref="topic")
    (found,) = world.wanted(ExternalNeed(job="make", project=LIB, ref="main"))
    assert (found.job, found.artifacts, found.variables) == (f"{LIB}:make@main", [left], {"V": str(running.id)})


@pytest.mark.parametrize(
    ("need", "why"),
    [
        (ExternalNeed(job="make", project="g/no", ref="main"), "this coordinator has had no run of g/no; run its"),
        (ExternalNeed(job="make", project=LIB, ref="no"), "this coordinator has no run of that ref, but of: main"),
        (ExternalNeed(job="no", project=LIB, ref="main"), "no run there has such a job that succeeded"),
        (
            ExternalNeed(job="make", pipeline="$PARENT"),
            "that is no run; pass the parent's $CI_PIPELINE_ID in a variable",
        ),
        (ExternalNeed(job="make", pipeline="99"), "its own: name the job alone under `needs`"),
        (ExternalNeed(job="make", pipeline="1"), "run 1 is neither a parent of this run nor another child of it"),
    ],
)
def test_artifacts_that_are_not_there_are_named_with_the_reason(world: World, need: ExternalNeed, why: str) -> None:
    world.run()
    with pytest.raises(LongshoreError) as error:
        world.wanted(need)
    assert why in str(error.value)


def test_artifacts_of_the_parent_and_of_its_other_children_are_in_reach(world: World) -> None:
    parent = world.run(APP)
    one, two = world.run(APP, parent=below(parent)), world.run(APP, parent=below(parent))
    stranger = world.run(LIB, parent=below(parent, project=APP))
    for run in (parent, two):
        (found,) = world.wanted(ExternalNeed(job="make", pipeline=str(run.id)), run=one.id)
        assert (found.job, found.variables) == (f"run {run.id}:make", {"V": str(run.id)})
    with pytest.raises(LongshoreError, match="is neither a parent"):
        world.wanted(ExternalNeed(job="make", pipeline=str(parent.id)), run=stranger.id)


def test_expired_artifacts_are_told_of(world: World) -> None:
    left = ArtifactRef(kind="archive", digest=world.blob(b"artifact"), size=8, expires_at=50.0)
    run = world.run(left=left)
    with pytest.raises(LongshoreError, match=rf"{LIB}:make@main \(run {run.id}\) have expired"):
        world.wanted(ExternalNeed(job="make", project=LIB, ref="main"))


def test_projects_that_start_each_other_stop_at_the_third_round(world: World) -> None:
    top = run = world.run(APP)
    for project in (LIB, APP, LIB, APP, LIB):
        check_hierarchy(run, world.history, other_project=True)
        run = world.run(project, parent=below(run, project=run.plan.project))
    with pytest.raises(Refused) as error:
        check_hierarchy(run, world.history, other_project=True)
    assert error.value.reason is FailureReason.PIPELINE_LOOP_DETECTED
    assert f"{APP} -> {LIB} -> {APP}" in str(error.value)
    assert run.parent is not None
    assert run.parent.root == top.id


def test_a_run_leads_to_a_thousand_others_at_most(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coordinator.other_projects.LARGEST_HIERARCHY", 2)
    top = world.run(APP)
    child = world.run(APP, parent=below(top))
    check_hierarchy(top, world.history, other_project=False)
    world.run(LIB, parent=below(child, project=APP))
    with pytest.raises(Refused) as error:
        check_hierarchy(child, world.history, other_project=False)
    assert error.value.reason is FailureReason.REACHED_MAX_PIPELINE_HIERARCHY_SIZE


def test_retention_keeps_a_run_of_another_project_for_its_own_time_and_what_runs_have_brought_along(
    world: World,
) -> None:
    files = TarWorkspace(digest="f" * 64, size=1)
    top = world.run(APP, projects=[Origin(project=LIB, file="ci.yml", workspace=files)])
    child = world.run(APP, status=S.RUNNING, parent=below(top))
    other = world.run(LIB, parent=below(top, project=APP))
    world.run()
    with Reader(world.url) as reader:
        assert reader.finished_runs(before=100.0) == [other.id]
        assert reader.needed_blobs(100.0, None) == {"f" * 64: LIB}
    assert child.parent is not None
