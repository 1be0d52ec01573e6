"""The inputs of jobs: the values that users give them, and the jobs that result. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeVar, cast

import msgspec

from protocol.decoders import from_json
from protocol.errors import LongshoreError
from protocol.moa.evaluation import render
from protocol.moa.syntax import BadExpression
from protocol.moa.values import Budget, Value, plain
from protocol.plan import ArtifactsSpec, CacheSpec, ImageSpec, InputValue, JobInput, JobPlan, ServiceSpec
from protocol.regular_expressions import BadPattern, compile_regex

MAX_VALUE_LENGTH = 64 << 10
"""Maximum length of a value as JSON, in characters, as in GitLab."""
MAX_TEXT_LENGTH = 512 << 10
"""Maximum total length of one job's texts with expressions and of the values in them, in characters."""

OF_JOB = ("before_script", "script", "after_script", "image", "services", "artifacts", "caches")
"""Parts of a job that may contain expressions; those within its texts are the runner's."""
VERBATIM: dict[type[msgspec.Struct], frozenset[str]] = {
    ImageSpec: frozenset({"pull_policy"}),
    ServiceSpec: frozenset({"pull_policy", "aliases", "variables"}),
    ArtifactsSpec: frozenset({"when", "expose_as"}),
    CacheSpec: frozenset({"when", "key_files"}),
}
"""Fields of these parts that GitLab leaves as they are, or allows only fixed words in."""

T = TypeVar("T", bound=msgspec.Struct)


class BadInput(LongshoreError):
    """A value that a job's input can't have, or with which its expressions have none; the message names the input."""

    exit_status = 2


def current(job: JobPlan, given: Mapping[str, InputValue]) -> dict[str, InputValue]:
    """The values of all the job's inputs: those `given`, and otherwise the defaults."""
    return {name: given.get(name, spec.default) for name, spec in job.inputs.items()}


def changed(job: JobPlan, before: Mapping[str, InputValue], texts: Mapping[str, str]) -> dict[str, InputValue]:
    """The values `before`, with those that a user has written. Raises BadInput if the job can't run with them."""
    for name in texts:
        if name not in job.inputs:
            known = ", ".join(job.inputs)
            has = f"its inputs are {known}" if known else "it has none"
            raise BadInput(f"job {job.name!r} has no input {name!r}; {has}")
    given = {**before}
    for name, text in texts.items():
        try:
            given[name] = _read(text, job.inputs[name])
        except BadInput as error:
            raise BadInput(f"input {name!r} of job {job.name!r}: {error}") from None
    interpolated(job, current(job, given))
    return given


def _read(text: str, spec: JobInput) -> InputValue:
    """The value that a user has written. Raises BadInput without the input's name."""
    value: Any = text
    if len(text) > MAX_VALUE_LENGTH:
        raise BadInput(f"the value is longer than {MAX_VALUE_LENGTH:,} characters")
    if spec.type != "string":
        try:
            value = from_json(text, cast("type[InputValue]", InputValue))
        except (msgspec.MsgspecError, RecursionError, UnicodeError):
            value = text
    if not has_type(value, spec.type):
        example = {"number": "3.14", "boolean": "true or false", "array": 'a JSON array such as ["a", "b"]'}[spec.type]
        raise BadInput(f"{shown(text)} is not of type {spec.type}; write {example}")
    if complaint := mismatch(value, spec.options, spec.regex):
        raise BadInput(complaint)
    result: InputValue = value
    return result


def written(value: InputValue) -> str:
    """A value as a user writes it: a string as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def allowed(spec: JobInput) -> str:
    """What an input may be, for people: `string, one of staging, production`."""
    return spec.type + (f", one of {', '.join(map(written, spec.options))}" if spec.options else "")


def has_type(value: object, kind: str) -> bool:
    """Whether a value has an input's type."""
    match kind:
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "boolean":
            return isinstance(value, bool)
        case "array":
            return isinstance(value, list)
    return isinstance(value, str)


def mismatch(value: Any, options: list[Any], regex: str | None) -> str:
    """Why an input with these options and this regular expression can't have the value; empty if it can."""
    for item in (value if isinstance(value, list) else [value]) if options else ():
        if not any(item == option and isinstance(item, bool) == isinstance(option, bool) for option in options):
            names = ", ".join(shown(option) for option in options[:20])
            return f"{shown(item)} is not among the input's options: {names}"
    if regex is not None:
        try:
            program = compile_regex(regex)
        except BadPattern as error:
            return str(error)
        if program.search(str(value)) is None:
            return f"{shown(value)} does not match the input's regular expression {regex[:60]}"
    return ""


def shown(value: object) -> str:
    """A value for a message: quoted text or JSON, shortened."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    short = text if len(text) <= 60 else text[:59] + "…"
    return repr(short) if isinstance(value, str) else short


def interpolated(job: JobPlan, values: Mapping[str, InputValue], all_jobs: Budget | None = None) -> JobPlan:
    """The job for a worker: without inputs, its expressions replaced by their values.

    Raises BadInput if an expression has no value, or if that takes more than the job's budget, or that of `all_jobs`.
    """
    if not job.inputs:
        return job
    try:
        budget = Budget(MAX_TEXT_LENGTH, all_jobs)
        texts = _Texts(context(values, budget), budget)
        parts = {field: texts.replaced(getattr(job, field)) for field in OF_JOB}
    except BadExpression as error:
        raise BadInput(f"job {job.name!r}: {error}") from None
    return msgspec.structs.replace(job, inputs={}, **parts)


def context(values: Mapping[str, InputValue], budget: Budget) -> dict[str, Value]:
    """The names of a job's expressions. Raises BadExpression."""
    return {"job": {"inputs": {name: plain(value, budget) for name, value in values.items()}}}


class _Texts:
    """Replaces the expressions in the parts of one job."""

    def __init__(self, names: Mapping[str, Value], budget: Budget) -> None:
        self._names = names
        self._budget = budget

    def replaced(self, part: Any) -> Any:
        """A text, a struct or a list of them, with the values of all expressions."""
        if isinstance(part, str):
            return render(part, self._names, self._budget)
        if isinstance(part, list):
            return [self.replaced(item) for item in part]
        return self._struct(part) if isinstance(part, msgspec.Struct) else part

    def _struct(self, part: T) -> T:
        verbatim = VERBATIM.get(type(part), frozenset())
        fields = {name: self.replaced(getattr(part, name)) for name in part.__struct_fields__ if name not in verbatim}
        return msgspec.structs.replace(part, **fields)
