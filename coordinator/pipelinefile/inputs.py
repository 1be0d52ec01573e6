"""`spec:inputs` and `$[[ ... ]]`: what a file takes from whoever includes it, put in before anything else. Pure."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field

from coordinator.pipelinefile.keywords import FIELDS
from coordinator.pipelinefile.patterns import BadPattern, bare_pattern
from coordinator.pipelinefile.report import Report, fatal, nearest
from coordinator.pipelinefile.shapes import Check, Fields
from coordinator.pipelinefile.tree import Map, Mark, Origin, Reference, Seq, Value, kind_of, shown, text_of
from coordinator.pipelinefile.yaml_loader import MAX_FILE_BYTES
from protocol.variables import expand

MAX_FUNCTIONS = 3
"""Functions in one block, as in GitLab."""
_BLOCK = re.compile(r"\$\[\[\s*(.*?)\s*\]\]", re.DOTALL)
_ACCESS = re.compile(r"(inputs|component)\.([\w-]+)\Z")
_TRUNCATE = re.compile(r"truncate\(\s*(\d{1,6})\s*,\s*(\d{1,6})\s*\)\Z")
_MATRIX = re.compile(r"matrix\.")


@dataclass(slots=True)
class Context:
    """What `$[[ ... ]]` may name in one file. `component` is set for files that are included as one."""

    inputs: Mapping[str, Value]
    component: Mapping[str, str] | None = None
    variables: Mapping[str, str] = field(default_factory=dict)


def split_header(documents: list[Value], origin: Origin, report: Report) -> tuple[Map | None, Value]:
    """A file's `spec` (None without a header) and its pipeline."""
    first = documents[0] if documents else None
    if not isinstance(first, Map) or "spec" not in first:
        return None, first
    if len(documents) < 2:
        raise fatal(
            "the file has a `spec` and no pipeline", first.at("spec"), "spec", "write `---` and the pipeline below it"
        )
    Check(report, FIELDS).value(first, Fields("header"), Mark(origin, 1), "")
    spec = first["spec"]
    return (spec if isinstance(spec, Map) else Map(first.at("spec"))), documents[1]


def resolve_inputs(spec: Map | None, given: Map, report: Report) -> dict[str, Value]:
    """The value of each input: what was given, else its default; checked. Problems go into the report."""
    declared = spec.get("inputs") if spec is not None else None
    known = declared if isinstance(declared, Map) else Map(given.mark)
    for name, _, mark in given.entries():
        if name not in known:
            reason = "the file that is included knows no input of that name"
            report.problem(reason, mark, f"inputs.{name}", nearest(name, known))
    values: dict[str, Value] = {}
    for name, rules, mark in known.entries():
        details = rules if isinstance(rules, Map) else Map(mark)
        value, place = (given[name], given.at(name)) if given.get(name) is not None else (details.get("default"), mark)
        if value is None and "default" not in details:
            report.problem("the input has no value and no default", mark, f"spec.inputs.{name}", "pass it by `inputs`")
            continue
        if complaint := _complaint(value, details):
            report.problem(complaint, place, f"inputs.{name}")
            continue
        values[name] = value
    return values


def _complaint(value: Value, details: Map) -> str:
    """Why the value is not what the input takes; nothing if it is."""
    kind = str(details.get("type") or "string")
    fits = {
        "string": isinstance(value, str) or value is None,
        "number": isinstance(value, int | float) and not isinstance(value, bool),
        "boolean": isinstance(value, bool),
        "array": isinstance(value, Seq),
    }
    if not fits.get(kind, True):
        return f"the input takes a value of type {kind}, not {kind_of(value)}"
    options = details.get("options")
    if isinstance(options, Seq):
        for item in value if isinstance(value, Seq) else [value]:
            if item not in options:
                allowed = ", ".join(shown(option) for option in options[:20])
                return f"{shown(item)} is not among the input's options: {allowed}"
    regex = details.get("regex")
    if isinstance(regex, str):
        bare = regex[1:-1] if len(regex) > 1 and regex.startswith("/") and regex.endswith("/") else regex
        try:
            pattern = bare_pattern(bare)
        except BadPattern as error:
            return str(error)
        if not pattern.found_in(_text(value)):
            return f"{shown(value)} does not match the input's regular expression {bare[:60]}"
    return ""


def interpolate(value: Value, context: Context, mark: Mark) -> Value:
    """The value with all `$[[ ... ]]` in keys and strings replaced; a string that is one block alone keeps its type.

    Raises PipelineFileError for a block that names nothing.
    """
    return _Interpolator(context).value(value, mark)


class _Interpolator:
    def __init__(self, context: Context) -> None:
        self._context = context
        self._length = 0

    def value(self, value: Value, mark: Mark) -> Value:
        if isinstance(value, str):
            return self._string(value, mark)
        if isinstance(value, Map):
            changed = Map(value.mark)
            for key, item, where in value.entries():
                name = _text(self._string(key, where))
                changed[name] = self.value(item, where)
                changed.marks[name] = where
            return changed
        if isinstance(value, Seq):
            return Seq(value.mark, [(self.value(item, where), where) for item, where in value.entries()])
        return value

    def _string(self, text: str, mark: Mark) -> Value:
        if "$[[" not in text:
            return text
        whole = _BLOCK.fullmatch(text)
        if whole and "]]" not in whole[1] and not _MATRIX.match(whole[1]):
            return self._block(whole[1], mark)
        replaced = _BLOCK.sub(
            lambda match: match[0] if _MATRIX.match(match[1]) else _text(self._block(match[1], mark)), text
        )
        self._length += len(replaced)
        if self._length > MAX_FILE_BYTES:
            raise fatal(f"its inputs make the file larger than {MAX_FILE_BYTES >> 20} MB", mark)
        return replaced

    def _block(self, block: str, mark: Mark) -> Value:
        name, *functions = (part.strip() for part in block.split("|"))
        if len(functions) > MAX_FUNCTIONS:
            raise fatal(f"$[[ {shown(block)} ]] has more than {MAX_FUNCTIONS} functions", mark)
        value = self._named(name, block, mark)
        for function in functions:
            value = self._applied(function, _text(value), mark)
        return value

    def _named(self, name: str, block: str, mark: Mark) -> Value:
        match = _ACCESS.match(name)
        if match is None:
            raise fatal(f"$[[ {block[:60]} ]] names nothing that is known here", mark, mend="write $[[ inputs.NAME ]]")
        if match[1] == "inputs":
            if match[2] not in self._context.inputs:
                raise fatal(
                    f"`spec:inputs` of this file has no {match[2]!r}",
                    mark,
                    mend=nearest(match[2], self._context.inputs),
                )
            return self._context.inputs[match[2]]
        component = self._context.component
        if component is None:
            raise fatal(f"{name} is only known in a file that is included as a component", mark)
        if match[2] not in component:
            raise fatal(f"{name} is unknown", mark, mend=nearest(match[2], component))
        return component[match[2]]

    def _applied(self, function: str, text: str, mark: Mark) -> str:
        if function == "expand_vars":
            return expand(text, self._context.variables)
        if function == "posix_escape":
            return shlex.quote(text)
        if cut := _TRUNCATE.match(function):
            return text[int(cut[1]) : int(cut[1]) + int(cut[2])]
        mend = "there are expand_vars, truncate(OFFSET, LENGTH) and posix_escape"
        raise fatal(f"unknown function {shown(function)} in $[[ ... ]]", mark, mend=mend)


def _text(value: Value) -> str:
    """A value inside a string: a list or mapping is written as JSON."""
    if isinstance(value, Seq | Map):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value) if isinstance(value, Reference) else text_of(value)
