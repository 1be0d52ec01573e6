"""Jobs that start child runs, in real Docker: from files of the snapshot and of artifacts, on several workers."""

from __future__ import annotations

import re
from contextlib import suppress
from functools import partial
from pathlib import Path

from tests.support.eventually import DEADLINE, eventually
from tests.support.system import System, jobs_of, repository, statuses

PARENT = """
stages: [build, test, after]
default: {image: longshore/busybox:test}
variables: {COLOR: blue}
generate:
  stage: build
  script:
    - 'printf "made:\\n  image: longshore/busybox:test\\n  script: [echo made by %s]\\n" $CI_JOB_NAME > made.yml'
  artifacts: {paths: [made.yml]}
local:
  stage: test
  variables: {SHAPE: "$COLOR square"}
  trigger: {include: ci/child.yml, strategy: depend}
generated:
  stage: test
  needs: [generate]
  trigger: {include: [{artifact: made.yml, job: generate}], strategy: mirror}
free:
  stage: test
  trigger: {include: ci/child.yml}
after: {stage: after, script: [echo after]}
"""
CHILD = """
default: {image: longshore/busybox:test}
stages: [one, two]
first:
  stage: one
  script: ['echo "$CI_PIPELINE_SOURCE of $CI_PARENT_PIPELINE_ID: $SHAPE $COLOR"', cat file.txt]
second: {stage: two, script: [echo second], id_tokens: {TOKEN: {aud: x}}}
"""
BAD = """
generate:
  image: longshore/busybox:test
  script: ['printf "job:\\n  stage: nowhere\\n  script: [x]\\n" > made.yml']
  artifacts: {paths: [made.yml]}
bad:
  needs: [generate]
  trigger: {include: [{artifact: made.yml, job: generate}], strategy: depend}
missing: {trigger: {include: no.yml}}
"""


def project(folder: Path, text: str = PARENT) -> Path:
    made = repository(folder, {".gitlab-ci.yml": text, "ci/child.yml": CHILD, "file.txt": "committed\n"})
    (made / "file.txt").write_text("uncommitted\n")
    return made


def test_parents_wait_for_their_children_and_show_them(fleet: System, tmp_path: Path) -> None:
    done = fleet.run(project(tmp_path / "project"))
    assert done.status == 0, done.err
    run = done.json
    assert set(statuses(run).values()) == {"success"}
    assert run["parent"] is None
    jobs = jobs_of(run)
    (local,), (generated,), (free,) = (jobs[name]["child_runs"] for name in ("local", "generated", "free"))
    child = fleet.finished(local)
    assert child["parent"] == {"run": run["id"], "job": "local", "project": None}
    assert statuses(child) == {"first": "success", "second": "success"}
    assert jobs["local"]["finished_at"] >= child["finished_at"]
    assert jobs["generated"]["finished_at"] >= fleet.finished(generated)["finished_at"]
    assert f"parent_pipeline of {run['id']}: blue square blue\n" in fleet.log(local, "first")
    assert "\nuncommitted\n" in fleet.log(local, "first")
    assert "made by generate\n" in fleet.log(generated, "made")
    assert fleet.log(run["id"], "local").startswith("warning: ci/child.yml:7: second.id_tokens: has no effect here")
    assert {each["id"]: each["parent"] for each in fleet.command("list", "--json").json}[free] == {
        "run": run["id"],
        "job": "free",
        "project": None,
    }
    shown = fleet.command("show", str(run["id"])).out.splitlines()
    below = next(number for number, line in enumerate(shown) if " local " in line)
    assert [line.split()[:2] for line in shown[below + 1 : below + 3]] == [["one", "first"], ["two", "second"]]
    logs = fleet.command("logs", str(run["id"]), "--children").out
    assert re.search(r"^local/first +\| uncommitted$", logs, re.MULTILINE)
    assert re.search(r"^generated/made +\| made by generate$", logs, re.MULTILINE)
    assert re.search(r"^local/first +\| uncommitted$", done.err, re.MULTILINE)


def test_what_is_wrong_with_a_child_s_file_is_said_in_its_job(fleet: System, tmp_path: Path) -> None:
    run = fleet.run(project(tmp_path / "project", BAD)).json
    assert statuses(run) == {"generate": "success", "bad": "failed", "missing": "failed"}
    jobs = jobs_of(run)
    assert jobs["bad"]["failure_reason"] == jobs["missing"]["failure_reason"] == "downstream_pipeline_creation_failed"
    assert "made.yml:2: job.stage: unknown stage 'nowhere'" in jobs["bad"]["message"]
    assert fleet.log(run["id"], "bad") == jobs["bad"]["message"] + "\n"
    assert "there is no file 'no.yml'" in jobs["missing"]["message"]
    assert jobs["bad"]["child_runs"] == []


def test_a_killed_coordinator_creates_each_child_once_and_takes_its_outcome(system: System, tmp_path: Path) -> None:
    coordinator = system.start_coordinator()
    for name in ("w1", "w2", "w3"):
        system.start_worker(name, "--slots", "1")
    system.wait_for_workers(3)
    run = system.submit(project(tmp_path / "project"))
    for status in ("pending", "running", "success"):
        eventually(partial(_reached, system, run, status))
        coordinator.kill()
        coordinator = system.start_coordinator()
    view = system.finished(run)
    assert set(statuses(view).values()) == {"success"}
    children = [child for job in jobs_of(view).values() for child in job["child_runs"]]
    assert len(children) == 3
    assert all(set(statuses(system.finished(child)).values()) == {"success"} for child in children)
    assert len(system.command("list", "--json").json) == 4


def _reached(system: System, run: int, status: str) -> bool:
    """Whether a job that waits for its child has come so far, or further."""
    order = ["created", "pending", "running", "success"]
    return order.index(system.status(run, "local")) >= order.index(status)


def test_canceling_a_run_cancels_its_children_and_leaves_nothing(system: System, tmp_path: Path) -> None:
    system.start_coordinator()
    system.start_worker("w1", "--slots", "2")
    system.wait_for_workers(1)
    folder = project(tmp_path / "project", "start: {trigger: {include: ci/child.yml, strategy: depend}}")
    (folder / "ci/child.yml").write_text("long: {image: longshore/busybox:test, script: [echo begun, sleep 300]}")
    run = system.submit(folder)
    (child,) = eventually(lambda: system.job(run, "start").child_runs)
    eventually(lambda: "begun\n" in system.logged(child, "long"))
    follower = system.start("logs", str(run), "-f", "--children")
    watcher = system.start("show", str(run), "--watch")
    eventually(lambda: "start/long: running on w1\n" in watcher.out.read_text())
    assert system.command("cancel", str(run)).status == 0
    assert (system.finished(run)["status"], system.finished(child)["status"]) == ("canceled", "canceled")
    assert follower.popen.wait(DEADLINE) == 0
    assert "start/long | begun\n" in follower.out.read_text()
    assert watcher.popen.wait(DEADLINE) == 0
    assert "start/long: canceled" in watcher.out.read_text()


def test_a_run_on_this_machine_alone_waits_for_all_children(system: System, tmp_path: Path) -> None:
    text = "start: {trigger: {include: ci/child.yml}}"
    done = system.command("run", cwd=project(tmp_path / "project", text))
    assert done.status == 0, done.err
    assert "start/second | second\n" in done.out
    table = [line.split()[:2] for line in done.out.splitlines()]
    assert table.index(["test", "start"]) + 1 == table.index(["one", "first"])
    assert statuses(system.show(2)) == {"first": "success", "second": "success"}


def background_processes(system: System) -> list[str]:
    """Processes that serve this user's runs after the verb that started them."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has ended meanwhile
            words = path.read_bytes().decode(errors="replace").split("\0")
            if "background" in words and str(system.folder / "state") in words:
                found.append(path.parent.name)
    return found


def test_a_run_whose_child_waits_for_a_user_is_left_and_told_how_to_go_on(system: System, tmp_path: Path) -> None:
    folder = project(tmp_path / "project", "start: {trigger: {include: ci/child.yml, strategy: depend}}")
    ask = "ask: {image: longshore/busybox:test, script: ['true'], rules: [{when: manual, allow_failure: false}]}"
    (folder / "ci/child.yml").write_text(ask)
    done = system.command("run", cwd=folder)
    assert done.status == 0, done.err
    assert "run 2 continues when these jobs are played:\nlongshore:   longshore play 2 ask\n" in done.err
    assert statuses(system.show(1)) == {"start": "running"}
    eventually(lambda: background_processes(system), so=lambda left: left == [])
    assert system.command("play", "2", "ask", cwd=folder).status == 0
    eventually(lambda: statuses(system.show(1)), so=lambda now: now == {"start": "success"})
    eventually(lambda: background_processes(system), so=lambda left: left == [])
