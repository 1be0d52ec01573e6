"""The project's own CI/CD variables, which GitLab keeps in its settings: here in a file beside the pipeline file.

Name and format are those of the peer gitlab-ci-local, so that its users' files work: `NAME: value`, or
`NAME: {type: variable|file, values: {"*": value}}`. Unlike in the peer, a path as value is never read as a file: a
repository that carries such a file must not gain access to the user's files.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.includes.sources import read_file
from pipeline.nodes import Map, Mark, Origin, Value, kind_of, shown
from pipeline.problems import Report, fatal, nearest
from pipeline.yaml_loader import load
from protocol.errors import LongshoreError
from protocol.plan import Variable
from protocol.variables import VARIABLE_NAME

FILE_NAME = ".gitlab-ci-local-variables.yml"
EVERYWHERE = "*"
"""Scope of a value that applies to all environments."""
KINDS = ("variable", "file")
KEYS = ("type", "values")


def project_variables(folder: Path, report: Report) -> list[Variable]:
    """The variables of the file in `folder`; empty if it does not exist. Problems go into the report.

    Raises PipelineFileError if the file can't be read at all.
    """
    origin = Origin(FILE_NAME)
    try:
        data = read_file(folder / FILE_NAME)
    except LongshoreError as error:
        raise fatal(str(error), Mark(origin, 0)) from None
    return parsed_variables(data, report) if data is not None else []


def parsed_variables(data: bytes, report: Report) -> list[Variable]:
    """The variables of the content of such a file. Problems go into the report. Raises PipelineFileError."""
    origin = Origin(FILE_NAME)
    documents = load(data, origin, report, as_written=True)
    if not documents or documents == [""]:
        return []
    content = documents[0]
    if len(documents) > 1 or not isinstance(content, Map):
        what = "has two documents" if len(documents) > 1 else f"must be a mapping, not {kind_of(content)}"
        raise fatal(what, Mark(origin, 1), mend="write one `NAME: value` per line")
    made = [_variable(key, value, mark, report) for key, value, mark in content.entries()]
    return [variable for variable in made if variable is not None]


def _variable(key: str, value: Value, mark: Mark, report: Report) -> Variable | None:
    if not VARIABLE_NAME.fullmatch(key):
        report.problem(f"{shown(key)} is not a valid variable name", mark, mend="letters, digits and `_`")
        return None
    if isinstance(value, str):
        if value.startswith(("/", "~/")):
            report.warning(
                "is taken as text: no file is read", mark, key, "`type: file` with the content, if it is one"
            )
        return Variable(key=key, value=value)
    if not isinstance(value, Map):
        report.problem(f"must be a string or a mapping, not {kind_of(value)}", mark, key)
        return None
    for unknown in value.keys() - set(KEYS):
        report.problem("unknown keyword", value.at(unknown), f"{key}.{unknown}", nearest(unknown, KEYS))
    kind = value.get("type", KINDS[0])
    if kind not in KINDS:
        report.problem(f"must be one of {', '.join(KINDS)}", value.at("type"), f"{key}.type")
    return _of_scope(key, value.get("values"), value.at("values"), report, is_file=kind == "file")


def _of_scope(key: str, values: Value, mark: Mark, report: Report, *, is_file: bool) -> Variable | None:
    if not isinstance(values, Map) or not all(isinstance(value, str) for value in values.values()):
        report.problem("must be a mapping of environments to strings", mark, f"{key}.values", f"`{EVERYWHERE}: value`")
        return None
    for scope, _, where in values.entries():
        if scope != EVERYWHERE:
            what = f"values for single environments are ignored; that of `{EVERYWHERE}` applies to all"
            report.warning(what, where, f"{key}.values")
    content = values.get(EVERYWHERE)
    return Variable(key=key, value=content, raw=is_file, file=is_file) if isinstance(content, str) else None
