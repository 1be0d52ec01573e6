"""Every comparison can be made, at a size at which its times mean nothing, and says which peer it went without."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from benchmarks.rows import COMPARISONS
from tests.conftest import ROOT, Images

NEED_A_PEER = {"independent-peer", "throughput", "latency"}


@pytest.mark.parametrize("comparison", COMPARISONS, ids=lambda module: module.__name__.rpartition(".")[2])
def test_a_comparison_runs_and_prints_its_rows(comparison: ModuleType, images: Images, tmp_path: Path) -> None:
    names = [row.name for row in comparison.ROWS]
    command = [sys.executable, "-m", "benchmarks", "--scale", "tiny", "--no-peers", "--out", str(tmp_path), names[0]]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stderr
    rows = {row["name"]: row for row in json.loads((tmp_path / "bench.json").read_text())["rows"]}
    assert sorted(rows) == sorted(names)
    for name, row in rows.items():
        if "Docker's data is not on a disk" in row["missing"]:  # as with an engine of another machine
            assert (row["verdict"], row["sides"]) == ("missing", {})
            continue
        assert row["sides"], "every row has what was measured of Longshore, with a peer or without"
        assert all(values and min(values) > 0 for values in row["sides"].values())
        if name in NEED_A_PEER:
            assert row["verdict"] == "missing"
            assert "peers are disabled" in row["missing"]
        else:
            assert row["values"]
        assert row["title"].split()[0] in done.stdout
    assert (tmp_path / "bench.svg").read_text().startswith("<svg")


def test_rows_have_names_of_their_own() -> None:
    names = [row.name for comparison in COMPARISONS for row in comparison.ROWS]
    assert len(set(names)) == len(names) == 25


def test_an_unknown_row_is_refused_with_the_names_of_those_that_there_are() -> None:
    command = [sys.executable, "-m", "benchmarks", "throughputt"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "unknown row throughputt" in done.stderr
    assert "throughput" in done.stderr
