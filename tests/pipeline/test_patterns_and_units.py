"""Globs as Ruby's fnmatch has them; durations and sizes as people write them."""

from __future__ import annotations

import pytest

from pipeline.patterns import compile_pattern, glob_pattern, include_pattern
from pipeline.units import bytes_of, seconds_of
from protocol.regular_expressions import BadPattern


@pytest.mark.parametrize(
    ("glob", "path", "matches"),
    [
        ("*.py", "a.py", True),
        ("*.py", "src/a.py", False),
        ("**/*.py", "a.py", True),
        ("**/*.py", "src/deep/a.py", True),
        ("src/**/*", "src/a", True),
        ("src/**/*", "src/a/b", True),
        ("src/**", "src/a", True),
        ("src/**", "src/a/b", False),
        ("a/**/b", "a/b", True),
        ("a/**/b", "a/x/y/b", True),
        ("*", ".hidden", True),
        ("**/*", ".git/x", True),
        ("a?c", "abc", True),
        ("a?c", "a/c", False),
        ("[ab]x", "bx", True),
        ("[!ab]x", "cx", True),
        ("[!ab]x", "ax", False),
        ("{src,lib}/*.{c,h}", "lib/a.h", True),
        ("{src,lib}/*.{c,h}", "bin/a.h", False),
        ("{**/*.py,x}", "a/b.py", True),
        ("a.b", "aXb", False),
        (r"\*.py", "*.py", True),
        ("(a)+", "(a)+", True),
        ("a{b", "a{b", True),
    ],
)
def test_globs_match_as_in_ruby(glob: str, path: str, matches: bool) -> None:
    assert glob_pattern(glob).matches(path) is matches


def test_include_s_wildcards_are_simpler() -> None:
    assert include_pattern("ci/*.yml").matches("ci/a.yml")
    assert not include_pattern("ci/*.yml").matches("ci/sub/a.yml")
    assert include_pattern("ci/**.yml").matches("ci/sub/a.yml")
    assert not include_pattern("ci/a.yml").matches("ci/aXyml")


def test_a_glob_of_many_stars_is_matched_at_once() -> None:
    assert not glob_pattern("*a" * 100 + "b").matches("a" * 4_000)


@pytest.mark.parametrize("text", ["", "abc", "/(/", "/a/x", "/" + "a" * 5_000 + "/"])
def test_what_is_no_pattern_is_refused(text: str) -> None:
    with pytest.raises(BadPattern):
        compile_pattern(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90), ("1h 30m", 5400), ("1h30", 3630), ("2 hrs 20 min", 8400), ("2h20min", 8400), ("1 week", 604_800),
        ("3 mins 4 sec", 184), ("6 mos 1 day", 15_638_400), ("3 weeks and 2 days", 1_987_200), ("1d12h", 129_600),
        ("1:30:00", 5400), ("2:30", 150), ("0.5 hours", 1800), ("One hour", 3600), ("an hour, 5 minutes", 3900),
        ("never", None), ("", None), ("soon", None), ("1 lightyear", None), ("1h!", None), ("9" * 200, None),
    ],
)  # fmt: skip
def test_durations(text: str, seconds: float | None) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("512m", 512 << 20),
        ("2 GiB", 2 << 30),
        ("1.5k", 1536),
        ("100", 100),
        ("64MB", 64 << 20),
        ("x", None),
        ("", None),
    ],
)
def test_sizes(text: str, size: int | None) -> None:
    assert bytes_of(text) == size
