"""Pipeline files that can't be run: exit status 2 and one clear message with file and line, never a traceback."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.system import LONGSHORE, System, repository

JOB = "job: {image: longshore/busybox:test, script: [echo x]}\n"
FILES = {
    "broken YAML": ("job:\n  script: [echo\nother: x\n", r".gitlab-ci.yml"),
    "a tab": ("job:\n\tscript: [echo x]\n", ".gitlab-ci.yml:2"),
    "unknown stage": ("stages: [build]\njob:\n  stage: tset\n  script: [echo x]\n", ".gitlab-ci.yml:3"),
    "needs of a job that is not there": ("job:\n  script: [echo x]\n  needs: [jbo]\n", ".gitlab-ci.yml:3"),
    "a cycle of needs": (
        "a:\n  script: [x]\n  needs: [b]\nb:\n  script: [x]\n  needs: [a]\n",
        ".gitlab-ci.yml",
    ),
    "unknown key": ("job:\n  script: [echo x]\n  scirpt: [echo y]\n", ".gitlab-ci.yml:3"),
    "no script": ("job:\n  image: x\n", ".gitlab-ci.yml:1"),
    "wrong type": ("job:\n  script: {a: b}\n", ".gitlab-ci.yml:2"),
    "empty": ("", ".gitlab-ci.yml"),
    "a list": ("- a\n- b\n", ".gitlab-ci.yml:1"),
    "an include that is not there": ("include: other.yml\n" + JOB, "other.yml"),
    "a bad timeout": ("job:\n  script: [x]\n  timeout: soon\n", ".gitlab-ci.yml:3"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_bad_file_is_one_clear_message(system_without_docker: System, tmp_path: Path, name: str) -> None:
    file, place = FILES[name]
    project = repository(tmp_path / "project", {".gitlab-ci.yml": file})
    done = system_without_docker.command("run", cwd=project)
    assert (done.status, done.out) == (2, "")
    assert "Traceback" not in done.err
    assert place in done.err


def test_every_verb_that_compiles_says_the_same_of_a_bad_file(system_without_docker: System, tmp_path: Path) -> None:
    project = repository(tmp_path / "project", {".gitlab-ci.yml": FILES["unknown stage"][0]})
    verbs = (["run"], ["run", "--json"], ["run", "-d"], ["plan"], ["plan", "--json"], ["validate"])
    said = [system_without_docker.command(*verb, cwd=project) for verb in verbs]
    assert {(done.status, done.out, done.err.removeprefix("longshore: ")) for done in said} == {
        (2, "", said[0].err.removeprefix("longshore: "))
    }


def test_a_file_without_jobs_runs_nothing(system_without_docker: System, tmp_path: Path) -> None:
    done = system_without_docker.command(
        "run", cwd=repository(tmp_path / "project", {".gitlab-ci.yml": "stages: [a]\n"})
    )
    assert (done.status, done.out) == (2, "")
    assert "nothing to run" in done.err
    assert "--var" not in done.err


def test_a_pipeline_that_is_empty_but_for_other_sources_says_how_to_ask_for_them(
    system_without_docker: System, tmp_path: Path
) -> None:
    file = "job: {script: [x], rules: [{if: $CI_MERGE_REQUEST_IID}]}\n"
    project = repository(tmp_path / "project", {".gitlab-ci.yml": file})
    done = system_without_docker.command("run", cwd=project)
    assert (done.status, done.out) == (2, "")
    assert "pass --var CI_PIPELINE_SOURCE=merge_request_event" in done.err


def test_a_file_that_is_not_there(system_without_docker: System, tmp_path: Path) -> None:
    done = system_without_docker.command("run", "no-such.yml", cwd=tmp_path)
    assert (done.status, done.out) == (2, "")
    assert "no-such.yml" in done.err
    assert "Traceback" not in done.err


def test_a_file_above_the_repository_is_not_taken_for_its_own(system_without_docker: System, tmp_path: Path) -> None:
    (tmp_path / ".gitlab-ci.yml").write_text(JOB)
    inner = repository(tmp_path / "inner", {"src/text": ""}) / "src"
    for folder in (inner, tmp_path / "inner"):
        done = system_without_docker.command("plan", cwd=folder)
        assert (done.status, done.out) == (2, "")
        assert ".gitlab-ci.yml: no such file" in done.err


@pytest.mark.parametrize("kind", ["50 MB of YAML", "50 MB in a line", "binary", "a directory"])
def test_a_file_that_is_no_pipeline_file_is_refused_quickly(
    system_without_docker: System, tmp_path: Path, kind: str
) -> None:
    project = repository(tmp_path / "project", {"README": "x"})
    path = project / ".gitlab-ci.yml"
    if kind == "50 MB of YAML":
        path.write_text("a: b\n" * (10 << 20))
    elif kind == "50 MB in a line":
        path.write_text("x" * (50 << 20))
    elif kind == "binary":
        path.write_bytes(os.urandom(100_000))
    else:
        path.mkdir()
    done = system_without_docker.command("run", cwd=project)
    assert (done.status, done.out) == (2, "")
    assert ".gitlab-ci.yml" in done.err
    assert "Traceback" not in done.err
    assert len(done.err) < 2000


@pytest.mark.parametrize(
    "arguments",
    [
        ["rum"],
        ["run", "--vra", "a=b"],
        ["run", "--var", "no-equals"],
        ["run", "--var", "1x=y"],
        ["show"],
        ["show", "x"],
        ["show", "0"],
        ["show", "99"],
        ["logs", "99"],
        ["logs", "1", "--attempt", "1"],
        ["run", "--coordinator", "nonsense"],
        ["list", "--coordinator", "tcp://host:port"],
        ["coordinator", "--bind", "here"],
        ["worker", "--slots", "0"],
        ["worker", "--name", "two words"],
    ],
    ids=" ".join,
)
def test_bad_usage_ends_with_2_and_says_why(
    system_without_docker: System, tmp_path: Path, arguments: list[str]
) -> None:
    project = repository(tmp_path / "project", {".gitlab-ci.yml": JOB})
    done = system_without_docker.command(*arguments, cwd=project)
    assert (done.status, done.out) == (2, ""), done.err
    assert done.err.strip()
    assert "Traceback" not in done.err


def test_a_job_that_is_not_there_is_named_with_those_that_are(system_without_docker: System, tmp_path: Path) -> None:
    project = repository(tmp_path / "project", {".gitlab-ci.yml": JOB})
    done = system_without_docker.command("run", "--job", "jbo", cwd=project)
    assert done.status == 2
    assert "jbo" in done.err
    assert "job" in done.err


def test_a_locale_that_lacks_a_character_gets_another_for_it(system_without_docker: System, tmp_path: Path) -> None:
    project = repository(tmp_path / "project", {".gitlab-ci.yml": JOB.replace("job:", "żółw ✔:")})
    system_without_docker.extra["PYTHONIOENCODING"] = "ascii"
    done = system_without_docker.command("plan", cwd=project)
    assert done.status == 0, done.err
    assert "???w ?" in done.out
    assert "Traceback" not in done.err


def test_a_folder_that_is_gone_is_told(system_without_docker: System, tmp_path: Path) -> None:
    script = f'mkdir gone && cd gone && rmdir ../gone && exec "{LONGSHORE}" plan'
    environment = system_without_docker.environment()
    done = subprocess.run(
        ["sh", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "the current directory was removed" in done.stderr
