"""`spec:inputs` and `$[[ ... ]]`: inputs of an included file, interpolated before anything else. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.expression import BadExpression, parse
from pipeline.keywords import FIELDS
from pipeline.nodes import Map, Mark, Origin, Reference, Seq, Value, kind_of, shown, text_of
from pipeline.problems import Report, fatal, nearest
from pipeline.schema import Check, Fields
from pipeline.yaml_loader import MAX_FILE_BYTES, load, plain_value
from protocol.job_inputs import has_type, mismatch
from protocol.variables import expand

MAX_FUNCTIONS = 3
"""Maximum number of functions in one block, as in GitLab."""
_BLOCK = re.compile(r"\$\[\[\s*(.*?)\s*\]\]", re.DOTALL)
_ACCESS = re.compile(r"(inputs|component)\.(.+)\Z", re.DOTALL)
_STEP = re.compile(r"\[(?P<index>\d{1,6})\]|\.(?P<key>[^.\[\]]+)")
"""A step from a list to an item, or from a mapping to a value."""
_TRUNCATE = re.compile(r"truncate\(\s*(\d{1,6})\s*,\s*(\d{1,6})\s*\)\Z")
_SPLIT = re.compile(r"split\('([^']+)'\)\Z")
_MATRIX = re.compile(r"matrix\.")
_INPUT = re.compile(r"\$\[\[\s*inputs\.(.+?)\s*\]\]")
_UNSAFE = re.compile(r"[^A-Za-z0-9_\-.,:+/@\n]")
"""Characters special to a shell; the set is that of Ruby's `shellescape`, which GitLab uses."""


class Written(str):
    """An input's value from the command line; its meaning depends on the input's type."""

    __slots__ = ()

    def of_type(self, kind: str, name: str, report: Report) -> Value:
        """Converts the value to the input's type. Raises PipelineFileError for a list that is not YAML."""
        if kind == "string":
            return str(self)
        if kind != "array":
            return plain_value(self)
        documents = load(self.encode("utf-8", "surrogateescape"), Origin(f"--input {name}"), report)
        return documents[0] if len(documents) == 1 else str(self)


@dataclass(slots=True)
class Context:
    """Names available to `$[[ ... ]]` in one file. `component` is set for files included as a component."""

    inputs: Mapping[str, Value]
    component: Mapping[str, str] | None = None
    variables: Mapping[str, str] = field(default_factory=dict)


def split_header(documents: list[Value], origin: Origin, report: Report) -> tuple[Map | None, Value]:
    """Splits a file into its `spec` (None without a header) and its pipeline."""
    first = documents[0] if documents else None
    if not isinstance(first, Map) or "spec" not in first:
        if len(documents) > 1:
            mark = documents[1].mark if isinstance(documents[1], Map | Seq) else Mark(origin, 0)
            what = "the second YAML document has no effect: two are read only if the first one is a `spec`"
            report.warning(what, mark, mend="remove the `---` between them")
        return None, first
    if len(documents) < 2:
        raise fatal(
            "the file has a `spec` and no pipeline", first.at("spec"), "spec", "write `---` and the pipeline below it"
        )
    Check(report, FIELDS).value(first, Fields("header"), Mark(origin, 1), "")
    spec = first["spec"]
    return (spec if isinstance(spec, Map) else Map(first.at("spec"))), documents[1]


def resolve_inputs(spec: Map | None, given: Map, report: Report) -> dict[str, Value]:
    """Each input's checked value: the given one, else its default. Problems go into the report."""
    declared = spec.get("inputs") if spec is not None else None
    known = declared if isinstance(declared, Map) else Map(given.mark)
    for name, _, mark in given.entries():
        if name not in known:
            reason = "the included file declares no such input"
            report.problem(reason, mark, f"inputs.{name}", nearest(name, known))
    resolving = _Resolving(known, given, report)
    return {name: resolving.value_of(name) for name in known if resolving.has_value(name)}


class _Resolving:
    """Resolves one file's inputs; an input whose `rules` refer to others is resolved after them."""

    def __init__(self, known: Map, given: Map, report: Report) -> None:
        self._known = known
        self._given = given
        self._report = report
        self._values: dict[str, Value] = {}
        self._asked: list[str] = []
        self._done: set[str] = set()

    def has_value(self, name: str) -> bool:
        """Whether the input has a valid value; resolves it if necessary."""
        if name in self._asked:
            circle = " -> ".join((*self._asked[self._asked.index(name) :], name))
            raise fatal(f"is circular: {circle}", self._known.at(name), f"spec.inputs.{name}.rules")
        if name not in self._done:
            self._asked.append(name)
            self._resolve(name)
            self._asked.pop()
            self._done.add(name)
        return name in self._values

    def value_of(self, name: str) -> Value:
        """The input's value; empty if it has none."""
        return self._values.get(name) if self.has_value(name) else None

    def _resolve(self, name: str) -> None:
        written, mark = self._known[name], self._known.at(name)
        details = written if isinstance(written, Map) else Map(mark)
        rules = details.get("rules")
        if isinstance(rules, Seq):
            details = self._with_rule(name, details, rules)
        value, place = details.get("default"), mark
        if self._given.get(name) is not None:
            value, place = self._given[name], self._given.at(name)
            if isinstance(value, Written):
                value = value.of_type(_type_of(details), name, self._report)
        if value is None and "default" not in details:
            self._report.problem(
                "the input has no value and no default", mark, f"spec.inputs.{name}", "pass it in `inputs`"
            )
        elif not (value is None and rules) and (complaint := _complaint(value, details)):
            self._report.problem(complaint, place, f"inputs.{name}")
        else:
            self._values[name] = "" if value is None and rules and _type_of(details) == "string" else value

    def _with_rule(self, name: str, details: Map, rules: Seq) -> Map:
        """An input with the options and default of its first matching rule; the default is the rule's first option
        unless it names one. If no rule matches, an input of type string is empty, and one of another type needs a rule
        with a default.
        """
        found = [rule for rule in rules if isinstance(rule, Map)]
        given = "default" in details
        if _type_of(details) == "string" or any("default" in rule or rule.get("if") is None for rule in found):
            details = details.having("default", details.get("default"), details.mark)
        for number, rule in enumerate(found):
            condition = rule.get("if")
            key = f"spec.inputs.{name}.rules[{number}].if"
            if isinstance(condition, str) and not self._holds(condition, rule.at("if"), key):
                continue
            options = rule.get("options")
            if isinstance(options, Seq) and options and "default" not in rule and not given:
                details = details.having("default", options[0], rule.at("options"))
            for part, value, where in rule.without("if").entries():
                details = details.having(part, value, where)
            break
        return details

    def _holds(self, condition: str, mark: Mark, key: str) -> bool:
        """Whether an expression over `$[[ inputs.NAME ]]` holds."""
        names = {name: f"input_{number}" for number, name in enumerate(_INPUT.findall(condition))}
        for name in names:
            if name not in self._known:
                self._report.problem(f"unknown input {name!r}", mark, key, nearest(name, self._known))
                return False
        values = {variable: _comparable(self.value_of(name)) for name, variable in names.items()}
        try:
            return parse(_INPUT.sub(lambda match: f"${names[match[1]]}", condition)).holds(values)
        except BadExpression as error:
            self._report.problem(f"{shown(condition)} is not a valid expression: {error}", mark, key)
            return False


def _type_of(details: Map) -> str:
    return str(details.get("type") or "string")


def _comparable(value: Value) -> str | bool | None:
    """An input's value in an expression: booleans and null keep their type."""
    return value if value is None or isinstance(value, bool) else _text(value)


def _complaint(value: Value, details: Map) -> str:
    """Why the value is not valid for the input; empty if it is."""
    kind = _type_of(details)
    if not has_type(value, kind) and not (value is None and kind == "string"):
        return f"the input takes a value of type {kind}, not {kind_of(value)}"
    options, regex = details.get("options"), details.get("regex")
    among = mismatch(value, options, None) if isinstance(options, Seq) else ""
    return among or mismatch(_text(value), [], bare_regex(regex) if isinstance(regex, str) else None)


def bare_regex(regex: str) -> str:
    """An input's regular expression without the slashes around it."""
    return regex[1:-1] if len(regex) > 1 and regex.startswith("/") and regex.endswith("/") else regex


def interpolate(value: Value, context: Context, mark: Mark) -> Value:
    """Replaces all `$[[ ... ]]` in keys and strings; a string consisting of a single block keeps the value's type.

    Raises PipelineFileError for a block with an unknown name.
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
            raise fatal(f"$[[ {block[:60]} ]] is unknown here", mark, mend="write $[[ inputs.NAME ]]")
        if match[1] == "inputs":
            return self._input(match[2], mark)
        component = self._context.component
        if component is None:
            raise fatal(f"{name} is only available in a file included as a component", mark)
        if match[2] not in component:
            raise fatal(f"{name} is unknown", mark, mend=nearest(match[2], component))
        return component[match[2]]

    def _input(self, path: str, mark: Mark) -> Value:
        """The value of an input, or an item in it: `list[0]`, `list[0].key`. Names may contain any characters."""
        inputs = self._context.inputs
        found = [name for name in inputs if path == name or path.startswith((f"{name}[", f"{name}."))]
        if not found:
            mend = nearest(path, inputs)
            raise fatal(f"`spec:inputs` of this file has no {shown(path)}", mark, mend=mend)
        name = max(found, key=len)
        value, position = inputs[name], len(name)
        while position < len(path):
            step = _STEP.match(path, position)
            if step is None:
                raise fatal(
                    f"inputs.{shown(path)} is not a path to an item of input {shown(name)}", mark, mend="[NUMBER]"
                )
            here = f"inputs.{path[: step.end()]}"
            if step["index"] is not None:
                if not isinstance(value, Seq) or int(step["index"]) >= len(value):
                    count = f"a list of {len(value)}" if isinstance(value, Seq) else kind_of(value)
                    raise fatal(f"there is no {here}: inputs.{path[:position]} is {count}", mark)
                value = value[int(step["index"])]
            else:
                if not isinstance(value, Map) or step["key"] not in value:
                    raise fatal(f"there is no {here}", mark)
                value = value[step["key"]]
            position = step.end()
        return value

    def _applied(self, function: str, text: str, mark: Mark) -> Value:
        if function == "expand_vars":
            return expand(text, self._context.variables)
        if function == "posix_escape":
            return _UNSAFE.sub(r"\\\g<0>", text).replace("\n", "'\n'") or "''"
        if cut := _TRUNCATE.match(function):
            return text[int(cut[1]) : int(cut[1]) + int(cut[2])]
        if split := _SPLIT.match(function):
            parts = (part.strip() for part in text.split(split[1]))
            return Seq(mark, ((part, mark) for part in parts if part))
        mend = "available: expand_vars, truncate(OFFSET, LENGTH), posix_escape and split('SEPARATOR')"
        raise fatal(f"unknown function {shown(function)} in $[[ ... ]]", mark, mend=mend)


def _text(value: Value) -> str:
    """A value embedded in a string; lists and mappings are written as JSON."""
    if isinstance(value, Seq | Map):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value) if isinstance(value, Reference) else text_of(value)
