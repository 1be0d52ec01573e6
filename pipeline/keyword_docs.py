"""Generates the tables in docs/pipeline-file.md from keywords/ and runner_variables.py, so that they can't diverge.

Run it as `python -m pipeline.keyword_docs docs/pipeline-file.md`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from pipeline import runner_variables
from pipeline.keywords import SECTIONS
from pipeline.keywords.kinds import Keyword

BEGIN = "<!-- keywords: written by pipeline/keyword_docs.py -->"
END = "<!-- end of keywords -->"
BEGIN_RUNNER_VARIABLES = "<!-- runner variables: written by pipeline/keyword_docs.py -->"
END_RUNNER_VARIABLES = "<!-- end of runner variables -->"
_PLACES = {
    "global": "",
    "header": "",
    "variable": "variables:",
    "workflow.rule": "workflow:rules:",
    "auto_cancel": "workflow:auto_cancel:",
    "include.rule": "include:rules:",
    "spec.input": "spec:inputs:",
    "spec.input.rule": "spec:inputs:rules:",
    "job": "",
    "need": "needs:",
    "policy": "only:",
    "rule": "rules:",
}
"""GitLab's notation for the mappings that contain keywords."""


def display_name(path: str) -> str:
    """A keyword in the notation of GitLab's reference: `job.cache.key` is `cache:key`."""
    place = max((known for known in _PLACES if path.startswith(f"{known}.")), key=len, default="")
    rest = path[len(place) + 1 :] if place else path
    return _PLACES.get(place, "") + rest.replace(".", ":")


def table() -> str:
    """The table in Markdown, by section, one row per keyword."""
    lines: list[str] = []
    for title, keywords in SECTIONS.items():
        lines += [f"### {title}", "", "| keyword | here | how, or why |", "| --- | --- | --- |"]
        lines += [*(_row(keyword) for keyword in keywords), ""]
    return "\n".join(lines).rstrip()


def _row(keyword: Keyword) -> str:
    return f"| `{display_name(keyword.path)}` | {keyword.status.value} | {keyword.note} |"


def with_tables(text: str) -> str:
    """The document with the tables between their markers replaced."""
    for begin, end, written in (
        (BEGIN, END, table()),
        (BEGIN_RUNNER_VARIABLES, END_RUNNER_VARIABLES, runner_variables.table()),
    ):
        before, _, rest = text.partition(begin)
        _, _, after = rest.partition(end)
        text = f"{before}{begin}\n\n{written}\n\n{end}{after}"
    return text


if __name__ == "__main__":
    document = Path(sys.argv[1])
    document.write_text(with_tables(document.read_text()))
