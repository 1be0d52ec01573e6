"""File patterns match as GitLab Runner's do, in bounded time."""

from __future__ import annotations

import time

import pytest

from daemon.executors.common.globs import Patterns, fixed_prefix, outermost, relative_pattern
from protocol.errors import UsageError


@pytest.mark.parametrize(
    ("pattern", "matching", "other"),
    [
        ("a", ["a"], ["a/b", "b", "ab"]),
        ("*.txt", ["x.txt", ".txt", ".x.txt"], ["a/x.txt", "x.txt.gz"]),
        ("**", ["a", "a/b/c", ".a"], []),
        ("**/x", ["x", "a/x", "a/b/x"], ["ax", "x/a"]),
        ("a/**", ["a", "a/b", "a/b/c"], ["ab", "b/a"]),
        ("a/**/z", ["a/z", "a/b/z", "a/b/c/z"], ["az", "a/bz"]),
        ("a**z", ["az", "abz"], ["a/z"]),
        ("?.o", ["a.o", "é.o"], ["ab.o", ".o", "/.o"]),
        ("[a-c]x", ["ax", "cx"], ["dx", "x"]),
        ("[!a-c]x", ["dx"], ["ax", "/x"]),
        ("[^a]x", ["bx", "^x"], ["ax"]),
        ("{a/b,c}/*.o", ["a/b/x.o", "c/x.o"], ["a/x.o", "{a/b,c}/x.o"]),
        ("{a,{b,c}d}", ["a", "bd", "cd"], ["b", "d"]),
        (r"a\*b", ["a*b"], ["axb"]),
        ("a.b+(c)|$", ["a.b+(c)|$"], ["aXb+(c)|$"]),
    ],
)
def test_a_pattern_matches_whole_paths(pattern: str, matching: list[str], other: list[str]) -> None:
    patterns = Patterns([pattern])
    assert [path for path in [*matching, *other] if patterns.match(path)] == matching


def test_what_is_in_a_matching_directory_is_covered() -> None:
    patterns = Patterns(["build", "*/x"])
    assert patterns.covering("build/a/b") == [0]
    assert patterns.covering("build/x") == [0, 1]
    assert patterns.covering("builds/a") == []


@pytest.mark.parametrize("pattern", ["[a", "{a", "[z-a]", "x/[]"])
def test_a_malformed_pattern_is_an_error_that_shows_it(pattern: str) -> None:
    with pytest.raises(UsageError, match="bad file pattern"):
        Patterns([pattern])


def test_no_pattern_takes_long() -> None:
    started = time.process_time()
    Patterns(["*a" * 200 + "b", "{a,a}" * 200, "**/" * 200 + "b"]).match("a" * 5000)
    assert time.process_time() - started < 2


def test_names_that_are_no_utf_8_can_be_matched() -> None:
    assert Patterns(["*.x"]).match("\udcff.x")


@pytest.mark.parametrize(
    ("pattern", "relative"),
    [
        ("build/", "build"),
        ("./build/./x", "build/x"),
        (".", ""),
        ("/builds/p", ""),
        ("/builds/p/a/*.x", "a/*.x"),
        ("a/../b", "b"),
        ("../p2", None),
        ("/etc/passwd", None),
        ("/builds/p2/x", None),
    ],
)
def test_patterns_are_relative_to_the_project_or_refused(pattern: str, relative: str | None) -> None:
    assert relative_pattern(pattern, "/builds/p") == relative


def test_only_what_can_match_is_asked_for() -> None:
    assert [fixed_prefix(pattern) for pattern in ("a/b", "a/*/c", "*.x", "a/{b,c}", "a/b[0]/c")] == [
        "a/b",
        "a",
        "",
        "a",
        "a",
    ]
    assert outermost(["a/b", "c", "a", "ab", "a/b/c"]) == ["a", "ab", "c"]
    assert outermost(["", "a"]) == [""]
