"""What the README and docs/ say of verbs, files and functions is so."""

from __future__ import annotations

import re

from cli.main import VERBS
from tests.conftest import ROOT

PACKAGES = ("protocol", "pipeline", "coordinator", "daemon", "tui", "compiler", "web", "cli")


def test_the_readme_names_every_verb_and_no_other() -> None:
    table = re.findall(r"^\| (`[^|]*`) \|", (ROOT / "README.md").read_text(), re.MULTILINE)
    named = {words.split()[0] for row in table for words in re.findall(r"`([^`/]+)`", row)}
    assert named == {name for name, verb in VERBS.items() if not verb.hidden}


def test_the_execution_flow_names_files_and_functions_that_exist() -> None:
    text = (ROOT / "docs" / "execution-flow.md").read_text()
    paths = re.findall(r"`((?:protocol|pipeline|coordinator|daemon|tui|cli)/[\w/]+\.py)`", text)
    assert paths
    assert [path for path in paths if not (ROOT / path).exists()] == []
    code = "\n".join(path.read_text() for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
    functions = re.findall(r"`(?:[A-Z]\w+\.)?([a-z_]+)`", text)
    known = set(re.findall(r"\bdef (\w+)\(", code)) | {"waiting", "needs", "package", "compile"}
    assert sorted({name for name in functions if name not in known}) == []
