"""Artifacts on the user's disk, as the command line fetches them."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import jsonschema

from tests.support.system import System, repository

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "schemas" / "artifacts.json").read_text())
FILE = """
default: {image: longshore/busybox:test}
stages: [make, use]
build 1/2:
  stage: make
  script:
    - mkdir -p out/bin && echo tool > out/bin/tool && chmod 750 out/bin/tool && ln -s bin/tool out/link
    - echo '<testsuite><testcase name="t"/></testsuite>' > junit.xml
  artifacts: {paths: [out], reports: {junit: junit.xml}}
late:
  stage: use
  needs: []
  script: [echo late > late]
  artifacts: {paths: [late], expire_in: 1 day}
plain:
  stage: use
  script: [test -f out/bin/tool]
child:
  stage: use
  trigger: {include: child.yml, strategy: depend}
"""
CHILD = "inner: {image: longshore/busybox:test, script: [echo inner > inner], artifacts: {paths: [inner]}}\n"


def test_a_run_lays_artifacts_and_the_verb_lists_and_fetches_them(fleet: System, tmp_path: Path) -> None:
    project = repository(tmp_path / "artifacts", {".gitlab-ci.yml": FILE, "child.yml": CHILD})
    ran = fleet.command("run", "--plain", "--artifacts", "laid", cwd=project)
    assert (ran.status, (project / "laid/late/late").read_text()) == (0, "late\n"), ran.err
    built = project / "laid/build_1_2"
    assert (built / "junit.xml").read_text().startswith("<testsuite>")
    assert stat.S_IMODE((built / "out/bin/tool").stat().st_mode) == 0o750
    assert (built / "out/link").read_text() == "tool\n"
    assert (project / "laid/child/inner/inner").read_text() == "inner\n"
    assert sorted(path.name for path in (project / "laid").iterdir()) == ["build_1_2", "child", "late"]
    (run,) = (
        each["id"]
        for each in fleet.command("list", "--project", "local/artifacts", "--json").json
        if each["parent"] is None
    )

    def asked(*arguments: str) -> list[dict[str, object]]:
        document = fleet.command("artifacts", str(run), *arguments, "--json", cwd=project).json
        jsonschema.validate(document, SCHEMA)
        return list(document)

    assert [(row["job"], row["kind"], row["name"]) for row in asked()] == [
        ("build 1/2", "archive", "artifacts"),
        ("build 1/2", "junit", "junit.xml"),
        ("late", "archive", "artifacts"),
    ]
    assert [(row["path"], row["kind"], row["mode"], row["target"]) for row in asked("build 1/2")] == [
        ("out", "directory", "0755", None),
        ("out/bin", "directory", "0755", None),
        ("out/bin/tool", "file", "0750", None),
        ("out/link", "link", "0777", "bin/tool"),
        ("junit.xml", "junit", None, None),
    ]
    assert [row["path"] for row in asked("build 1/2", "out/*/tool", "*.xml")] == ["out/bin/tool", "junit.xml"]
    assert asked("build 1/2", "out/bin", "-o", "one") == [
        {"job": "build 1/2", "directory": "one", "files": 1, "size": 5}
    ]
    assert (project / "one/out/bin/tool").read_text() == "tool\n"
    assert [row["directory"] for row in asked("-o", "all")] == ["all/build_1_2", "all/late"]
    shown = fleet.command("artifacts", str(run), "build 1/2", "out/bin", "-o", "-")
    assert (shown.status, shown.out, shown.err) == (0, "tool\n", "")
    for arguments, said in (
        (["build 1/2", "-o", "-"], "-o - writes one file, and 2 of job 'build 1/2' match: junit.xml, out/bin/tool"),
        (["build 1/2", "nope"], "job 'build 1/2' has no artifact 'nope'"),
        (["plain"], f"job 'plain' of run {run} has no artifacts"),
        (["-o", "-"], "-o - writes one file to stdout; name its JOB"),
    ):
        refused = fleet.command("artifacts", str(run), *arguments)
        assert (refused.status, said in refused.err) == (2, True), refused.err


def test_artifacts_that_can_not_be_laid_fail_the_command_but_not_the_run(fleet: System, tmp_path: Path) -> None:
    job = "job: {image: longshore/busybox:test, script: [echo x > x], artifacts: {paths: [x]}}\n"
    project = repository(tmp_path / "unlaid", {".gitlab-ci.yml": job})
    (project / "laid/job/x").mkdir(parents=True)
    ran = fleet.command("run", "--plain", "--artifacts", "laid", cwd=project)
    assert ran.status == 1
    assert "the artifacts of job are not in laid/job: laid/job/x is a directory here and a file there" in ran.err
    assert fleet.command("list", "--project", "local/unlaid", "--json").json[0]["status"] == "success"
    assert "--artifacts needs a run that is followed" in fleet.command("run", "-d", "--artifacts", "x", cwd=project).err
