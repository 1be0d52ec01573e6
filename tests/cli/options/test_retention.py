"""What an operator says about retention is what the coordinator does, and nonsense is refused with the mend."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from cli.commands.worker import worker_command
from cli.options.serving import CoordinatorOptions, coordinator_options
from coordinator.maintenance.retention import Retention
from daemon.settings import WorkerSettings

GIVEN: list[Retention] = []


@click.command()
@coordinator_options
def verb(options: CoordinatorOptions) -> None:
    """Stands for the coordinator."""
    GIVEN.append(options.retention)


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ([], Retention(runs_for=None, artifacts_for=None, size=None)),
        (["--keep-runs", "never"], Retention(runs_for=None)),
        (["--keep-runs", "12h", "--keep-artifacts", "30 min"], Retention(runs_for=43_200.0, artifacts_for=1800.0)),
        (["--keep-size", "20g"], Retention(size=20 << 30)),
    ],
)
def test_retention_is_what_the_options_say(arguments: list[str], wanted: Retention) -> None:
    GIVEN.clear()
    result = CliRunner().invoke(verb, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert [wanted] == GIVEN


@pytest.mark.parametrize("arguments", [["--keep-runs", "soon"], ["--keep-size", "much"]])
def test_what_is_no_duration_or_size_is_refused(arguments: list[str]) -> None:
    result = CliRunner().invoke(verb, arguments)
    assert result.exit_code == 2
    assert "; use '" in result.output


def test_a_worker_s_caches_are_bounded_as_its_options_say(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given: list[WorkerSettings] = []

    class Nothing:
        def stop(self) -> None: ...
        def run(self) -> None: ...
        def tell(self) -> None: ...

    def make_worker(settings: WorkerSettings, coordinator: str) -> Nothing:
        given.append(settings)
        return Nothing()

    monkeypatch.setenv("LONGSHORE_STATE", str(tmp_path))
    monkeypatch.setattr("cli.session.worker_factory.make_worker", make_worker)
    monkeypatch.setattr("cli.session.worker_factory.ask_coordinator_id", lambda *_: "an id")
    for left_alone in (
        "commands.worker.on_signals",
        "commands.worker.tell_on_signal",
        "process.log_setup.log_to_stderr",
    ):
        monkeypatch.setattr(f"cli.{left_alone}", lambda *_, **__: None)
    for arguments in ([], ["--cache-size", "2g", "--keep-caches", "30 days"]):
        result = CliRunner().invoke(worker_command, arguments, catch_exceptions=False)
        assert result.exit_code == 0, result.output
    assert [(one.cache_limit, one.keep_caches) for one in given] == [(10 << 30, None), (2 << 30, 30 * 86_400.0)]
