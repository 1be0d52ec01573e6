"""Evaluates expressions. Pure.

Numbers are double-precision floats, as in JSON. Operators convert nothing: `"a" + 1` is an error.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any, TypeAlias

from protocol.moa.syntax import (
    Access,
    Array,
    BadExpression,
    Binary,
    Block,
    Call,
    Literal,
    Name,
    Node,
    Object,
    Template,
    Unary,
    parse,
)

Value: TypeAlias = "bool | float | str | list[Value] | dict[str, Value] | None"

MAX_DEPTH = 150
"""Maximum depth of an expression's operators and brackets, and of an array's or object's contents."""
PLAIN_FROM, PLAIN_TO = 1e-6, 1e21
"""Numbers in this range are written without an exponent, as in JSON."""
_NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
_KINDS: tuple[tuple[type, str], ...] = (
    (bool, "a boolean"),
    (float, "a number"),
    (str, "a string"),
    (list, "an array"),
    (dict, "an object"),
)


class Budget:
    """Bounds the total size of the texts that expressions make: an expression may repeat a long value."""

    def __init__(self, characters: int) -> None:
        self._left = characters

    def spend(self, text: str) -> str:
        """Counts a new text, and returns it. Raises BadExpression when the total is too large."""
        self._left -= len(text)
        if self._left < 0:
            raise BadExpression("the values of all expressions together are too long")
        return text


def render(text: str, names: Mapping[str, Value], budget: Budget) -> str:
    """A text with the values of its expressions; `names` are those of the context. Raises BadExpression."""
    return _Evaluator(names, budget).text(parse(text))


def plain(value: object, depth: int = 0) -> Value:
    """A JSON value as a value of expressions: its numbers become floats. Raises BadExpression."""
    if depth > MAX_DEPTH:
        raise BadExpression(f"it is nested more than {MAX_DEPTH} levels deep")
    if isinstance(value, list):
        return [plain(item, depth + 1) for item in value]
    if isinstance(value, dict):
        return {str(key): plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, int) and not isinstance(value, bool):
        return _number(value)
    if value is None or isinstance(value, bool | float | str):
        return value
    raise BadExpression(f"{type(value).__name__} is no type of expressions")


def text_of(value: Value) -> str:
    """A value as text: arrays and objects as JSON, null as `<null>`."""
    if isinstance(value, str):
        return value
    return "<null>" if value is None else _json(value)


def _json(value: Value) -> str:
    if isinstance(value, list):
        return "[" + ",".join(map(_json, value)) + "]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{_json(key)}:{_json(item)}" for key, item in value.items()) + "}"
    if isinstance(value, float):
        return number_text(value)
    return json.dumps(value, ensure_ascii=False)


def number_text(number: float) -> str:
    """A number in its shortest form: `5`, `3.14`."""
    if number == 0:
        return "0"
    written = repr(number)
    if not PLAIN_FROM <= abs(number) < PLAIN_TO:
        return written.replace("e-0", "e-")
    if number.is_integer():
        return str(int(number))
    if "e" in written:  # 1e-05
        digits, _, power = written.partition("e")
        return f"{number:.{len(digits.replace('-', '').replace('.', '')) - 1 - int(power)}f}"
    return written


def kind_of(value: Value) -> str:
    """A value's type, as named in messages."""
    return next((name for kind, name in _KINDS if isinstance(value, kind)), "null")


def _number(value: float) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise BadExpression("a number is too large")
    return number


def _is_true(value: Value) -> bool:
    return bool(value)  # Python's rule is Moa's


def _order(left: Value, right: Value) -> int:
    """-1, 0 or 1: less, equal, greater. Values of different types are ordered by type, and never equal."""
    if kind_of(left) != kind_of(right):
        return -1 if _rank(left) < _rank(right) else 1
    if isinstance(left, list) and isinstance(right, list):
        pairs = zip(left, right, strict=False)
        return next((order for one, other in pairs if (order := _order(one, other))), _compare(len(left), len(right)))
    if isinstance(left, dict) and isinstance(right, dict):
        if len(left) != len(right):
            return _compare(len(left), len(right))
        ours, theirs = sorted(left.items()), sorted(right.items())
        keys = _order([key for key, _ in ours], [key for key, _ in theirs])
        return keys or _order([value for _, value in ours], [value for _, value in theirs])
    if isinstance(left, str) and isinstance(right, str):
        return _compare(left.encode("utf-8", "surrogatepass"), right.encode("utf-8", "surrogatepass"))
    return 0 if left is None else _compare(left, right)


def _rank(value: Value) -> int:
    return next((rank for rank, (kind, _) in enumerate(_KINDS) if isinstance(value, kind)), -1)


def _compare(left: Any, right: Any) -> int:
    return int(left > right) - int(left < right)


class _Evaluator:
    def __init__(self, names: Mapping[str, Value], budget: Budget) -> None:
        self._names = names
        self._budget = budget
        self._depth = 0

    def text(self, template: Template) -> str:
        return "".join(part if isinstance(part, str) else self._block(part) for part in template.parts)

    def _block(self, block: Block) -> str:
        try:
            return self._budget.spend(text_of(self.value(block.expression)))
        except BadExpression as error:
            raise BadExpression(f"{block.source}: {error}") from None

    def value(self, node: Node) -> Value:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise BadExpression(f"it is nested more than {MAX_DEPTH} levels deep")
        value = self._value(node)
        self._depth -= 1
        return value

    def _value(self, node: Node) -> Value:
        match node:
            case Literal(value):
                return value
            case Name(name):
                if name not in self._names:
                    raise BadExpression(f"unknown name {name!r}")
                return self._names[name]
            case Access(base, key):
                return _part(self.value(base), self.value(key))
            case Call(function, argument):
                return self._call(function, self.value(argument))
            case Unary(operator, operand):
                return _signed(operator, self.value(operand))
            case Binary(operator, left, right):
                return self._binary(operator, left, right)
            case Array(items):
                return [self.value(item) for item in items]
            case Object(entries):
                return dict(self._entry(key, item) for key, item in entries)
            case Template():
                return self.text(node)

    def _entry(self, key: Node, item: Node) -> tuple[str, Value]:
        name = self.value(key)
        if not isinstance(name, str):
            raise BadExpression(f"an object's key must be a string, not {kind_of(name)}")
        return name, self.value(item)

    def _call(self, function: str, value: Value) -> Value:
        if function == "str":
            return self._budget.spend(text_of(value))
        if function == "bool":
            return _is_true(value)
        if isinstance(value, float):
            return value
        if not isinstance(value, str):
            raise BadExpression(f"num() takes a string, not {kind_of(value)}")
        if not _NUMBER.fullmatch(value):
            raise BadExpression(f"num(): {value[:40]!r} is not a number")
        return _number(float(value))

    def _binary(self, operator: str, left_node: Node, right_node: Node) -> Value:
        left = self.value(left_node)
        if operator in ("&&", "||"):
            return left if _is_true(left) == (operator == "||") else self.value(right_node)
        right = self.value(right_node)
        if operator in _COMPARISONS:
            return _order(left, right) in _COMPARISONS[operator]
        if operator == "+" and isinstance(left, str) and isinstance(right, str):
            return self._budget.spend(left + right)
        if not (isinstance(left, float) and isinstance(right, float)):
            convert = "; str() makes a string of a value" if operator == "+" else ""
            raise BadExpression(f"{operator!r} can't be used with {kind_of(left)} and {kind_of(right)}{convert}")
        return _calculated(operator, left, right)


_COMPARISONS = {"==": (0,), "!=": (-1, 1), "<": (-1,), "<=": (-1, 0), ">": (1,), ">=": (0, 1)}


def _calculated(operator: str, left: float, right: float) -> float:
    match operator:
        case "+":
            return _number(left + right)
        case "-":
            return _number(left - right)
        case "*":
            return _number(left * right)
    if right == 0:
        raise BadExpression("it divides by zero")
    return _number(left / right) if operator == "/" else math.fmod(left, right)


def _signed(operator: str, value: Value) -> Value:
    if operator == "!":
        return not _is_true(value)
    if not isinstance(value, float):
        raise BadExpression(f"{operator!r} can't be used with {kind_of(value)}")
    return -value if operator == "-" else value


def _part(base: Value, key: Value) -> Value:
    if isinstance(base, dict) and isinstance(key, str):
        if key not in base:
            raise BadExpression(f"there is no {key!r} among {', '.join(base)[:200] or 'nothing'}")
        return base[key]
    if isinstance(base, list) and isinstance(key, float):
        if not key.is_integer() or not 0 <= key < len(base):
            raise BadExpression(f"the array has no item {number_text(key)}: it has {len(base)}, counted from 0")
        return base[int(key)]
    raise BadExpression(f"{kind_of(base)} has no part {text_of(key)[:40]!r}")
