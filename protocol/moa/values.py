"""Values of expressions: their types, order and text. Pure.

Numbers are double-precision floats, as in JSON.
"""

from __future__ import annotations

import json
import math
from typing import Any, TypeAlias

from protocol.moa.syntax import BadExpression

Value: TypeAlias = "bool | float | str | list[Value] | dict[str, Value] | None"

MAX_DEPTH = 150
"""Maximum depth of an array's or object's contents."""
PLAIN_FROM, PLAIN_TO = 1e-6, 1e21
"""Numbers in this range are written without an exponent, as in JSON."""
CHARACTERS_PER_STEP = 16
"""Characters that are compared in the time of one step."""
_KINDS: tuple[tuple[type, str], ...] = (
    (bool, "a boolean"),
    (float, "a number"),
    (str, "a string"),
    (list, "an array"),
    (dict, "an object"),
)


class Budget:
    """Bounds the size of texts and the steps of their evaluation: an expression may repeat and compare long values.

    What is counted here is counted in `parent` too.
    """

    def __init__(self, limit: int, parent: Budget | None = None) -> None:
        self._limit = self._left = limit
        self._parent = parent

    def count(self, number: int) -> None:
        """Counts characters or steps. Raises BadExpression if that is too many."""
        self._left -= number
        if self._left < 0:
            what = "the texts with expressions and the values in them"
            raise BadExpression(f"{what} have more than {self._limit:,} characters together")
        if self._parent is not None:
            self._parent.count(number)

    def spend(self, text: str) -> str:
        """Counts a new text, and returns it. Raises BadExpression."""
        self.count(len(text))
        return text


def plain(value: object, budget: Budget, depth: int = 0) -> Value:
    """A JSON value as a value of expressions: its numbers become floats. Raises BadExpression."""
    budget.count(1)
    if depth > MAX_DEPTH:
        raise BadExpression(f"it is nested more than {MAX_DEPTH} levels deep")
    if isinstance(value, list):
        return [plain(item, budget, depth + 1) for item in value]
    if isinstance(value, dict):
        return {str(key): plain(item, budget, depth + 1) for key, item in value.items()}
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int | float):
        return finite(value)
    raise BadExpression(f"{type(value).__name__} is no type of expressions")


def text_of(value: Value, budget: Budget) -> str:
    """A value as text: arrays and objects as JSON, null as `<null>`. Raises BadExpression."""
    if isinstance(value, str):
        return budget.spend(value)
    return "<null>" if value is None else _json(value, budget)


def _json(value: Value, budget: Budget) -> str:
    budget.count(1)
    if isinstance(value, list):
        return "[" + ",".join(_json(item, budget) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{_json(key, budget)}:{_json(item, budget)}" for key, item in value.items()) + "}"
    if isinstance(value, float):
        return budget.spend(number_text(value))
    return budget.spend(json.dumps(value, ensure_ascii=False))


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


def finite(value: float) -> float:
    """A number that is not infinite. Raises BadExpression."""
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise BadExpression("a number is too large")
    return number


def order(left: Value, right: Value, budget: Budget) -> int:
    """-1, 0 or 1: less, equal, greater. Values of different types are ordered by type, and never equal.

    Raises BadExpression.
    """
    budget.count(1)
    if kind_of(left) != kind_of(right):
        return -1 if _rank(left) < _rank(right) else 1
    if isinstance(left, list) and isinstance(right, list):
        orders = (order(one, other, budget) for one, other in zip(left, right, strict=False))
        return next((found for found in orders if found), _compare(len(left), len(right)))
    if isinstance(left, dict) and isinstance(right, dict):
        budget.count(len(left))
        if len(left) != len(right):
            return _compare(len(left), len(right))
        ours, theirs = sorted(left), sorted(right)
        by_keys = order([*ours], [*theirs], budget)
        return by_keys or order([left[key] for key in ours], [right[key] for key in theirs], budget)
    if isinstance(left, str) and isinstance(right, str):
        budget.count(min(len(left), len(right)) // CHARACTERS_PER_STEP)
        return _compare(left, right)  # by code points, whose order is that of UTF-8's bytes
    return 0 if left is None else _compare(left, right)


def _rank(value: Value) -> int:
    return next((rank for rank, (kind, _) in enumerate(_KINDS) if isinstance(value, kind)), -1)


def _compare(left: Any, right: Any) -> int:
    return int(left > right) - int(left < right)
