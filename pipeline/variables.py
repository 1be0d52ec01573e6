"""A job's variables: their set, precedence, and values at compile time. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pipeline.nodes import Map, Seq, Value, text_of
from protocol.plan import Variable
from protocol.variables import references


def variables_of(value: Value) -> list[Variable]:
    """The variables of `variables:`, with `expand: false` as `raw`."""
    found: list[Variable] = []
    for key, item in value.items() if isinstance(value, Map) else ():
        if isinstance(item, Map):
            content = item.get("value")
            raw = item.get("expand") is False
            found.append(Variable(key=key, value=_text(content), raw=raw))
        else:
            found.append(Variable(key=key, value=_text(item)))
    return found


def fixed(values: Mapping[str, str]) -> list[Variable]:
    """Variables with literal values, never expanded: a commit's message may contain anything."""
    return [Variable(key=key, value=value, raw=True) for key, value in values.items()]


def inherited_variables(job: Map, variables: list[Variable]) -> list[Variable]:
    """The global variables that a job inherits, per its `inherit`."""
    inherit = job.get("inherit")
    allowed = inherit.get("variables") if isinstance(inherit, Map) else None
    if allowed is False:
        return []
    if isinstance(allowed, Seq):
        return [variable for variable in variables if variable.key in allowed]
    return variables


def layered(*layers: Iterable[Variable]) -> list[Variable]:
    """All layers, lowest first; of each key the last is kept, plus those it builds on (`PATH: "$PATH:/opt"`)."""
    kept: list[Variable] = []
    wanted: dict[str, bool] = {}
    for variable in reversed([variable for layer in layers for variable in layer]):
        if wanted.get(variable.key, True):
            kept.append(variable)
            wanted[variable.key] = not variable.raw and variable.key in references(variable.value)
    return kept[::-1]


def _text(value: Value) -> str:
    return text_of(value) if value is None or isinstance(value, str | int | float) else ""
