"""The dummy keeps what it claims, which is little."""

from __future__ import annotations

import pytest

from daemon.executors.dummy.executor import DummyExecutor
from tests.daemon.executors.contract import ExecutorContract, Open


class TestDummyExecutor(ExecutorContract):
    """What every executor does."""

    @pytest.fixture
    def executors(self) -> Open:
        return DummyExecutor
