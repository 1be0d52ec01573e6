"""docs/architecture.md is made from the code's own imports."""

from __future__ import annotations

import subprocess
import sys

from tests.conftest import ROOT


def test_the_page_shows_the_imports_as_they_are() -> None:
    checked = subprocess.run([sys.executable, "scripts/architecture.py", "--check"], cwd=ROOT)
    assert checked.returncode == 0, "run `make architecture`"
