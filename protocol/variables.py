"""Expands `$NAME`, `${NAME}` and `%NAME%` in values as GitLab and its runner do. Pure.

The compiler uses it for what must be known before a run (includes, rules, environment names), the worker for what is
only known then (image names, cache keys, the final environment of a script).
"""

from __future__ import annotations

import re
from collections import ChainMap
from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache
from types import MappingProxyType

from protocol.errors import LongshoreError
from protocol.plan import Variable

MAX_VALUE_LENGTH = 1 << 20
"""Longest value, in characters, that an expansion may give: more than any shell's environment takes."""
MAX_TOTAL_LENGTH = 16 << 20
"""Longest that all values of one job may be together."""

NOTHING: Mapping[str, str] = MappingProxyType({})

REFERENCE = re.compile(
    r"\$(?:\{(?P<braced>[^}]*)\}"
    r"|(?P<plain>[A-Za-z_][A-Za-z0-9_]*)"
    r"|(?P<special>[$*#@!?\-0-9]))"
    r"|%(?P<percent>[A-Za-z_][A-Za-z0-9_]*)%"
)


class VariableTooLong(LongshoreError):
    """An expansion would give a value longer than `MAX_VALUE_LENGTH`, or values longer than `MAX_TOTAL_LENGTH`."""

    exit_status = 2


def expand(text: str, mapping: Mapping[str, str], *, keep: Collection[str] = ()) -> str:
    """`text` with all references replaced, once: what a value brings in is not expanded again.

    An unknown name becomes nothing and `$$` becomes `$`, as in GitLab Runner; an unknown `%NAME%` is left as it is, as
    in GitLab. References to names in `keep` are left as they are. Raises VariableTooLong.
    """
    if "$" not in text and "%" not in text:
        return text
    pieces: list[str] = []
    length = end = 0
    for match in REFERENCE.finditer(text):
        name = _name(match)
        if name is None:
            value = "$" if match["special"] == "$" else ""
        elif name in keep or (match["percent"] and name not in mapping):
            value = match[0]
        else:
            value = mapping.get(name, "")
        pieces += (text[end : match.start()], value)
        length += match.start() - end + len(value)
        end = match.end()
        if length > MAX_VALUE_LENGTH:
            raise VariableTooLong(f"a value grows past {MAX_VALUE_LENGTH} characters when ${name} is expanded in it")
    pieces.append(text[end:])
    return "".join(pieces)


def references(text: str) -> frozenset[str]:
    """The names of all variables that `text` refers to."""
    return _references(text) if "$" in text or "%" in text else frozenset()


@lru_cache(maxsize=4096)
def _references(text: str) -> frozenset[str]:
    return frozenset(name for match in REFERENCE.finditer(text) if (name := _name(match)) is not None)


def expand_all(variables: Iterable[Variable], fixed: Mapping[str, str] = NOTHING) -> dict[str, str]:
    """All variables by key, each with its references to the others replaced, whatever their order.

    Below them are `fixed` values, as if they came first and were raw.

    A later variable of the same key wins, and may refer to the one that it replaces (`PATH: "$PATH:/opt"`). `raw`
    values are not expanded, and neither is what they bring into others. A reference that closes a circle is left as
    it is.
    Raises VariableTooLong.
    """
    layers = _by_key(variables)
    for key in layers.keys() & fixed.keys():
        layers[key].insert(0, Variable(key=key, value=fixed[key], raw=True))
    done = {**fixed}
    for key, same_key in layers.items():
        last = same_key[-1]
        if last.raw or ("$" not in last.value and "%" not in last.value):
            done[key] = last.value  # most values refer to nothing: they are done at once
        else:
            done.pop(key, None)
    length = sum(map(len, done.values()))
    for key in [key for key in layers if key not in done]:  # in order: a circle is broken at its first variable
        length = _resolve(key, layers, done, length)
    return done


def expand_with(text: str, variables: Iterable[Variable]) -> str:
    """`text` with what its references come to among `variables`, as in `expand_all`; those to unknown names stay, also
    within the values that it brings in. Raises VariableTooLong.
    """
    names = references(text)
    layers = _by_key(variables)
    done: dict[str, str] = {}
    length = 0
    for name in sorted(names & layers.keys()):
        length = _resolve(name, layers, done, length, keep_unknown=True)
    return expand(text, done, keep=names - done.keys())


def _by_key(variables: Iterable[Variable]) -> dict[str, list[Variable]]:
    layers: dict[str, list[Variable]] = {}
    for variable in variables:
        layers.setdefault(variable.key, []).append(variable)
    return layers


def _name(match: re.Match[str]) -> str | None:
    """The variable that a reference names; None for `$$` and the shell's own `$1`, `$?`, ..."""
    return match["braced"] or match["plain"] or match["percent"]


def _resolve(
    key: str, layers: Mapping[str, list[Variable]], done: dict[str, str], length: int, *, keep_unknown: bool = False
) -> int:
    """Fills `done[key]` and all that it needs, with a stack of its own: a chain of variables may be long.

    Returns how long all values are together; `length` is how long they were.
    """
    entered: set[str] = set()
    stack = [key]
    while stack:
        name = stack[-1]
        if name in done:
            stack.pop()
        elif name in entered:
            done[name] = _value(layers[name], layers, done, keep_unknown=keep_unknown)
            length += len(done[name])
            if length > MAX_TOTAL_LENGTH:
                raise VariableTooLong(f"all variables together grow past {MAX_TOTAL_LENGTH} characters")
        else:
            entered.add(name)
            needed = {n for variable in layers[name] if not variable.raw for n in references(variable.value)}
            stack.extend(n for n in sorted(needed) if n in layers and n not in done and n not in entered)
    return length


def _value(
    same_key: list[Variable], layers: Mapping[str, list[Variable]], done: dict[str, str], *, keep_unknown: bool
) -> str:
    """The last one's value, expanded; a reference to its own key is to the one before it."""
    value: str | None = None
    for variable in same_key:
        if variable.raw:
            value = variable.value
            continue
        known = done if value is None else ChainMap({variable.key: value}, done)
        kept = {n for n in references(variable.value) if n not in known and (keep_unknown or n in layers)}
        value = expand(variable.value, known, keep=kept)
    return value or ""
