"""`run --watch` runs again what changed files touch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.eventually import DEADLINE, eventually
from tests.support.system import System, repository

FILE = """
default: {image: longshore/busybox:test}
stages: [make, use]
a: {stage: make, script: [cat a/x > out], artifacts: {paths: [out]}, rules: [{changes: [a/*]}, {when: on_success}]}
b: {stage: make, script: [cat b/x, "sleep $(cat b/time)"], rules: [{changes: [b/*]}, {when: on_success}]}
after-a: {stage: use, needs: [a], script: [cat out], rules: [{changes: [c]}, {when: on_success}]}
"""


def runs_of(system: System) -> list[dict[str, Any]]:
    """The fleet is shared with other tests, and their projects."""
    return list(reversed(system.command("list", "--project", "local/watched", "--json").json))


def jobs_of(system: System, run: int) -> set[str]:
    view = system.command("show", str(run), "--json").json
    return {job["name"] for stage in view["stages"] for job in stage["jobs"]}


def statuses(system: System) -> list[str]:
    return [run["status"] for run in runs_of(system)]


def test_changes_run_what_they_touch_and_cancel_what_is_outdated(fleet: System, tmp_path: Path) -> None:
    files = {".gitlab-ci.yml": FILE, "a/x": "one\n", "b/x": "b\n", "b/time": "0\n", ".gitignore": "*.log\n"}
    project = repository(tmp_path / "watched", files)
    watching = fleet.start("-C", str(project), "run", "--watch", "--plain", "--artifacts", "laid")
    eventually(lambda: watching.said.count("waiting for changes") == 1)
    (project / "noise.log").touch()
    (project / "a/x").write_text("two\n")
    eventually(lambda: watching.said.count("waiting for changes") == 2)
    assert "a/x changed: running a, after-a" in watching.said
    assert (project / "laid/after-a").exists() is False
    assert (project / "laid/a/out").read_text() == "two\n"
    (project / "b/time").write_text("600\n")
    eventually(lambda: statuses(fleet) == ["success", "success", "running"])
    (project / "b/time").write_text("0\n")
    eventually(lambda: watching.said.count("waiting for changes") == 3)
    assert "b/time changed: canceling the run of the files before" in watching.said
    assert statuses(fleet) == ["success", "success", "canceled", "success"]
    assert [jobs_of(fleet, run["id"]) for run in runs_of(fleet)] == [
        {"a", "b", "after-a"}, {"a", "after-a"}, {"b"}, {"b"},
    ]  # fmt: skip
    (project / ".gitlab-ci.yml").write_text(FILE + "  nope: 1\n")
    eventually(lambda: ".gitlab-ci.yml:7" in watching.said)
    (project / ".gitlab-ci.yml").write_text(FILE.replace("cat out", "cat out out"))
    eventually(lambda: len(statuses(fleet)) == 5)
    eventually(lambda: watching.said.count("waiting for changes") == 5)
    assert ".gitlab-ci.yml changed: running all jobs" in watching.said
    watching.interrupt()
    assert watching.popen.wait(DEADLINE) == 130
