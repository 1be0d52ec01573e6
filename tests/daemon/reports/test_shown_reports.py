"""Annotations and code quality: what is shown of them, and what untrusted files can not do."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.reports import code_quality
from daemon.reports.annotations import LONGEST_URL, MAX_BYTES, MOST_ITEMS, AnnotationsReport, parse_annotations
from daemon.reports.code_quality import LONGEST_TEXT, CodeQualityReport, parse_code_quality
from daemon.reports.files import ReportFiles
from protocol.reports import MOST_ISSUES, MOST_LINKS, CodeQuality, Link, QualityIssue


def files(*contents: Any) -> ReportFiles:
    for number, content in enumerate(contents):
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        yield f"{number}.json", io.BytesIO(raw)


def link(label: str = "API", url: str = "https://docs.example/api", **more: Any) -> dict[str, Any]:
    return {"external_link": {"label": label, "url": url, **more}}


def test_links_are_listed_in_order_with_the_name_of_their_list() -> None:
    report = parse_annotations(
        files({"docs": [link(), link(" a\nb ", "ftp://x")], "more": [link(label="")]}, {"docs": [link("late")]})
    )
    assert report == AnnotationsReport(
        [
            Link(title="API", url="https://docs.example/api", group="docs"),
            Link(title="a b", url="ftp://x", group="docs"),
            Link(title="https://docs.example/api", url="https://docs.example/api", group="more"),
            Link(title="late", url="https://docs.example/api", group="docs"),
        ]
    )


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_annotations_may_come_from_a_windows_shell(encoding: str) -> None:
    content = json.dumps({"docs": [link("größe")]}, ensure_ascii=False).encode(encoding)
    assert [found.title for found in parse_annotations(files(content)).links] == ["größe"]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ([], "Expected `object`, got `array`"),
        ({"docs": {}}, "Expected `array`, got `object`"),
        ({"docs": [{"internal_link": {}}]}, "unknown field `internal_link`"),
        ({"docs": [link(icon="x")]}, "unknown field `icon`"),
        ({"docs": [{"external_link": {"url": 3}}]}, "Expected `str`, got `int`"),
        ({"docs": [link()] * (MOST_ITEMS + 1)}, f"the list 'docs' has {MOST_ITEMS + 1} items, at most {MOST_ITEMS}"),
        ({str(number): [] for number in range(101)}, "101 lists, at most 100"),
        (b"{", "not GitLab's format of annotations"),
        (b"", "it is empty"),
        (b"[" * 100_000, "not GitLab's format of annotations"),
        (b" " * (MAX_BYTES + 1), f"larger than {MAX_BYTES} bytes"),
    ],
)
def test_annotations_of_another_format_are_told_and_the_others_shown(content: Any, complaint: str) -> None:
    report = parse_annotations(files({"docs": [link()]}, content))
    assert len(report.links) == 1
    (odd,) = report.odd
    assert odd.startswith("1.json: ")
    assert complaint in odd


def test_links_that_lead_nowhere_and_too_many_ones_are_left_out() -> None:
    bad = [{}, link(url=""), link(url="https://x/" + "é" * (LONGEST_URL // 2))]
    report = parse_annotations(files({"docs": bad}, {"docs": [link()] * (MOST_LINKS + 1)}))
    assert len(report.links) == MOST_LINKS
    assert report.odd == []
    assert report.notes == [
        f"3 annotations left out: without a URL, or with one of over {LONGEST_URL} bytes",
        f"the first {MOST_LINKS} of {MOST_LINKS + 1} annotations are shown",
    ]


@given(st.binary(max_size=300))
def test_no_annotations_raise_anything_else(content: bytes) -> None:
    assert parse_annotations(files(content)).links == []


def issue(number: int = 1, severity: str = "major", **more: Any) -> dict[str, Any]:
    place = {"path": "src/app.py", "lines": {"begin": number, "end": 99}}
    return {
        "description": f"issue {number}",
        "fingerprint": f"{severity} {number}",
        "severity": severity,
        "location": place,
        "categories": ["Style"],
        **more,
    }


def quality(*contents: Any) -> CodeQualityReport:
    return parse_code_quality(files(*contents))


def test_issues_are_listed_by_severity_and_counted_once() -> None:
    report = quality(
        [issue(1, "minor", check_name="E501"), issue(2, "Blocker"), issue(3, "dreadful", check_name=["not", "text"])],
        [issue(1, "minor"), issue(4, "minor", location={"path": "a.c", "positions": {"begin": {"line": 7}}})],
    )
    assert report == CodeQualityReport(
        CodeQuality(
            counts={"blocker": 1, "minor": 2, "unknown": 1},
            issues=[
                QualityIssue(severity="blocker", description="issue 2", path="src/app.py", line=2),
                QualityIssue(severity="minor", description="issue 1", path="src/app.py", line=1, check="E501"),
                QualityIssue(severity="minor", description="issue 4", path="a.c", line=7),
                QualityIssue(severity="unknown", description="issue 3", path="src/app.py", line=3),
            ],
        )
    )


def test_a_report_without_issues_is_one_too() -> None:
    assert quality([]) == CodeQualityReport(CodeQuality())


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        ({"description": "d"}, "missing required field `fingerprint`"),
        (issue(severity=3), "Expected `str`, got `int`"),  # type: ignore[arg-type]
        (issue(location={"path": "a"}), "its location names no line"),
        (issue(location={"lines": {"begin": 1}}), "missing required field `path`"),
        (issue(location={"path": "a", "lines": {"begin": "1"}}), "Expected `int`, got `str`"),
        ([], "Expected `object`, got `array`"),
    ],
)
def test_a_file_is_read_up_to_its_first_invalid_entry(entry: Any, complaint: str) -> None:
    report = quality([issue(1), entry, issue(2)], [issue(3)])
    assert report.quality
    assert report.quality.counts == {"major": 2}
    (odd,) = report.odd
    assert odd.startswith("0.json: entry 2, from which on it is not read: ")
    assert complaint in odd


@pytest.mark.parametrize("content", [b"", b"{}", b"[", b"nonsense", b"[" * 100_000])
def test_what_is_no_list_of_issues_is_told(content: bytes) -> None:
    report = quality(content)
    assert report.quality is None
    assert len(report.odd) == 1


def test_issues_are_bounded_in_number_and_length(monkeypatch: pytest.MonkeyPatch) -> None:
    report = quality([issue(number, "info") for number in range(MOST_ISSUES + 5)] + [issue(1, description="d" * 9999)])
    assert report.quality
    assert report.quality.counts == {"major": 1, "info": MOST_ISSUES + 5}
    assert len(report.quality.issues) == MOST_ISSUES
    assert report.quality.issues[0].description == "d" * LONGEST_TEXT
    monkeypatch.setattr(code_quality, "MAX_BYTES", 100)
    assert quality([issue()]).odd == ["0.json: larger than 100 bytes"]


@given(st.binary(max_size=300))
def test_no_code_quality_raises_anything_else(content: bytes) -> None:
    report = quality(content)
    assert report.quality is None or report.quality.counts == {}


def test_secrets_are_masked_before_a_text_is_cut() -> None:
    def mask(text: str) -> str:
        return text.replace("secret", "[MASKED]")

    cut = "x" * (LONGEST_TEXT - 3) + "secret"
    found = parse_code_quality(files([issue(description=cut)]), mask).quality
    assert found
    assert found.issues[0].description.endswith("x[MA")
    (shown,) = parse_annotations(files({cut: [link(cut, "https://secret")]}), mask).links
    assert (shown.title[-4:], shown.group[-4:], shown.url) == ("x[MA", "x[MA", "https://[MASKED]")
