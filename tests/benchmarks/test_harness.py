"""What is made of measurements: turns, ratios, verdicts, the table, the picture."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks.harness import Finding, Missing, Row, Scale, Series, Target, compare, interleave, ratios
from benchmarks.peers import Peers
from benchmarks.plot import position, svg
from benchmarks.report import number, spread, table, write_json

SMALLER = Row("smaller", "less is better & <good>", Target(0.8, 0.3))
LARGER = Row("larger", "more is better", Target(3, 10, at_least=True))


def test_contenders_take_turns_and_each_begins_once() -> None:
    order: list[str] = []

    def contender(name: str) -> float:
        order.append(name)
        return float(len(order))

    found = interleave({name: partial(contender, name) for name in "abc"}, 3)
    assert "".join(order) == "abcbcacab"
    assert found["a"].values == (1.0, 6.0, 8.0)


def test_a_ratio_is_of_what_was_measured_in_the_same_round() -> None:
    ours, theirs = Series((1.0, 4.0, 9.0)), Series((2.0, 4.0, 3.0))
    assert ratios(ours, theirs).values == (0.5, 1.0, 3.0)
    assert compare(SMALLER, ours, theirs, other="peer").value == Series((0.5, 1.0, 3.0))
    alone = compare(SMALLER, ours, None, other="peer")
    assert (alone.value, alone.verdict, alone.missing) == (None, "missing", "peer is not available")


def test_a_series_has_a_median_a_range_and_quantiles() -> None:
    found = Series((5.0, 1.0, 3.0, 2.0, 100.0))
    assert (found.median, found.low, found.high) == (3.0, 1.0, 100.0)
    assert (found.quantile(0.5), found.quantile(0.99), found.quantile(1.0)) == (3.0, 100.0, 100.0)


@pytest.mark.parametrize(
    ("row", "value", "verdict"),
    [
        (SMALLER, 0.3, "goal"),
        (SMALLER, 0.31, "must"),
        (SMALLER, 0.81, "missed"),
        (LARGER, 10.0, "goal"),
        (LARGER, 3.0, "must"),
        (LARGER, 2.9, "missed"),
    ],
)
def test_the_verdict_looks_the_way_in_which_better_is(row: Row, value: float, verdict: str) -> None:
    assert Finding(row, Series((value,))).verdict == verdict


def test_better_is_to_the_left_of_the_must_in_the_picture() -> None:
    for row, better, worse in ((SMALLER, 0.1, 2.0), (LARGER, 20.0, 1.0)):
        finding = Finding(row, Series((better,)))
        must = position(finding, row.target.must)
        assert position(finding, better) < must < position(finding, worse)


def test_the_picture_is_xml_with_every_row() -> None:
    findings = [Finding(SMALLER, Series((0.1, 0.2))), Finding(LARGER, missing="no peer")]
    texts = [element.text for element in ElementTree.fromstring(svg(findings)).iter() if element.text]
    assert {SMALLER.title, LARGER.title, "missing"} <= set(texts)


def test_table_and_json_give_what_was_measured(tmp_path: Path) -> None:
    findings = [
        Finding(SMALLER, Series((0.1, 0.5, 0.2)), {"Longshore": Series((1.0,))}, "s", "3 jobs"),
        Finding(LARGER, missing="the peer is not there"),
    ]
    assert table(findings).row_count == 2
    write_json(findings, Scale.TINY, tmp_path / "bench.json")
    first, second = json.loads((tmp_path / "bench.json").read_text())["rows"]
    assert (first["median"], first["verdict"], first["values"]) == (0.2, "goal", [0.1, 0.5, 0.2])
    assert (second["median"], second["verdict"], second["missing"]) == (None, "missing", "the peer is not there")


@pytest.mark.parametrize(("value", "text"), [(0.123, "0.12"), (12.34, "12.3"), (123.4, "123"), (12345.6, "12,346")])
def test_numbers_have_three_digits_or_those_before_the_point(value: float, text: str) -> None:
    assert number(value) == text


def test_a_median_comes_with_its_range_and_unit() -> None:
    assert spread(Series((1.0, 2.0, 4.0)), "ms") == "2.00 ms (1.00..4.00)"
    assert spread(Series((1.0,)), "x") == "1.00"


def test_a_peer_that_cannot_be_installed_is_missing_with_the_reason_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "rsync").write_text("#!/bin/sh\n")
    (tmp_path / "rsync").chmod(0o755)
    with pytest.raises(Missing, match="npm"):
        Peers().gitlab_ci_local()
    assert list((tmp_path / "longshore-bench").iterdir()) == []


def test_peers_that_were_not_asked_for_are_missing_for_that_and_not_for_what_they_need(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    for peer in (Peers(none=True).gitlab_ci_local, Peers(none=True).dask):
        with pytest.raises(Missing, match="peers are disabled"):
            peer()
    with pytest.raises(Missing, match="rsync"):
        Peers().gitlab_ci_local()
    assert not any(tmp_path.iterdir())
