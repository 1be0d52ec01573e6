"""dotenv and junit reports and coverage: what is read, and what untrusted files can not do."""

from __future__ import annotations

import contextlib
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.logs.coverage import TAIL_BYTES, LogTail, find_coverage
from daemon.reports.dotenv import MAX_BYTES, MAX_VARIABLES, BadDotenv, parse_dotenv
from daemon.reports.junit import MAX_FAILURES, MAX_MESSAGE, JUnitReport, parse_junit
from daemon.reports.xml_reader import PIECE
from protocol.reports import MOST_FAILED_TESTS
from protocol.test_results import MOST_RESULTS, SingleResult, Verdict, pack, unpack
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
        ("A-B=1", "line 1: 'A-B' is not a valid name"),
        ("export A=1", "line 1: 'export A' is not a valid name"),
        ("=1", "line 1: '' is not a valid name"),
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


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_dotenv_report_may_come_from_a_windows_shell(encoding: str) -> None:
    assert parse_dotenv([("f", "A=é 日\r\nB = x \r\n".encode(encoding))]) == {"A": "é 日", "B": "x"}


def junit_report(*files: str | bytes) -> JUnitReport:
    return parse_junit(
        (f"{number}.xml", io.BytesIO(file.encode() if isinstance(file, str) else file))
        for number, file in enumerate(files)
    )


def junit(*files: str | bytes) -> JUnitSummary:
    """What files come to of which none is odd."""
    report = junit_report(*files)
    assert not report.odd
    assert report.summary is not None
    return report.summary


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


def test_failed_tests_have_the_message_of_their_worst_failure() -> None:
    report = junit_report(
        """<testsuite>
          <testcase name="a"><failure message="expected 2,&#10;  got 3" type="E">trace</failure></testcase>
          <testcase name="b"><failure type="AssertionError">\n  first line\nsecond</failure></testcase>
          <testcase name="c"><failure message="mild"/><error message="worse"/><failure message="late"/></testcase>
          <testcase name="d"><error type="TypeError"/><system-out>noise</system-out></testcase>
          <testcase name="e"><skipped message="later"/><system-out>noise</system-out></testcase>
          <testcase name="f"><failure/></testcase>
        </testsuite>"""
    )
    assert [(test.name, test.message) for test in report.failures] == [
        ("a", "expected 2, got 3"),
        ("b", "first line"),
        ("c", "worse"),
        ("d", "TypeError"),
        ("f", ""),
    ]


def test_the_result_of_every_test_is_kept() -> None:
    report = junit_report(
        """<testsuite>
          <testcase classname="C" name="a" time="1.5"/>
          <testcase name="b"><failure/></testcase>
          <testcase name="c"><error/></testcase>
          <testcase name="d" time="2"><skipped/></testcase>
        </testsuite>"""
    )
    assert report.results == [
        SingleResult("C.a", Verdict.PASSED, 1.5),
        SingleResult("b", Verdict.FAILED),
        SingleResult("c", Verdict.FAILED),
        SingleResult("d", Verdict.SKIPPED, 2.0),
    ]


def test_of_very_many_results_those_of_failed_tests_stay() -> None:
    cases = ["<testcase name='x'/>"] * (MOST_RESULTS + 10) + ["<testcase name='bad'><failure/></testcase>"]
    report = junit_report(f"<testsuite>{''.join(cases)}</testsuite>", "<testsuite><testcase name='y'/></testsuite>")
    kept = unpack(pack(report.results))
    assert len(kept) == MOST_RESULTS
    assert kept[0] == SingleResult("bad", Verdict.FAILED)


def test_messages_of_failed_tests_are_masked_and_bounded() -> None:
    cases = "".join(
        f'<testcase name="t{n}"><failure message="the secret {"x" * 1000}"/></testcase>' for n in range(150)
    )
    file = io.BytesIO(f"<testsuite>{cases}</testsuite>".encode())
    report = parse_junit([("r.xml", file)], lambda text: text.replace("secret", "[MASKED]"))
    assert len(report.failures) == MOST_FAILED_TESTS
    assert report.failures[0].message.startswith("the [MASKED] xxx")
    assert len(report.failures[0].message) == MAX_MESSAGE


GOOD = '<testsuite><testcase name="good"/><testcase name="bad"><failure/></testcase></testsuite>'
BILLION_LAUGHS = """<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>
<testsuite><testcase name="&b;"/></testsuite>"""
QUADRATIC = f'<!DOCTYPE x [<!ENTITY a "{"a" * 5000}">]><testsuite>{"&a;" * 50000}</testsuite>'
EXTERNAL = """<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><testsuite>&a;</testsuite>"""
PARAMETER = """<!DOCTYPE x [<!ENTITY % a SYSTEM "file:///etc/passwd"> %a;]><testsuite/>"""


@pytest.mark.parametrize(
    ("file", "complaint"),
    [
        (BILLION_LAUGHS, "entities are not allowed"),
        (QUADRATIC, "entities are not allowed"),
        (EXTERNAL, "entities are not allowed"),
        (PARAMETER, "entities are not allowed"),
        ("<html/>", "not <html>"),
        ("<failsafe-summary/>", "not <failsafe-summary>"),
        ("<testcase name='t'/>", "not <testcase>"),
        ("<testsuite>", "line 1: "),
        ("<testsuite><testcase name='cut", "line 1: "),
        ("<testsuite/><testsuite/>", "line 1: junk"),
        ("", "it is empty"),
        (" \n\ufeff", "xml: "),
        ("no xml", "line 1: "),
        ('{"tests": 1}', "line 1: "),
        (b"\x1f\x8b\x08binary", "line 1: "),
        (bytes(1000), "line 1: "),
        ("<testsuite>" + "<a>" * 200, "nested deeper"),
        (b"\xff\xfe", "xml: "),
        (b"\xff\xfe<", "xml: "),
    ],
)
def test_an_odd_junit_file_is_passed_over_with_a_word_and_takes_nothing_from_the_others(
    file: str | bytes, complaint: str
) -> None:
    alone = junit_report(file)
    assert alone.summary is None
    for files in ((file, GOOD), (GOOD, file), (GOOD, file, "<html/>")):
        report = junit_report(*files)
        assert report.summary == JUnitSummary(total=2, failed=1, failures=["bad"])
        assert len(report.odd) == len(files) - 1
        assert complaint in report.odd[0]
        assert report.odd[0].startswith(f"{files.index(file)}.xml: ")


def test_a_document_type_without_entities_is_no_harm() -> None:
    assert junit(f'<!DOCTYPE testsuite SYSTEM "junit.dtd">{GOOD}', f"<!DOCTYPE testsuite>{GOOD}").total == 4
    assert junit('<!DOCTYPE x SYSTEM "x.dtd"><testsuite><testcase name="&nbsp;x"/></testsuite>').total == 1


NAMED = '<?xml version="1.0" encoding="{}"?><testsuite><testcase name="é日"><failure/></testcase></testsuite>'
LATIN = NAMED.replace("日", "")


@pytest.mark.parametrize(
    ("file", "name"),
    [
        (NAMED.format("UTF-8").encode(), "é日"),
        (NAMED.format("utf8").encode("utf-8-sig"), "é日"),
        (NAMED.format("utf-16").encode("utf-16"), "é日"),
        (NAMED.format("UTF-16").encode("utf-16-be"), "é日"),
        (NAMED.format("utf-8").encode("utf-16-le"), "é日"),
        (NAMED.format("utf-16").encode(), "é日"),
        (NAMED.format("Shift_JIS").replace("é", "e").encode("shift_jis"), "e日"),
        (NAMED.format("GB18030").encode("gb18030"), "é日"),
        (NAMED.format("klingon").encode(), "é日"),
        (NAMED.format("rot13").encode(), "é日"),
        (NAMED.format("cp037").encode(), "é日"),
        (LATIN.format("ISO-8859-1").encode("latin-1"), "é"),
        (LATIN.format("windows-1252").encode("cp1252"), "é"),
        (LATIN.format("UTF-8").encode("latin-1"), "\ufffd"),
        (LATIN.format("us-ascii").encode("latin-1"), "\ufffd"),
        (b"\n\n  " + LATIN.format("latin1").encode("latin-1"), "é"),
    ],
)
def test_a_file_is_read_in_whatever_encoding_it_is(file: bytes, name: str) -> None:
    assert junit(file) == JUnitSummary(total=1, failed=1, failures=[name])


def test_characters_that_xml_does_not_have_hide_nothing() -> None:
    output = "".join(map(chr, range(32))) + "&#27;[1m&#x1B;&#0;&#x0008;&#xB;\x7f\ufffe"
    for shift in range(16):
        text = f"<testsuite>{'x' * (PIECE - 30 + shift)}{output * 20}<testcase name='t&#x1;&#10;&#9;x\x00'><failure/>"
        summary = junit(f"{text}<system-out>{output}</system-out></testcase></testsuite>")
        assert summary == JUnitSummary(total=1, failed=1, failures=["t\ufffd x\ufffd"])


def test_names_may_be_missing_and_elements_have_a_prefix_or_stand_anywhere() -> None:
    summary = junit(
        """<j:testsuites xmlns:j="urn:j"><j:testsuite><j:testcase><j:failure/></j:testcase>
        <properties><property name="p"/></properties><testcase name=" "><error/><failure/></testcase>
        <testsuite><testsuite><testcase classname="deep"><skipped/>
        <system-out>[[ATTACHMENT|x.png]]</system-out></testcase>
        </testsuite></testsuite><testcase name="again"><rerunFailure/><flakyError/></testcase>
        </j:testsuite></j:testsuites>"""
    )
    assert summary == JUnitSummary(total=4, failed=1, errors=1, skipped=1, failures=["(no name)", "(no name)"])


@pytest.mark.parametrize(
    ("time", "seconds"),
    [
        ("1.5", 1.5), ("1,5", 1.5), ("0,123", 0.123), ("1,234", 1234.0), ("1,234,567.5", 1234567.5), ("12,34", 12.34),
        (" 2 ", 2.0), ("3s", 3.0), (".5", 0.5), ("1e-3", 0.001), ("1e999", 0.0), ("-1", 0.0), ("nan", 0.0), ("", 0.0),
        ("inf", 0.0), ("abc", 0.0), ("00:00:05", 0.0), ("9" * 400, 0.0), ("\N{DEVANAGARI DIGIT ONE}", 0.0),
    ],
)  # fmt: skip
def test_a_time_may_have_a_comma_and_garbage_is_none(time: str, seconds: float) -> None:
    assert junit(f'<testsuite><testcase name="t" time="{time}"/></testsuite>').seconds == seconds


@given(st.binary(max_size=300))
def test_no_junit_bytes_raise(content: bytes) -> None:
    parse_junit([("f", io.BytesIO(content)), ("g", io.BytesIO(b"<?xml encoding='" + content))])


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
