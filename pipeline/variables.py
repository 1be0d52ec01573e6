"""A job's variables: which it has, in which order they count, and what they are when it is decided about. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pipeline.nodes import Map, Seq, Value, text_of
from protocol.plan import Variable
from protocol.variables import references


def variables_of(value: Value) -> list[Variable]:
    """What `variables:` says, with `expand: false` as `raw`."""
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
    """Variables whose values are not looked into for others: a commit's message may hold anything."""
    return [Variable(key=key, value=value, raw=True) for key, value in values.items()]


def inherited_variables(job: Map, variables: list[Variable]) -> list[Variable]:
    """The global variables that a job takes, as its `inherit` says."""
    inherit = job.get("inherit")
    allowed = inherit.get("variables") if isinstance(inherit, Map) else None
    if allowed is False:
        return []
    if isinstance(allowed, Seq):
        return [variable for variable in variables if variable.key in allowed]
    return variables


def layered(*layers: Iterable[Variable]) -> list[Variable]:
    """All layers, lowest first; of one key the last is kept, and those that it builds on (`PATH: "$PATH:/opt"`)."""
    kept: list[Variable] = []
    wanted: dict[str, bool] = {}
    for variable in reversed([variable for layer in layers for variable in layer]):
        if wanted.get(variable.key, True):
            kept.append(variable)
            wanted[variable.key] = not variable.raw and variable.key in references(variable.value)
    return kept[::-1]


def _text(value: Value) -> str:
    return text_of(value) if value is None or isinstance(value, str | int | float) else ""
