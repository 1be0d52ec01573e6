"""dotenv and junit reports and coverage: what is read, and what untrusted files can not do."""

from __future__ import annotations

import contextlib
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.coverage import TAIL_BYTES, LogTail, find_coverage
from daemon.dotenv import MAX_BYTES, MAX_VARIABLES, BadDotenv, parse_dotenv
from daemon.junit import MAX_FAILURES, BadJUnit, parse_junit
from protocol.views import JUnitSummary


def dotenv(text: str) -> dict[str, str]:
    return parse_dotenv([("build.env", text.encode())])


@pytest.mark.parametrize(
    ("text", "variables"),
    [
        ("A=1\nB=2\n", {"A": "1", "B": "2"}),
        ("A=1", {"A": "1"}),
        ("A = 1 \r\n", {"A": "1"}),
        ("URL=http://x/?a=b", {"URL": "http://x/?a=b"}),
        ('A="quoted"', {"A": '"quoted"'}),
        ("A=1\nA=2", {"A": "2"}),
        ("A=", {"A": ""}),
        ("\ufeffA=é", {"A": "é"}),
        ("1A=x", {"1A": "x"}),
        ("", {}),
    ],
)
def test_dotenv_files_are_read_by_gitlabs_rules(text: str, variables: dict[str, str]) -> None:
    assert dotenv(text) == variables


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("A=1\n\nB=2", "build.env, line 2: '' is not KEY=VALUE"),
        ("# comment", "line 1: '# comment' is not KEY=VALUE"),
        ("A-B=1", "line 1: 'A-B' is no name"),
        ("export A=1", "line 1: 'export A' is no name"),
        ("=1", "line 1: '' is no name"),
        ("A=" + "x" * MAX_BYTES, "at most"),
        ("\n".join(f"A{n}=1" for n in range(MAX_VARIABLES + 1)), "at most"),
    ],
)
def test_dotenv_files_that_break_a_rule_are_refused_with_the_line(text: str, complaint: str) -> None:
    with pytest.raises(BadDotenv) as refused:
        dotenv(text)
    assert complaint in str(refused.value)


@given(st.binary(max_size=300))
def test_no_dotenv_bytes_raise_anything_else(content: bytes) -> None:
    with contextlib.suppress(BadDotenv):
        parse_dotenv([("f", content)])


def junit(*files: str | bytes) -> JUnitSummary:
    return parse_junit(
        (f"{number}.xml", io.BytesIO(file.encode() if isinstance(file, str) else file))
        for number, file in enumerate(files)
    )


def test_test_cases_are_counted_by_the_worst_that_they_have() -> None:
    summary = junit(
        """<?xml version="1.0"?>
        <testsuites><testsuite name="s" tests="99" failures="99">
          <testcase classname="pkg.C" name="good" time="0.5"/>
          <testcase classname="pkg.C" name="bad" time="1.25"><failure message="m">trace</failure></testcase>
          <testcase name="worse" time="1,000"><failure/><error/></testcase>
          <testcase name="later" time="nan"><skipped/></testcase>
          <testsuite><testcase name="nested"/></testsuite>
        </testsuite></testsuites>""",
        '<testsuite><testcase name="other"/></testsuite>',
    )
    assert summary == JUnitSummary(
        total=6, failed=1, errors=1, skipped=1, seconds=1001.75, failures=["pkg.C.bad", "worse"]
    )


def test_only_the_first_failures_are_named() -> None:
    cases = "".join(f'<testcase name="t{n}"><failure/></testcase>' for n in range(100))
    summary = junit(f"<testsuite>{cases}</testsuite>")
    assert (summary.failed, len(summary.failures)) == (100, MAX_FAILURES)


BILLION_LAUGHS = """<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>
<testsuite><testcase name="&b;"/></testsuite>"""
EXTERNAL = """<!DOCTYPE x SYSTEM "file:///etc/passwd"><testsuite/>"""


@pytest.mark.parametrize(
    ("file", "complaint"),
    [
        (BILLION_LAUGHS, "document type declaration"),
        (EXTERNAL, "document type declaration"),
        ("<html/>", "not <html>"),
        ("<testsuite>", "0.xml: line 1: "),
        ("", "no element found"),
        (b"\x1f\x8b\x08binary", "0.xml: line 1"),
        ("<testsuite>" + "<a>" * 200, "nested deeper"),
    ],
)
def test_junit_files_that_are_none_are_refused(file: str | bytes, complaint: str) -> None:
    with pytest.raises(BadJUnit) as refused:
        junit(file)
    assert complaint in str(refused.value)


@given(st.binary(max_size=300))
def test_no_junit_bytes_raise_anything_else(content: bytes) -> None:
    with contextlib.suppress(BadJUnit):
        junit(content)


@pytest.mark.parametrize(
    ("expression", "log", "found"),
    [
        (r"/Code coverage: \d+\.\d+/", "Code coverage: 80.55%\n", 80.55),
        (r"Code coverage: \d+\.\d+", "Code coverage: 80.55%\n", 80.55),
        (r"/TOTAL.*? (\d+)%/", "TOTAL 10 3 70%\n", 70.0),
        (r"/cov: \d+/", "cov: 1\ncov: 2\nbye\n", 2.0),
        (r"/cov: (\d+)/", "cov: 1 cov: 2\r\n", 2.0),
        (r"/COV: (\d+)/i", "cov: 5\n", 5.0),
        (r"/all|(\d+)%/", "12%\nall\n", 12.0),
        (r"/nothing/", "cov: 1\n", None),
        (r"/(?<=x)\d+/", "x1\n", None),  # no RE2
        (r"/(/", "(\n", None),
        (r"/(a*)*b (\d+)/", "a" * 5000 + "\n", None),
    ],
)
def test_coverage_is_the_last_number_that_the_expression_finds(expression: str, log: str, found: float | None) -> None:
    tail = LogTail()
    tail.add(log.encode())
    assert find_coverage(expression, tail) == found


def test_coverage_looks_at_the_end_of_a_long_log_and_keeps_no_more_of_it() -> None:
    tail = LogTail()
    tail.add(b"cov: 1\n")
    for _ in range(100):
        tail.add(b"x" * 100_000 + b"\n")
    tail.add(b"cov: 2\nend\n")
    assert find_coverage(r"/cov: \d+/", tail) == 2.0
    assert len(tail._bytes) <= 2 * TAIL_BYTES
