"""Cobertura and JaCoCo files: whose lines they are, how files add up, and what untrusted files can not do."""

from __future__ import annotations

import contextlib
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.reports import coverage
from daemon.reports.coverage import CoverageReport, Workspace, parse_cobertura, parse_jacoco
from daemon.reports.files import BadReport
from protocol.reports import MOST_FILES, FileCoverage, LineCoverage

NAMES = frozenset(
    {
        "app.py",
        "src/shop/basket.py",
        "src/shop/hats.py",
        "lib/shop/hats.py",
        "core/src/main/java/com/example/Basket.java",
        "web/src/main/java/com/example/Basket.java",
        "web/src/main/java/com/example/Page.java",
        "web/src/main/java/com/example/MyPage.java",
    }
)
SHOP = Workspace("web/shop", "/builds/web/shop", NAMES)
NOWHERE = Workspace("web/shop", "/builds/web/shop")


def cobertura_xml(*packages: str, sources: tuple[str, ...] = ()) -> str:
    found = "".join(f"<source>{source}</source>" for source in sources)
    return (
        '<?xml version="1.0" ?><!DOCTYPE coverage SYSTEM "http://cobertura.sourceforge.net/xml/coverage-04.dtd">'
        f"<coverage><sources>{found}</sources><packages>"
        + "".join(f"<package>{package}</package>" for package in packages)
        + "</packages></coverage>"
    )


def class_xml(filename: str, *lines: tuple[int, int], method: str = "") -> str:
    found = "".join(f'<line number="{number}" hits="{hits}" branch="false"/>' for number, hits in lines)
    return f'<class filename="{filename}"><methods>{method}</methods><lines>{found}</lines></class>'


def cobertura(*files: str | bytes, workspace: Workspace = SHOP) -> CoverageReport:
    return parse_cobertura(
        (
            (f"{number}.xml", io.BytesIO(file.encode() if isinstance(file, str) else file))
            for number, file in enumerate(files)
        ),
        workspace,
    )


def jacoco(*files: str, workspace: Workspace = SHOP) -> CoverageReport:
    return parse_jacoco(((f"{number}.xml", io.BytesIO(file.encode())) for number, file in enumerate(files)), workspace)


def by_file(report: CoverageReport) -> dict[str, tuple[int, int]]:
    """Covered and all lines, of files of which none is odd."""
    assert not report.odd
    assert report.lines
    return {file.path: (file.covered, file.total) for file in report.lines.worst}


def test_a_file_s_lines_are_counted_once_and_the_worst_file_comes_first() -> None:
    method = '<method><lines><line number="2" hits="0"/></lines></method>'
    report = cobertura(
        cobertura_xml(
            class_xml("app.py", (1, 1), (2, 7), (3, 0), method=method)
            + class_xml("src/shop/basket.py", (1, 0), (2, 0))
            + class_xml("src/shop/hats.py", (1, 0)),
        )
    )
    assert report == CoverageReport(
        LineCoverage(
            covered=2,
            total=6,
            files=3,
            worst=[
                FileCoverage(path="src/shop/basket.py", covered=0, total=2),
                FileCoverage(path="src/shop/hats.py", covered=0, total=1),
                FileCoverage(path="app.py", covered=2, total=3),
            ],
        )
    )


def test_classes_and_reports_of_the_same_file_add_up() -> None:
    first = cobertura_xml(class_xml("app.py", (1, 1), (2, 0)) + class_xml("app.py", (2, 0), (3, 1)))
    second = cobertura_xml(class_xml("app.py", (2, 1), (4, 0)))
    assert by_file(cobertura(first, second)) == {"app.py": (3, 4)}


@pytest.mark.parametrize(
    ("source", "filename", "path"),
    [
        ("/builds/web/shop/src", "shop/basket.py", "src/shop/basket.py"),
        ("/builds/web/shop/src/", "shop/basket.py", "src/shop/basket.py"),
        ("\n  /home/me/web/shop/src\n", "shop/basket.py", "src/shop/basket.py"),
        ("D:\\work\\web\\shop\\src", "shop/basket.py", "src/shop/basket.py"),
        ("/builds/web/shop", "app.py", "app.py"),
        ("/builds/web/shop/", "app.py", "app.py"),
        ("/usr/local/go/src", "anything.go", "anything.go"),
        ("/elsewhere/src", "shop/basket.py", "shop/basket.py"),
        ("/builds/web/shop/src", "/builds/web/shop/app.py", "app.py"),
        ("/builds/web/shop", "/builds/web/shop/app.py", "app.py"),
    ],
)
def test_a_file_is_found_by_the_source_directories(source: str, filename: str, path: str) -> None:
    report = cobertura(cobertura_xml(class_xml(filename, (1, 1)), sources=(source,)))
    assert by_file(report) == {path: (1, 1)}


def test_packages_with_a_file_of_the_same_name_have_it_in_different_directories() -> None:
    report = cobertura(
        cobertura_xml(
            class_xml("shop/hats.py", (1, 1)) + class_xml("shop/hats.py", (2, 1)),
            class_xml("shop/hats.py", (1, 0)),
            sources=("/builds/web/shop/src", "/builds/web/shop/lib"),
        )
    )
    assert by_file(report) == {"lib/shop/hats.py": (0, 1), "src/shop/hats.py": (2, 2)}


def test_files_outside_the_project_are_counted_and_left_out() -> None:
    text = cobertura_xml(
        class_xml("site.py", (1, 0)) + class_xml("site.py", (2, 0)) + class_xml("shop/hats.py", (1, 1)),
        sources=("/builds/web/shop/src",),
    )
    report = cobertura(text)
    assert report.lines
    assert (report.lines.files, report.lines.outside, report.lines.total) == (1, 1, 1)
    assert by_file(cobertura(text, workspace=NOWHERE)) == {"site.py": (0, 2), "shop/hats.py": (1, 1)}


def jacoco_xml(content: str) -> str:
    return (
        '<?xml version="1.0"?><!DOCTYPE report PUBLIC "-//JACOCO//DTD Report 1.1//EN" "report.dtd">'
        f'<report name="shop"><sessioninfo id="x" start="1" dump="2"/>{content}</report>'
    )


def java_xml(name: str, package: str = "com/example") -> str:
    return (
        f'<package name="{package}"><class name="{package}/X" sourcefilename="{name}"/><sourcefile name="{name}">'
        '<line nr="3" mi="0" ci="2" mb="0" cb="0"/><line nr="4" mi="3" ci="0" mb="0" cb="0"/>'
        '<counter type="LINE" missed="1" covered="1"/></sourcefile></package>'
    )


def test_jacoco_s_files_are_found_by_the_end_of_their_path() -> None:
    assert by_file(jacoco(jacoco_xml(java_xml("Page.java")))) == {"web/src/main/java/com/example/Page.java": (1, 2)}


def test_jacoco_s_groups_tell_modules_apart() -> None:
    text = jacoco_xml(
        f'<group name="web">{java_xml("Basket.java")}</group><group name="core">{java_xml("Basket.java")}</group>'
    )
    assert by_file(jacoco(text)) == {
        "core/src/main/java/com/example/Basket.java": (1, 2),
        "web/src/main/java/com/example/Basket.java": (1, 2),
    }
    assert by_file(jacoco(text, workspace=NOWHERE)) == {
        "core/com/example/Basket.java": (1, 2),
        "web/com/example/Basket.java": (1, 2),
    }


def test_jacoco_s_generated_files_are_outside() -> None:
    report = jacoco(jacoco_xml(java_xml("Generated.java") + java_xml("Page.java", package="org")))
    assert report.lines == LineCoverage(covered=0, total=0, files=0, outside=2)


BILLION_LAUGHS = """<!DOCTYPE coverage [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]><coverage>&b;</coverage>"""


@pytest.mark.parametrize(
    ("file", "complaint"),
    [
        (BILLION_LAUGHS, "entities are not allowed"),
        ("<report/>", "the outermost element must be <coverage>, not <report>"),
        ("", "it is empty"),
        ("<coverage>", "line 1: "),
        ("<a>" * 200, "must be <coverage>"),
        ("<coverage>" + "<a>" * 200, "nested deeper than"),
        (cobertura_xml('<class filename="app.py"><line number="x" hits="1"/></class>'), "app.py has no valid number"),
        (cobertura_xml('<class filename="app.py"><line hits="1"/></class>'), "app.py has no valid number"),
        (cobertura_xml('<class filename="app.py"><line number="1" hits="1.5"/></class>'), "app.py has no valid number"),
        (cobertura_xml(class_xml("app.py", (-1, 1))), "app.py has the number -1"),
        (cobertura_xml(class_xml("app.py", (1 << 31, 1))), f"app.py has the number {1 << 31}"),
    ],
)
def test_an_odd_file_is_told_and_the_others_count(file: str, complaint: str) -> None:
    report = cobertura(cobertura_xml(class_xml("app.py", (9, 1))), file)
    assert report.lines
    assert report.lines.total == 1
    (odd,) = report.odd
    assert odd.startswith("1.xml: ")
    assert complaint in odd
    assert cobertura(file).lines is None


def test_an_odd_jacoco_file_is_told() -> None:
    text = jacoco_xml('<package name="p"><sourcefile name="A.java"><line nr="1"/></sourcefile></package>')
    assert jacoco(text, workspace=NOWHERE).odd == [
        "0.xml: a line of p/A.java has no valid number of itself or of its hits"
    ]


def test_the_lines_of_all_files_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coverage, "MOST_LINES", 4)
    three, other = (cobertura_xml(class_xml(name, (1, 1), (2, 1), (3, 0))) for name in ("app.py", "other.py"))
    five = cobertura_xml(class_xml("app.py", *((number, 1) for number in range(5))))
    report = cobertura(five, three, three, other)
    assert report.lines
    assert (report.lines.files, report.lines.total) == (1, 3)
    assert report.odd == ["0.xml: more than 4 lines", "3.xml: more than 4 lines, with those of the other files"]


def test_no_more_files_are_listed_than_people_read() -> None:
    report = cobertura(cobertura_xml("".join(class_xml(f"{number}.py", (1, 1)) for number in range(MOST_FILES + 9))))
    assert report.lines
    assert (report.lines.files, len(report.lines.worst)) == (MOST_FILES + 9, MOST_FILES)


def test_secrets_are_masked_before_a_path_is_cut() -> None:
    long = "x" * (coverage.MOST_PATH - 3) + "secret"
    files = [("c.xml", io.BytesIO(cobertura_xml(class_xml(long, (1, 1))).encode()))]
    report = parse_cobertura(files, NOWHERE, lambda text: text.replace("secret", "[MASKED]"))
    assert report.lines
    assert report.lines.worst[0].path.endswith("x[MA")


@given(st.binary(max_size=300))
def test_no_bytes_raise_anything_else(content: bytes) -> None:
    with contextlib.suppress(BadReport):
        assert cobertura(content).lines is None
