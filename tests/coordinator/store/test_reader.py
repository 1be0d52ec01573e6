"""Which runs housekeeping may remove: old ones that have ended, together with the runs that they started."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from coordinator.engine.effects import Turn
from coordinator.engine.state import EnvironmentState, RunState
from coordinator.store.reader import Reader
from coordinator.store.store import Store
from protocol.statuses import EnvironmentStatus
from protocol.statuses import ExecutionStatus as S
from protocol.views import Deployment, ParentJob
from tests.coordinator.store.test_store import make_environment, make_run, whole


def ended(id: int, at: float, parent: int | None = None) -> RunState:
    """A run that has succeeded, started by a job of another one if given."""
    by = ParentJob(run=parent, job="build") if parent else None
    return make_run(id, first_job=10 * id, status=S.SUCCESS, finished_at=at, parent=by)


def removable(
    folder: Path, *runs: RunState, limit: int | None = None, environments: Sequence[EnvironmentState] = ()
) -> list[int]:
    """The runs that ended before 100 and may go; a newest one besides them stays anyway."""
    url = f"sqlite:///{folder}/database"
    store = Store(url)
    store.write_turn(whole(*runs, make_run(99, first_job=990)))
    store.write_turn(Turn(environments=list(environments)))
    store.close()
    with Reader(url) as reader:
        return reader.finished_runs(before=100.0, limit=limit)


def test_a_parent_stays_as_long_as_a_run_below_it(tmp_path: Path) -> None:
    unfinished = make_run(3, first_job=30, parent=ParentJob(run=2, job="build"), status=S.RUNNING)
    assert removable(tmp_path, ended(1, 50.0), ended(2, 51.0, 1), unfinished, ended(4, 52.0)) == [4]


def test_a_child_stays_as_long_as_its_parent(tmp_path: Path) -> None:
    assert removable(tmp_path, ended(1, 200.0), ended(2, 50.0, 1), ended(3, 50.0)) == [3]


def test_a_parent_and_all_below_it_go_at_once_whatever_the_limit(tmp_path: Path) -> None:
    family = ended(1, 50.0), ended(3, 50.0, 1), ended(4, 50.0, 3)
    assert removable(tmp_path, *family, ended(2, 50.0), ended(5, 50.0), limit=1) == [1, 3, 4]


def test_a_child_whose_parent_is_gone_goes_by_itself(tmp_path: Path) -> None:
    assert removable(tmp_path, ended(2, 50.0, 1), ended(3, 50.0)) == [2, 3]


def test_a_run_that_is_to_stop_an_environment_stays_until_it_has(tmp_path: Path) -> None:
    runs = [ended(number, 50.0) for number in (1, 2, 3)]
    stopped, by_itself, by_a_job = (
        make_environment(f"e{run}", deployment=Deployment(run=run, job="build"), **changes)
        for run, changes in (
            (1, {"stop_jobs": ["lint"], "status": EnvironmentStatus.STOPPED}),
            (2, {"stop_jobs": []}),
            (3, {"stop_jobs": ["lint"]}),
        )
    )
    assert removable(tmp_path, *runs, environments=[stopped, by_itself, by_a_job]) == [1, 2]
