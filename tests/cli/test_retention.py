"""What an operator says about retention is what the coordinator does, and nonsense is refused with the mend."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from coordinator.cli.retention import retention_options
from coordinator.retention import Retention

GIVEN: list[Retention] = []


@click.command()
@retention_options
def verb(retention: Retention) -> None:
    """Stands for the coordinator."""
    GIVEN.append(retention)


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
    assert "give one as" in result.output
