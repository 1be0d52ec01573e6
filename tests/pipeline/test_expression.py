"""`rules:if` as GitLab's grammar has it."""

from __future__ import annotations

import pytest

from pipeline.expression import BadExpression, parse

VARIABLES = {
    "A": "a",
    "EMPTY": "",
    "BRANCH": "main",
    "PATTERN": "/^ma/",
    "NO_PATTERN": "the main one",
    "FEATURE": "feature/x",
    "TRUE": "true",
}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("$A", True),
        ("$EMPTY", False),
        ("$UNKNOWN", False),
        ("'x'", True),
        ('""', False),
        ("null", False),
        ("true", True),
        ("false", False),
        ('$A == "a"', True),
        ("$A != 'a'", False),
        ("$UNKNOWN == null", True),
        ("$EMPTY == null", False),
        ('$EMPTY == ""', True),
        ('$UNKNOWN == ""', False),
        ("$UNKNOWN != null", False),
        ("null == $UNKNOWN", True),
        ("$A == $A", True),
        ('$TRUE == "true"', True),
        ("$TRUE == true", False),
        ("$BRANCH =~ /^ma/", True),
        ("$BRANCH =~ /MAIN/", False),
        ("$BRANCH =~ /MAIN/i", True),
        ("$BRANCH !~ /^ma/", False),
        ("$UNKNOWN =~ /x/", False),
        ("$UNKNOWN !~ /x/", True),
        ("$BRANCH =~ null", False),
        ("$BRANCH =~ $PATTERN", True),
        ("$BRANCH =~ $NO_PATTERN", True),
        ("$A =~ $UNKNOWN", False),
        ('$BRANCH =~ "/^ma/"', True),
        (r"$FEATURE =~ /^feature\/.+$/", True),
        (r"$FEATURE =~ /^feature\/[^\/]+$/", True),
        ('$A == "b" || $BRANCH == "main"', True),
        ('$A == "b" && $BRANCH == "main"', False),
        ('$A == "b" && $UNKNOWN || $A', True),
        ('$A || $A == "b" && $UNKNOWN', True),
        ('($A || $A == "b") && $UNKNOWN', False),
        ("(($A))", True),
        ("$EMPTY && $A", True),
        ("$A && $EMPTY", False),
        ("  $A\n  &&\n  $BRANCH  ", True),
        ('$A=="a"&&$BRANCH=~/^m/', True),
    ],
)
def test_expressions_hold_as_in_gitlab(text: str, holds: bool) -> None:
    assert parse(text).holds(VARIABLES) is holds


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("$A ==", "a value is missing at its end"),
        ("== $A", "a value is missing before"),
        ("$A $BRANCH", "an operator is missing before 'BRANCH'"),
        ("$A && || $B", "a value is missing before"),
        ("($A", "has a ( without a )"),
        ("$A)", "has a ) without a ("),
        ("()", "a value is missing"),
        ("${A} == 'a'", "write $NAME without braces"),
        ("$A = 'a'", "can't be understood from \"= 'a'\" on"),
        ("$A == 'a", "can't be understood"),
        ("$A =~ /(/", "not a regular expression that RE2 supports"),
        ("$A =~ /a(?=b)/", "not a regular expression that RE2 supports"),
        ("$A =~ /a{2000}{2000}/", "not a regular expression that RE2 supports"),
        ("$A" + " || $A" * 2_000, "is longer than"),
        ("($A)" + "&&($A)" * 300, "has more than 1000 parts"),
    ],
)
def test_what_is_no_expression_is_refused_with_the_reason(text: str, message: str) -> None:
    with pytest.raises(BadExpression) as raised:
        parse(text)
    assert message in str(raised.value)


def test_an_expression_that_would_take_for_ever_elsewhere_is_done_at_once() -> None:
    assert not parse("$A =~ /^(a+)+$/").holds({"A": "a" * 100_000 + "b"})
