"""The `inputs` of a job: their declarations, and the expressions `${{ ... }}` that use them.

Expressions are replaced when the job runs; here they are parsed, and evaluated with the defaults, so that mistakes in
them are errors of the file.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, cast

from pipeline.inputs import bare_regex
from pipeline.job_parts import text
from pipeline.nodes import Map, Mark, Seq, Value, kind_of, text_of
from pipeline.problems import Report, nearest
from protocol.job_inputs import MAX_TEXT_LENGTH, MAX_VALUE_LENGTH, context, has_type, mismatch, written
from protocol.moa.evaluation import render
from protocol.moa.syntax import OPENING, Access, BadExpression, Name, nodes, parse
from protocol.moa.syntax import Literal as Constant
from protocol.moa.values import Budget, plain
from protocol.plan import InputValue, JobInput

Type = Literal["string", "number", "boolean", "array"]

MOST_OPTIONS = 50
"""Maximum number of an input's options, as in GitLab."""
PLACES = ("before_script", "script", "after_script", "image", "services", "artifacts", "cache")
"""Keywords whose texts may contain expressions."""
VERBATIM = frozenset(
    ("when", "pull_policy", "alias", "variables", "files", "files_commits", "expire_in", "expose_as", "kubernetes")
)
"""Keywords within them whose texts may not: GitLab reads them when it creates the pipeline."""
_EXACT = 1 << 53
"""Up to this number, all whole numbers are numbers of expressions."""
_ACCESS = re.compile(r"\$\{\{[^}]*\bjob\.inputs\b")


def declared_inputs(name: str, job: Map, report: Report) -> dict[str, JobInput]:
    """A job's inputs by name. Problems go into the report."""
    inputs = job.get("inputs")
    if not isinstance(inputs, Map):
        return {}
    found: dict[str, JobInput] = {}
    for each, details, mark in inputs.entries():
        declaration = _Declaration(f"{name}.inputs.{each}", details if isinstance(details, Map) else Map(mark), report)
        made = declaration.checked()
        if made is not None:
            found[each] = made
    return found


class _Declaration:
    """One input of a job, as written."""

    def __init__(self, key: str, details: Map, report: Report) -> None:
        self._key = key
        self._details = details
        self._report = report

    def _problem(self, message: str, part: str, mend: str = "") -> None:
        self._report.problem(message, self._details.at(part), f"{self._key}.{part}" if part else self._key, mend)

    def checked(self) -> JobInput | None:
        """The input; None if its declaration is invalid."""
        before = len(self._report.problems)
        details = self._details
        kind = cast(Type, text(details.get("type")) or "string")
        options = self._options(kind)
        regex = text(details.get("regex")) or None
        if regex is not None and kind != "string":
            self._problem("is only for inputs of type string", "regex")
            regex = None
        default = _json_value(details.get("default"))
        if default is None:
            mend = "jobs also run when nobody is there to set an input"
            self._problem("an input of a job must have a default value", "", mend)
        elif not has_type(default, kind):
            mend = "quote it" if kind == "string" and not isinstance(default, list | dict) else ""
            self._problem(f"is of type {kind}, not {kind_of(details['default'])}", "default", mend)
        elif len(written(default)) > MAX_VALUE_LENGTH:
            self._problem(f"is longer than {MAX_VALUE_LENGTH:,} characters", "default")
        elif reason := _unusable(default):
            self._problem(reason, "default")
        elif complaint := mismatch(default, options, regex and bare_regex(regex)):
            self._problem(complaint, "default")
        if len(self._report.problems) > before:
            return None
        return JobInput(
            default=cast(InputValue, default),
            type=kind,
            options=options,
            regex=regex and bare_regex(regex),
            description=text(details.get("description")),
        )

    def _options(self, kind: Type) -> list[InputValue]:
        options = self._details.get("options")
        if not isinstance(options, Seq):
            return []
        if kind == "boolean":
            self._problem("are not for inputs of type boolean", "options")
        if len(options) > MOST_OPTIONS:
            self._problem(f"are more than {MOST_OPTIONS}", "options")
        if kind == "string":  # the number 1.1 stands for the string "1.1", as in GitLab
            return [text_of(option) for option in options if isinstance(option, str | int | float)]
        return [_json_value(option) for option in options]


def _unusable(default: InputValue) -> str:
    """Why an expression can't have the value; empty if it can."""
    try:
        plain(default, Budget(MAX_VALUE_LENGTH))
    except BadExpression as error:
        return str(error)
    return ""


def _json_value(value: Value) -> Any:
    """A value without places; whole numbers that expressions can't hold exactly become floats."""
    if isinstance(value, Seq):
        return [_json_value(item) for item in value]
    if isinstance(value, Map):
        return {key: _json_value(item) for key, item in value.items()}
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > _EXACT:
        return float(value) if abs(value) < 1e300 else math.inf
    return value


def check_expressions(name: str, job: Map, report: Report) -> None:
    """Reports invalid expressions of a job that has inputs, and warns of those that stay as they are.

    `job` has its inherited keywords.
    """
    before = len(report.problems)
    inputs = declared_inputs(name, job, report)
    if len(report.problems) > before:
        return
    try:
        check = _Check(inputs, report)
    except BadExpression as error:
        report.problem(str(error), job.at("inputs"), f"{name}.inputs")
        return
    for key, value, mark in job.without("inputs", "rules").entries():
        for found, place, path in _texts(value, mark, f"{name}.{key}"):
            if OPENING not in found:
                continue
            inner = path.removeprefix(f"{name}.{key}")
            if key in PLACES and not VERBATIM.intersection(re.split(r"[.\[\]]+", inner)):
                if inputs:
                    check.text(found, place, path)
                elif _ACCESS.search(found):
                    report.warning("the job has no `inputs`, so the expression stays as it is", place, path)
            elif _ACCESS.search(found):
                what = "inputs of jobs are not available here: the text stays as it is"
                report.warning(what, place, path, "inputs of the file are: $[[ inputs.NAME ]]")


def _texts(value: Value, mark: Mark, key: str) -> Iterator[tuple[str, Mark, str]]:
    """All texts in a value, with their places."""
    if isinstance(value, str):
        yield value, mark, key
    elif isinstance(value, Map):
        for inner, item, where in value.entries():
            yield from _texts(item, where, f"{key}.{inner}")
    elif isinstance(value, Seq):
        for number, (item, where) in enumerate(value.entries()):
            yield from _texts(item, where, f"{key}[{number}]")


class _Check:
    """Checks the texts of one job that has inputs, as the coordinator evaluates them."""

    def __init__(self, inputs: Mapping[str, JobInput], report: Report) -> None:
        self._inputs = inputs
        self._report = report
        self._budget = Budget(MAX_TEXT_LENGTH)
        self._names = context({name: spec.default for name, spec in inputs.items()}, self._budget)

    def text(self, found: str, mark: Mark, key: str) -> None:
        """Reports unknown names in a text, and an expression that has no value with the defaults."""
        try:
            unknown = list(_unknown(found, self._inputs))
            for problem, mend in unknown:
                self._report.problem(problem, mark, key, mend)
            if not unknown:
                render(found, self._names, self._budget)
        except BadExpression as error:
            self._report.problem(str(error), mark, key)


def _unknown(text: str, inputs: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Names in a text's expressions that do not exist, evaluated or not, with hints. Raises BadExpression."""
    for node in nodes(parse(text)):
        match node:
            case Name(name) if name != "job":
                yield f"unknown name {name!r} in ${{{{ ... }}}}", "write job.inputs.NAME, or \\${{ for a literal ${{"
            case Access(Name("job"), Constant(str(part))) if part != "inputs":
                yield f"there is no job.{part}", "write job.inputs.NAME"
            case Access(Access(Name("job"), Constant("inputs")), Constant(str(part))) if part not in inputs:
                yield f"the job has no input {part!r}", nearest(part, inputs)
