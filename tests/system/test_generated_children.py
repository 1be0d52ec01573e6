"""Children whose files a job has written, compiled beside a real coordinator, which is killed meanwhile."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

from tests.support.eventually import eventually
from tests.support.system import System, jobs_of, repository, statuses

GENERATE = """
default: {image: longshore/busybox:test}
stages: [generate, start]
generate: {stage: generate, script: [sh generate.sh], artifacts: {paths: ["*.yml"]}}
"""
SCRIPT = r"""
i=0; while [ $i -lt 499 ]; do echo "job $i: {script: [x], when: manual}"; i=$((i+1)); done > many.yml
echo 'wanted: {image: "longshore/busybox:test", script: ["echo wanted of $CI_PARENT_PIPELINE_ID"]}' >> many.yml
echo "a0: &a0 [x, x, x, x, x, x, x, x, x, x]" > bomb.yml
for i in 1 2 3 4 5 6 7 8; do
  l="*a$((i-1))"
  echo "a$i: &a$i [$l, $l, $l, $l, $l, $l, $l, $l, $l, $l]"
done >> bomb.yml
echo "include: again.yml" > cycle.yml
echo "include: link.yml" > passwd.yml
"""
CHILDREN = ("many", "bomb", "cycle", "passwd")
START = "{name}: {{stage: start, trigger: {{include: [{{artifact: {name}.yml, job: generate}}], strategy: depend}}}}\n"


def project(folder: Path, *names: str) -> Path:
    """A repository whose jobs start children from generated files; it has a link to a file of the host."""
    starts = "".join(START.format(name=name) for name in names)
    again = "include: more.yml\n"
    files = {"generate.sh": SCRIPT, "again.yml": again, "more.yml": again.replace("more", "again")}
    made = repository(folder, {".gitlab-ci.yml": GENERATE + starts, **files})
    (made / "link.yml").symlink_to("/etc/passwd")
    return made


def test_generated_files_make_large_children_and_their_errors_fail_their_jobs_only(
    system: System, tmp_path: Path
) -> None:
    system.start_coordinator()
    system.start_worker("w1", "--slots", "2")
    run = system.submit(project(tmp_path / "project", *CHILDREN))

    view = system.finished(run)

    assert statuses(view) == {"generate": "success", "many": "success"} | dict.fromkeys(CHILDREN[1:], "failed")
    assert "artifact generate:bomb.yml:" in system.log(run, "bomb")
    assert "more than 500000 values" in system.log(run, "bomb")
    assert "includes itself" in system.log(run, "cycle")
    assert "link.yml is a symbolic link that leads outside the project" in system.log(run, "passwd")
    child = run + 1
    assert len(jobs_of(system.show(child))) == 500
    assert f"wanted of {run}\n" in system.log(child, "wanted")


def test_a_coordinator_that_is_killed_while_a_child_is_compiled_asks_again(system: System, tmp_path: Path) -> None:
    coordinator = system.start_coordinator()
    system.start_worker("w1", "--slots", "2")
    run = system.submit(project(tmp_path / "project", "many"))
    scratch = system.folder / "state" / "children" / "scratch"
    eventually(lambda: compilers(scratch), every=0.001)
    coordinator.kill()
    system.start_coordinator()

    view = system.finished(run)

    assert statuses(view) == {"generate": "success", "many": "success"}
    assert len(system.command("list", "--json").json) == 2


def test_a_compiler_that_is_killed_fails_its_job_and_nothing_else(system: System, tmp_path: Path) -> None:
    system.start_coordinator()
    system.start_worker("w1", "--slots", "2")
    run = system.submit(project(tmp_path / "project", "many"))
    scratch = system.folder / "state" / "children" / "scratch"
    for pid in eventually(lambda: compilers(scratch), every=0.001):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    view = system.finished(run)

    assert statuses(view) == {"generate": "success", "many": "failed"}
    assert "the compiler of the pipeline ended unexpectedly (signal 9)" in system.log(run, "many")
    assert system.command("retry", str(run)).status == 0
    assert statuses(system.finished(run)) == {"generate": "success", "many": "success"}


def compilers(scratch: Path) -> list[int]:
    """The processes that work in the directory."""
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):  # it has ended
            if entry.name.isdigit() and os.readlink(entry / "cwd").startswith(f"{scratch}/"):
                found.append(int(entry.name))
    return found
