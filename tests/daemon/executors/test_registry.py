"""Executors by name, and the one that docs/executors.md shows."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from daemon.executors.dummy.executor import DummyExecutor
from daemon.executors.policy import Policy
from daemon.executors.registry import ExecutorOptions, open_executor
from protocol.errors import UsageError
from protocol.statuses import ExecutionStatus as S
from protocol.statuses import FailureReason
from tests.conftest import ROOT
from tests.daemon.executors.contract import ExecutorContract, Open
from tests.support.fake_coordinator import FakeCoordinator, RunningWorker
from tests.support.plans import assignment


def options(directory: Path) -> ExecutorOptions:
    return ExecutorOptions(
        worker="w1",
        coordinator="c1",
        directory=directory,
        cache_limit=1 << 30,
        keep_caches=None,
        after_script_timeout=300.0,
        networks=0,
        policy=Policy(),
    )


@pytest.fixture
def documented(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The example of docs/executors.md as a module that can be imported."""
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "executors.md").read_text(), re.DOTALL)
    (tmp_path / "documented_executor.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("documented_executor", None)
    return "documented_executor:PrintExecutor"


def test_an_executor_has_a_name_or_is_a_class_of_a_module(tmp_path: Path, documented: str) -> None:
    assert isinstance(open_executor("dummy", options(tmp_path)), DummyExecutor)
    assert open_executor(documented, options(tmp_path)).kind == "print"


@pytest.mark.parametrize("name", ["dokcer", "no_such_module:Executor", "daemon.worker:Nothing"])
def test_an_executor_that_is_not_there_is_one_clear_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=re.escape(name)):
        open_executor(name, options(tmp_path))


class TestTheDocumentedExecutor(ExecutorContract):
    """The example keeps the contract of an executor that claims nothing."""

    @pytest.fixture
    def executors(self, tmp_path: Path, documented: str) -> Open:
        return lambda: open_executor(documented, options(tmp_path))


def test_a_worker_runs_jobs_on_it_and_tells_what_it_is(
    coordinator: FakeCoordinator, run_worker: Callable[..., RunningWorker], tmp_path: Path, documented: str
) -> None:
    run_worker(executor=open_executor(documented, options(tmp_path)))
    coordinator.assign(assignment("make all", attempt="1.1"))
    assert coordinator.final("1.1").status is S.SUCCESS
    assert coordinator.log("1.1") == b"make all\n"


def test_a_job_that_asks_for_what_an_executor_can_t_do_fails_and_says_so(
    coordinator: FakeCoordinator, run_worker: Callable[..., RunningWorker], tmp_path: Path, documented: str
) -> None:
    from protocol.plan import ServiceSpec

    run_worker(executor=open_executor(documented, options(tmp_path)))
    coordinator.assign(assignment("true", attempt="1.1", services=[ServiceSpec(name="db")]))
    final = coordinator.final("1.1")
    assert final.failure_reason is FailureReason.RUNNER_SYSTEM_FAILURE
    assert "services" in (final.message or "")
    assert "'print'" in (final.message or "")
