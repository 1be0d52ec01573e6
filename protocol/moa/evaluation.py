"""Evaluates expressions. Pure.

Operators convert nothing: `"a" + 1` is an error.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from protocol.moa.syntax import (
    OPENING,
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
from protocol.moa.values import Budget, Value, finite, kind_of, number_text, order, text_of

MAX_DEPTH = 150
"""Maximum depth of an expression: its operators and brackets inside each other."""
_NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")


def render(text: str, names: Mapping[str, Value], budget: Budget) -> str:
    """A text with the values of its expressions; `names` are those of the context. Raises BadExpression."""
    if OPENING not in text:
        return text
    budget.spend(text)
    return _Evaluator(names, budget).text(parse(text))


class _Evaluator:
    def __init__(self, names: Mapping[str, Value], budget: Budget) -> None:
        self._names = names
        self._budget = budget
        self._depth = 0

    def text(self, template: Template) -> str:
        return "".join(part if isinstance(part, str) else self._block(part) for part in template.parts)

    def _block(self, block: Block) -> str:
        try:
            return text_of(self.value(block.expression), self._budget)
        except BadExpression as error:
            raise BadExpression(f"{block.source}: {error}") from None

    def value(self, node: Node) -> Value:
        self._budget.count(1)
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
            return text_of(value, self._budget)
        if function == "bool":
            return bool(value)
        if isinstance(value, float):
            return value
        if not isinstance(value, str):
            raise BadExpression(f"num() takes a string, not {kind_of(value)}")
        if not _NUMBER.fullmatch(value):
            raise BadExpression(f"num(): {value[:40]!r} is not a number")
        return finite(float(value))

    def _binary(self, operator: str, left_node: Node, right_node: Node) -> Value:
        left = self.value(left_node)
        if operator in ("&&", "||"):
            return left if bool(left) == (operator == "||") else self.value(right_node)
        right = self.value(right_node)
        if operator in _COMPARISONS:
            return order(left, right, self._budget) in _COMPARISONS[operator]
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
            return finite(left + right)
        case "-":
            return finite(left - right)
        case "*":
            return finite(left * right)
    if right == 0:
        raise BadExpression("it divides by zero")
    return finite(left / right) if operator == "/" else math.fmod(left, right)


def _signed(operator: str, value: Value) -> Value:
    if operator == "!":
        return not bool(value)
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
    raise BadExpression(f"{kind_of(base)} has no part {_name_of(key)!r}")


def _name_of(key: Value) -> str:
    if isinstance(key, str):
        return key[:40]
    return number_text(key) if isinstance(key, float) else kind_of(key)
