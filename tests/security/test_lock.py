"""What development and CI install is pinned, by hash, and is all that the project asks for."""

from __future__ import annotations

import re
import tomllib

from tests.conftest import ROOT

NAME = re.compile(r"[A-Za-z0-9._-]+")


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def locked() -> dict[str, str]:
    """What is pinned, by name, with its hashes."""
    text = (ROOT / "requirements-dev.lock").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return {normal(NAME.match(line)[0]): line for line in lines}  # type: ignore[index]


def test_every_dependency_is_in_the_lock_file_and_everything_in_it_has_hashes() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    pinned = locked()
    missing = [name for text in wanted if (name := normal(NAME.match(text)[0])) not in pinned]  # type: ignore[index]
    assert not missing, "run `make lock`"
    for line in pinned.values():
        assert re.search(r"^\S+==\S+ .*--hash=sha256:[0-9a-f]{64}", line), line


def test_the_lock_file_names_no_place_to_install_from() -> None:
    assert "://" not in (ROOT / "requirements-dev.lock").read_text()
