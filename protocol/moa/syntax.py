"""Parses templates and their expressions. Pure.

A template is text with expressions in `${{ ... }}`; `\\${{` stands for a literal `${{`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import TypeAlias, TypeVar

import msgspec

from protocol.errors import LongshoreError

OPENING = "${{"
ESCAPED = "\\" + OPENING
MAX_DEPTH = 30
"""Maximum nesting of an expression: brackets, signs and strings inside each other."""
FUNCTIONS = ("str", "num", "bool")
PRECEDENCE = {
    operator: precedence
    for precedence, operators in enumerate(("||", "&&", "== != <= >= < >", "+ -", "* / %"))
    for operator in operators.split()
}
"""Binary operators, all left-associative; a higher precedence binds tighter."""
UNARY = ("+", "-", "!")
CONSTANTS: dict[str, bool | None] = {"null": None, "true": True, "false": False}
RESERVED = frozenset(
    (
        *(
            "array",
            "as",
            "break",
            "case",
            "const",
            "continue",
            "default",
            "else",
            "fallthrough",
            "float",
            "for",
            "func",
        ),
        *("function", "goto", "if", "import", "in", "int", "let", "loop", "map", "namespace", "number", "object"),
        *("package", "range", "return", "string", "struct", "switch", "type", "var", "void", "while"),
    )
)
"""Words that can't be names of the context; properties may have them."""
ESCAPES = {"\\": "\\", '"': '"', "n": "\n", "r": "\r", "t": "\t", "a": "\a", "b": "\b", "f": "\f", "v": "\v", "/": "/"}

T = TypeVar("T")

_SPACE = re.compile(r"\s*")
_OPERATOR = re.compile(r"\s*(\|\||&&|[=!<>]=|[<>+\-*/%])")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NUMBER = re.compile(r"\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
_RAW = re.compile(r"'((?:[^'\\]|\\.)*)'", re.DOTALL)
_PLAIN = re.compile(r'[^"\\$]+')
"""Characters of a string in double quotes that stand for themselves."""
_UNICODE = re.compile(r"u([0-9a-fA-F]{4})")


class BadExpression(LongshoreError):
    """A template that can't be parsed or evaluated; the message gives the reason."""


class Literal(msgspec.Struct, frozen=True):
    """A constant."""

    value: bool | float | str | None


class Name(msgspec.Struct, frozen=True):
    """A name of the context."""

    name: str


class Access(msgspec.Struct, frozen=True):
    """`base.key` or `base[key]`."""

    base: Node
    key: Node


class Call(msgspec.Struct, frozen=True):
    """A call of one of `FUNCTIONS`."""

    function: str
    argument: Node


class Unary(msgspec.Struct, frozen=True):
    """A prefix operator and its operand."""

    operator: str
    operand: Node


class Binary(msgspec.Struct, frozen=True):
    """An infix operator and its operands."""

    operator: str
    left: Node
    right: Node


class Array(msgspec.Struct, frozen=True):
    """`[a, b]`."""

    items: tuple[Node, ...]


class Object(msgspec.Struct, frozen=True):
    """`{key: value}`."""

    entries: tuple[tuple[Node, Node], ...]


class Block(msgspec.Struct, frozen=True):
    """An expression in `${{ ... }}`; `source` is its text, on one line, for messages."""

    source: str
    expression: Node


class Template(msgspec.Struct, frozen=True):
    """Literal texts and expressions, whose values are joined to one text."""

    parts: tuple[str | Block, ...]


Node: TypeAlias = Literal | Name | Access | Call | Unary | Binary | Array | Object | Template


@lru_cache(maxsize=256)
def parse(text: str) -> Template:
    """The template of a text. Raises BadExpression."""
    return _Parser(text).template()


def nodes(node: Node) -> Iterator[Node]:
    """A node and all nodes in it."""
    todo: list[Node] = [node]
    while todo:
        node = todo.pop()
        yield node
        match node:
            case Access(first, second) | Binary(_, first, second):
                todo += (first, second)
            case Unary(_, inner) | Call(_, inner):
                todo.append(inner)
            case Array(items):
                todo += items
            case Object(entries):
                todo += (part for entry in entries for part in entry)
            case Template(parts):
                todo += (part.expression for part in parts if isinstance(part, Block))


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._depth = 0

    def template(self) -> Template:
        parts: list[str | Block] = []
        while (found := self._text.find(OPENING, self._at)) >= 0:
            if found > self._at and self._text[found - 1] == "\\":
                parts.append(self._text[self._at : found - 1] + OPENING)
                self._at = found + len(OPENING)
                continue
            parts.append(self._text[self._at : found])
            self._at = found
            parts.append(self._block())
        parts.append(self._text[self._at :])
        return Template(tuple(part for part in parts if part != ""))

    def _block(self) -> Block:
        """The `${{ ... }}` that begins here."""
        begin = self._at
        self._at += len(OPENING)
        try:
            node = self._expression()
            if not self._takes("}}"):
                raise BadExpression(self._unexpected())
        except BadExpression as error:
            end = self._text.find("}}", begin)
            raise BadExpression(f"{_shown(self._text[begin : end + 2 if end > 0 else None])}: {error}") from None
        return Block(_shown(self._text[begin : self._at]), node)

    def _unexpected(self) -> str:
        rest = self._text[self._at :].strip()
        return f"unexpected {rest.split()[0][:20]!r}" if rest else "it does not end with `}}`"

    def _takes(self, *words: str) -> str:
        """The first of `words` that comes next, which is skipped; empty if none does."""
        self._skip_space()
        for word in words:
            if self._text.startswith(word, self._at):
                self._at += len(word)
                return word
        return ""

    def _expects(self, word: str) -> None:
        if not self._takes(word):
            raise BadExpression(f"{self._unexpected()}, where {word!r} is missing")

    def _skip_space(self) -> None:
        self._at = _SPACE.match(self._text, self._at).end()  # type: ignore[union-attr]  # it matches anywhere

    def _expression(self, lowest: int = 0) -> Node:
        """An expression of operators of this precedence or a higher one."""
        left = self._unary()
        while (found := _OPERATOR.match(self._text, self._at)) and PRECEDENCE[found[1]] >= lowest:
            self._at = found.end()
            left = Binary(found[1], left, self._expression(PRECEDENCE[found[1]] + 1))
        return left

    def _unary(self) -> Node:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise BadExpression(f"it is nested more than {MAX_DEPTH} levels deep")
        operator = self._takes(*UNARY)
        node: Node = Unary(operator, self._unary()) if operator else self._accessed(self._primary())
        self._depth -= 1
        return node

    def _accessed(self, node: Node) -> Node:
        while step := self._takes(".", "["):
            if step == ".":
                node = Access(node, Literal(self._name()))
            else:
                node = Access(node, self._expression())
                self._expects("]")
        return node

    def _primary(self) -> Node:
        if self._takes("("):
            node = self._expression()
            self._expects(")")
            return node
        if self._takes("["):
            return Array(tuple(self._listed("]", self._expression)))
        if self._takes("{"):
            return Object(tuple(self._listed("}", self._entry)))
        if self._takes('"'):
            return self._string()
        if raw := _RAW.match(self._text, self._at):
            self._at = raw.end()
            return Literal(re.sub(r"\\([\\'])", r"\1", raw[1]))
        if number := _NUMBER.match(self._text, self._at):
            self._at = number.end()
            return Literal(_finite(float(number[0])))
        return self._named()

    def _named(self) -> Node:
        name = self._name()
        if name in CONSTANTS:
            return Literal(CONSTANTS[name])
        if name in RESERVED:
            raise BadExpression(f"{name!r} is a reserved word")
        if not self._takes("("):
            return Name(name)
        if name not in FUNCTIONS:
            raise BadExpression(f"unknown function {name!r}; there are {', '.join(FUNCTIONS)}")
        arguments = self._listed(")", self._expression)
        if len(arguments) != 1:
            raise BadExpression(f"{name}() takes one value, not {len(arguments)}")
        return Call(name, arguments[0])

    def _name(self) -> str:
        self._skip_space()
        name = _NAME.match(self._text, self._at)
        if name is None:
            raise BadExpression(self._unexpected())
        self._at = name.end()
        return name[0]

    def _listed(self, closing: str, item: Callable[[], T]) -> list[T]:
        """Items up to the closing bracket, separated by commas; the last one may have a comma after it."""
        found: list[T] = []
        while not self._takes(closing):
            if found:
                self._expects(",")
                if self._takes(closing):
                    break
            found.append(item())
        return found

    def _entry(self) -> tuple[Node, Node]:
        self._skip_space()
        key: Node = Literal(self._name()) if _NAME.match(self._text, self._at) else self._expression()
        self._expects(":")
        return key, self._expression()

    def _string(self) -> Node:
        """A string in double quotes, after the first one; it may contain templates."""
        parts: list[str | Block] = []
        while True:
            if self._at >= len(self._text):
                raise BadExpression('a string lacks its closing `"`')
            if plain := _PLAIN.match(self._text, self._at):
                parts.append(plain[0])
                self._at = plain.end()
                continue
            character = self._text[self._at]
            if self._text.startswith(OPENING, self._at):
                parts.append(self._block())
            elif self._text.startswith(ESCAPED, self._at):
                parts.append(OPENING)
                self._at += len(ESCAPED)
            elif character == "\\":
                self._at += 1
                parts.append(self._escaped())
            else:
                self._at += 1
                if character == '"':
                    break
                parts.append(character)
        if any(isinstance(part, Block) for part in parts):
            return Template(tuple(parts))
        return Literal("".join(map(str, parts)))

    def _escaped(self) -> str:
        if code := _UNICODE.match(self._text, self._at):
            self._at = code.end()
            number = int(code[1], 16)
            if 0xD800 <= number < 0xE000:
                raise BadExpression(f"\\u{code[1]} is half of a surrogate pair, not a character")
            return chr(number)
        letter = self._text[self._at : self._at + 1]
        if letter not in ESCAPES or not letter:
            raise BadExpression(f"unknown escape sequence \\{letter}")
        self._at += 1
        return ESCAPES[letter]


def _shown(source: str) -> str:
    return " ".join(source[:200].split())[:80]


def _finite(number: float) -> float:
    if number in (float("inf"), float("-inf")):
        raise BadExpression("a number is too large")
    return number
