"""The expression language of `rules:if`: GitLab's grammar, precedence and truthiness. Pure; uses RE2 for patterns.

`==`, `!=`, `=~` and `!~` bind tighter than `&&`, which binds tighter than `||`; all are left-associative.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, TypeAlias

from pipeline.patterns import Pattern, compile_pattern, written_pattern
from protocol.regular_expressions import BadPattern

MAX_LENGTH = 10_000
MAX_TOKENS = 1_000

Result: TypeAlias = str | bool | Pattern | None
Kind: TypeAlias = Literal["value", "variable", "operator", "open", "close"]

_TOKENS = re.compile(
    r"\s*(?:(?P<open>\()|(?P<close>\))"
    r"|\$(?P<variable>\w+)"
    r"|\"(?P<double>[^\"]*)\"|'(?P<single>[^']*)'"
    r"|(?P<pattern>/(?:[^/\\]|\\.)+/[ismU]*)"
    r"|(?P<word>null|true|false)\b"
    r"|(?P<operator>==|!=|=~|!~|&&|\|\|))"
)
_PRECEDENCE = {"==": 3, "!=": 3, "=~": 3, "!~": 3, "&&": 2, "||": 1}
_WORDS: Mapping[str, Result] = {"null": None, "true": True, "false": False}


class BadExpression(Exception):
    """The text is not an expression; the message gives the reason and place."""


@dataclass(frozen=True, slots=True)
class _Token:
    kind: Kind
    text: str
    value: Result = None


@dataclass(frozen=True, slots=True)
class Expression:
    """A parsed expression, in postfix order."""

    tokens: tuple[_Token, ...]

    def holds(self, variables: Mapping[str, str | bool | None]) -> bool:
        """Whether it is true; an empty string, null and false are not. Raises BadExpression for a bad pattern."""
        stack: list[Result] = []
        for token in self.tokens:
            if token.kind == "value":
                stack.append(token.value)
            elif token.kind == "variable":
                stack.append(variables.get(token.text))
            else:
                right, left = stack.pop(), stack.pop()
                stack.append(_apply(token.text, left, right))
        result = stack.pop()
        return bool(result.strip()) if isinstance(result, str) else bool(result)


@lru_cache(maxsize=4096)
def parse(text: str) -> Expression:
    """Parses an expression. Raises BadExpression."""
    if len(text) > MAX_LENGTH:
        raise BadExpression(f"is longer than {MAX_LENGTH} characters")
    output: list[_Token] = []
    waiting: list[_Token] = []
    value_next = True
    for token in _tokens(text):
        if value_next != (token.kind in ("value", "variable", "open")):
            raise BadExpression(f"{'a value' if value_next else 'an operator'} is missing before {token.text!r}")
        if token.kind in ("value", "variable"):
            output.append(token)
            value_next = False
        elif token.kind == "open":
            waiting.append(token)
        elif token.kind == "close":
            while waiting and waiting[-1].kind != "open":
                output.append(waiting.pop())
            if not waiting:
                raise BadExpression("has a ) without a (")
            waiting.pop()
        else:
            while waiting and _PRECEDENCE.get(waiting[-1].text, 0) >= _PRECEDENCE[token.text]:
                output.append(waiting.pop())
            waiting.append(token)
            value_next = True
    if value_next:
        raise BadExpression("a value is missing at its end" if output or waiting else "is empty")
    while waiting:
        if waiting[-1].kind == "open":
            raise BadExpression("has a ( without a )")
        output.append(waiting.pop())
    return Expression(tuple(output))


def _tokens(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    position = 0
    text = text.rstrip()
    while position < len(text):
        match = _TOKENS.match(text, position)
        if match is None:
            rest = text[position:].lstrip()
            if rest.startswith("${"):
                raise BadExpression("has ${...}; write $NAME without braces")
            raise BadExpression(f"can't be understood from {rest[:40]!r} on")
        position = match.end()
        tokens.append(_token(match))
        if len(tokens) > MAX_TOKENS:
            raise BadExpression(f"has more than {MAX_TOKENS} parts")
    return tokens


def _token(match: re.Match[str]) -> _Token:
    text = match[0].strip()
    if match["variable"] is not None:
        return _Token("variable", match["variable"])
    if match["operator"] is not None:
        return _Token("operator", text)
    if match["open"] is not None:
        return _Token("open", text)
    if match["close"] is not None:
        return _Token("close", text)
    if match["word"] is not None:
        return _Token("value", text, _WORDS[text])
    if match["pattern"] is not None:
        try:
            return _Token("value", text, written_pattern(text))
        except BadPattern as error:
            raise BadExpression(str(error)) from None
    return _Token("value", text, match["double"] if match["double"] is not None else match["single"])


def _apply(operator: str, left: Result, right: Result) -> Result:
    if operator == "&&":
        return right if _present(left) else left
    if operator == "||":
        return left if _present(left) else right
    if operator == "==":
        return left == right
    if operator == "!=":
        return left != right
    found = _found(left, right)
    return found if operator == "=~" else not found


def _present(value: Result) -> bool:
    """Ruby's truthiness inside an expression: an empty string is true there."""
    return value is not None and value is not False


def _found(text: Result, pattern: Result) -> bool:
    """Whether the pattern matches the text. A string that is not a pattern is searched for the text, as in GitLab."""
    subject = text.text if isinstance(text, Pattern) else "" if text is None else str(text)
    if pattern is None or isinstance(pattern, bool):
        return False
    if isinstance(pattern, str):
        try:
            pattern = compile_pattern(pattern)
        except BadPattern:
            return subject in str(pattern)
    return pattern.found_in(subject)
