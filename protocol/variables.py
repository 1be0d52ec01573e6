"""Expands `$NAME`, `${NAME}` and `%NAME%` in values as GitLab and its runner do. Pure.

The compiler expands values that must be known before a run (includes, rules, environment names), the worker those only
known at run time (image names, cache keys, the final environment of a script).
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
"""Maximum length of an expanded value in characters: more than any shell's environment takes."""
MAX_TOTAL_LENGTH = 16 << 20
"""Maximum total length of one job's values, in characters."""

NOTHING: Mapping[str, str] = MappingProxyType({})

VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
"""A name that every shell accepts."""
REFERENCE = re.compile(
    r"\$(?:\{(?P<braced>[^}]*)\}"
    rf"|(?P<plain>{VARIABLE_NAME.pattern})"
    r"|(?P<special>[$*#@!?\-0-9]))"
    rf"|%(?P<percent>{VARIABLE_NAME.pattern})%"
)


class VariableTooLong(LongshoreError):
    """An expanded value would exceed `MAX_VALUE_LENGTH`, or all values together `MAX_TOTAL_LENGTH`."""

    exit_status = 2


def expand(text: str, mapping: Mapping[str, str], *, keep: Collection[str] = ()) -> str:
    """`text` with all references replaced once: references within the replaced values are not expanded.

    An unknown name becomes empty and `$$` becomes `$`, as in GitLab Runner; an unknown `%NAME%` stays, as in GitLab.
    References to names in `keep` stay. Raises VariableTooLong.
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
    """All variables by key, with references between them replaced, in whatever order they are defined.

    `fixed` values have the lowest precedence, as if they came first and were raw.

    A later variable of the same key wins, and may refer to the one that it replaces (`PATH: "$PATH:/opt"`). `raw`
    values are not expanded, not even within the values that refer to them. A reference that closes a cycle stays.
    Raises VariableTooLong.
    """
    layers = _by_key(variables)
    for key in layers.keys() & fixed.keys():
        layers[key].insert(0, Variable(key=key, value=fixed[key], raw=True))
    done = {**fixed}
    for key, same_key in layers.items():
        last = same_key[-1]
        if last.raw or ("$" not in last.value and "%" not in last.value):
            done[key] = last.value  # fast path: most values have no references
        else:
            done.pop(key, None)
    length = sum(map(len, done.values()))
    for key in [key for key in layers if key not in done]:  # in order: a cycle is broken at its first variable
        length = _resolve(key, layers, done, length)
    return done


def expand_with(text: str, variables: Iterable[Variable]) -> str:
    """`text` with its references expanded from `variables`, as in `expand_all`.

    References to unknown names stay, also within the replaced values. Raises VariableTooLong.
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
    """The name of the referenced variable; None for `$$` and the shell's own `$1`, `$?`, ..."""
    return match["braced"] or match["plain"] or match["percent"]


def _resolve(
    key: str, layers: Mapping[str, list[Variable]], done: dict[str, str], length: int, *, keep_unknown: bool = False
) -> int:
    """Fills `done[key]` and everything that it refers to. Iterative, as a chain of references may be long.

    Takes and returns the total length of all values.
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
    """The expanded value of the last variable of a key; a reference to its own key means the previous one."""
    value: str | None = None
    for variable in same_key:
        if variable.raw:
            value = variable.value
            continue
        known = done if value is None else ChainMap({variable.key: value}, done)
        kept = {n for n in references(variable.value) if n not in known and (keep_unknown or n in layers)}
        value = expand(variable.value, known, keep=kept)
    return value or ""
