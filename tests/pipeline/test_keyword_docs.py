"""docs/pipeline-file.md says what the code does."""

from __future__ import annotations

from pathlib import Path

from pipeline import compiler, expression, job_compiler, matrix, merge, yaml_loader
from pipeline.includes import resolver
from pipeline.includes.fetching import TEMPLATES_REF
from pipeline.keyword_docs import display_name, with_tables
from pipeline.keywords import FIELDS, KEYWORDS
from pipeline.keywords.kinds import Status
from pipeline.predefined_variables import GITLAB_VERSION
from pipeline.schema import Fields
from protocol import regular_expressions, variables

DOCUMENT = Path(__file__).parents[2] / "docs" / "pipeline-file.md"


def test_the_tables_are_those_of_the_code() -> None:
    text = DOCUMENT.read_text()
    assert with_tables(text) == text, "run: python -m pipeline.keyword_docs docs/pipeline-file.md"


def test_every_keyword_that_does_not_work_says_why() -> None:
    assert [keyword.path for keyword in KEYWORDS if keyword.status is not Status.WORKS and not keyword.note] == []


def test_the_version_of_gitlab_is_the_one_of_the_code() -> None:
    assert f"at the release {TEMPLATES_REF};" in DOCUMENT.read_text()
    row = f"| `CI_SERVER_VERSION` | `{GITLAB_VERSION}`, that of the GitLab whose reference Longshore follows |"
    assert row in (DOCUMENT.parent / "predefined-variables.md").read_text()


def test_keywords_are_named_as_in_gitlab_s_reference() -> None:
    names = {display_name(keyword.path) for keyword in KEYWORDS}
    assert len(names) >= 190
    assert names >= {
        "script",
        "stages",
        "workflow:rules:if",
        "workflow:auto_cancel:on_new_commit",
        "include:rules:exists",
        "spec:inputs:default",
        "cache:key:files",
        "rules:changes:paths",
        "needs:parallel:matrix",
        "only:refs",
    }
    assert not any("." in name for name in names)


def test_every_mapping_of_keywords_is_reached_from_a_keyword() -> None:
    named = {shape.path for keyword in KEYWORDS for shape in _mappings(keyword.shape)}
    assert set(FIELDS) - named == {"global", "header"}


def _mappings(shape: object) -> list[Fields]:
    if isinstance(shape, Fields):
        return [shape]
    inner = getattr(shape, "shapes", None) or [getattr(shape, "item", None)]
    return [found for part in inner if part is not None for found in _mappings(part)]


def test_the_bounds_are_those_of_the_code() -> None:
    bounds = DOCUMENT.read_text().partition("## Limits")[2].partition("## ")[0]
    for number in (
        f"{yaml_loader.MAX_FILE_BYTES >> 20} MB; {resolver.MAX_TOTAL_BYTES >> 20} MB",
        f"{yaml_loader.MAX_VALUES:,}",
        f"{yaml_loader.MAX_DEPTH}; {merge.MAX_LIST_LEVELS}",
        f"| {resolver.MAX_INCLUDES} |",
        f"{merge.MAX_EXTENDS}; {merge.MAX_REFERENCES}",
        f"{merge.MAX_VALUES:,}",
        f"{matrix.MAX_JOBS}; {compiler.MAX_JOBS:,}",
        f"{expression.MAX_LENGTH:,} characters, {expression.MAX_TOKENS:,} parts",
        f"{regular_expressions.MAX_PATTERN_LENGTH:,} characters",
        f"{variables.MAX_VALUE_LENGTH >> 20} MB; {variables.MAX_TOTAL_LENGTH >> 20} MB; "
        f"{job_compiler.MAX_EXPANDED >> 20} MB",
        f"{compiler.MAX_NAME} characters",
    ):
        assert number in bounds
