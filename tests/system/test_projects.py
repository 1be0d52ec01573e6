"""Runs that start by themselves: whole systems, real git servers and repositories, processes killed at any moment."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from protocol import admin
from protocol import messages as m
from protocol.client import Client
from protocol.keys import credentials_beside
from protocol.plan import Variable
from protocol.projects import MergeRequest, TriggerSpec, TriggerView
from tests.conftest import Images
from tests.support.eventually import eventually
from tests.support.system import System, statuses

NAME = "group/app"
IMAGE = "default: {image: longshore/busybox:test}\n"


class Origin:
    """A bare repository, and a clone that pushes to it."""

    def __init__(self, folder: Path) -> None:
        self.bare, self.clone = folder / "app.git", folder / "clone"
        self.clone.mkdir(parents=True)
        subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(self.bare)], check=True)
        self.git("init", "-q", "-b", "main")

    def git(self, *arguments: str) -> str:
        identity = ["-c", "user.email=ann@example.org", "-c", "user.name=Ann Other", "-c", "maintenance.auto=false"]
        done = subprocess.run(["git", *identity, *arguments], cwd=self.clone, check=True, capture_output=True)
        return done.stdout.decode().strip()

    def push(self, message: str = "A commit", ref: str = "HEAD:main", **files: str) -> str:
        """Commits files and pushes them; gives the commit."""
        for name, content in files.items():
            (self.clone / name).write_text(content)
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        self.git("push", "-q", "--force", str(self.bare), ref)
        return self.git("rev-parse", "HEAD")


def pipeline(origin: Origin, text: str) -> None:
    (origin.clone / ".gitlab-ci.yml").write_text(text)


class Team:
    """A coordinator with a project."""

    def __init__(self, system: System, origin: Origin, name: str = NAME) -> None:
        self.system, self.origin, self.name = system, origin, name
        self._keys = iter(range(10_000))

    def add(self, *options: str) -> None:
        done = self.system.command("project", "add", self.name, str(self.origin.bare), *options)
        assert done.status == 0, done.err

    @contextlib.contextmanager
    def web(self) -> Iterator[Client]:
        """A client with the rights of a web server."""
        assert self.system.address is not None
        state = self.system.folder / "state"
        keys = credentials_beside(state, "web", self.system.address)
        with Client(self.system.address, credentials=keys) as client:
            yield client

    def trigger(self, key: str = "", **fields: Any) -> int:
        key = key or f"key-{next(self._keys)}"
        spec = TriggerSpec(project=self.name, key=key, **{"source": "push", "ref": "main", **fields})
        with self.web() as client:
            return client.request(m.AddTrigger, m.TriggerAdded, trigger=spec).trigger

    def settled(self, trigger: int) -> TriggerView:
        def view() -> TriggerView:
            with self.web() as client:
                return client.request(m.GetTrigger, m.TriggerDetail, trigger=trigger).trigger

        return eventually(view, so=lambda found: found.state != "pending")

    def run(self, trigger: int) -> int:
        found = self.settled(trigger)
        assert found.run is not None, found.reason
        return found.run

    @property
    def launcher(self) -> int:
        """The process id of the launcher."""
        lock = self.system.folder / "state" / "launcher" / "lock"
        return int(eventually(lambda: lock.exists() and lock.read_text().strip()))


@pytest.fixture
def team(tmp_path: Path) -> Iterator[Team]:
    """A system with a coordinator and a worker that runs nothing."""
    folder = tmp_path / "system"
    folder.mkdir()
    system = System(folder)
    system.start_coordinator()
    system.start_worker("w1", "--executor", "dummy", "--slots", "4")
    yield Team(system, Origin(tmp_path / "origin"))
    for process in reversed(system.processes):
        process.terminate() if process.name == "coordinator" else process.kill()


FACTS = (
    IMAGE
    + """
workflow: {auto_cancel: {on_new_commit: none}}
facts:
  tags: [third]
  rules: [{when: on_success}]
  cache: {paths: [kept/]}
  script:
    - env | grep -E '^(CI_COMMIT_|CI_MERGE_REQUEST_|CI_PIPELINE_SOURCE|CI_PROJECT_PATH|GITLAB_USER|GIVEN)' | sort
    - test -e kept/file && cat kept/file || echo no cache
    - mkdir -p kept && echo "$CI_PIPELINE_SOURCE" > kept/file
    - echo "any ${ANY:-none} main ${MAIN:-none}"
    - git log --oneline 2>/dev/null || echo no git
    - cat text
"""
)


def test_a_push_has_gitlab_s_variables_and_secrets_and_a_request_from_a_fork_neither_secrets_nor_caches(
    fleet: System, tmp_path: Path
) -> None:
    origin = Origin(tmp_path)
    pipeline(origin, FACTS)
    first = origin.push("Add a pipeline", text="of main\n")
    second = origin.push("Change it\n\nAnd say why", text="of main, again\n")
    team = Team(fleet, origin, "Facts/App")
    team.add()
    with Client(str(fleet.address)) as owner:
        owner.request(admin.SetSecret, m.Done, name="ANY", value="value-for-any", project=team.name)
        owner.request(admin.SetSecret, m.Done, name="MAIN", value="value-for-main", project=team.name, branches=["m*"])
    given = [Variable(key="GIVEN", value="by the hook")]
    pushed = team.run(team.trigger(sha=second, before_sha=first, user="ann", variables=given))
    assert statuses(fleet.finished(pushed)) == {"facts": "success"}
    log = fleet.log(pushed, "facts")
    for line in (
        "CI_COMMIT_BRANCH=main", f"CI_COMMIT_BEFORE_SHA={first}", f"CI_COMMIT_SHA={second}", "CI_COMMIT_REF_NAME=main",
        "CI_COMMIT_REF_PROTECTED=true", "CI_COMMIT_TITLE=Change it", "CI_COMMIT_AUTHOR=Ann Other <ann@example.org>",
        "CI_PIPELINE_SOURCE=push", "CI_PROJECT_PATH=Facts/App", "GITLAB_USER_LOGIN=ann", "GITLAB_USER_NAME=Ann Other",
        "GIVEN=by the hook", "no cache", "any [MASKED] main [MASKED]", "of main, again",
    ):  # fmt: skip
        assert f"{line}\n" in log, (line, log)
    assert "\nCI_MERGE_REQUEST" not in log
    assert "\nCI_COMMIT_TAG=" not in log

    origin.git("checkout", "-q", "-b", "main-of-fork", first)
    fork = origin.push("Print the secrets", "HEAD:refs/pull/7/head", text="of a fork\n")
    request = MergeRequest(
        iid="7", title="Draft: mine", source_branch="main", source_project="eve/app", target_branch="main",
        fetch_ref="refs/pull/7/head", draft=True, labels=["a", "b"], author="eve",
    )  # fmt: skip
    event: dict[str, Any] = {"source": "merge_request_event", "sha": fork, "merge_request": request}
    forked = team.run(team.trigger(**event, from_fork=True, user="eve"))
    assert statuses(fleet.finished(forked)) == {"facts": "success"}
    log = fleet.log(forked, "facts")
    for line in (
        "CI_MERGE_REQUEST_IID=7", "CI_MERGE_REQUEST_TITLE=Draft: mine", "CI_MERGE_REQUEST_LABELS=a,b",
        "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME=main", "CI_MERGE_REQUEST_TARGET_BRANCH_NAME=main",
        "CI_MERGE_REQUEST_SOURCE_PROJECT_PATH=eve/app", "CI_MERGE_REQUEST_DRAFT=true",
        "CI_MERGE_REQUEST_TARGET_BRANCH_PROTECTED=true", "CI_MERGE_REQUEST_SOURCE_BRANCH_PROTECTED=false",
        f"CI_MERGE_REQUEST_DIFF_BASE_SHA={first}", "CI_PIPELINE_SOURCE=merge_request_event",
        "CI_COMMIT_REF_PROTECTED=false", "CI_COMMIT_REF_NAME=main", "any none main none", "of a fork", "push",
    ):  # fmt: skip
        assert f"{line}\n" in log, (line, log)
    assert "\nCI_COMMIT_BRANCH=" not in log
    with team.web() as client:
        view = client.get_run(forked)
        story = [line.text for line in client.get_job(forked, "facts").story]
    assert (view.ref, view.event, view.fork) == ("refs/merge-requests/7/head", "merge_request_event", True)
    assert any("fork" in line for line in story)
    again = team.run(team.trigger(sha=second))
    assert statuses(fleet.finished(again)) == {"facts": "success"}
    log = fleet.log(again, "facts")
    assert "\npush\n" in log  # the fork's job has saved none
    assert "\nmerge_request_event\n" not in log
    fleet.command("project", "rm", team.name)


def test_what_starts_no_run_says_why_and_changes_and_rules_are_as_in_gitlab(team: Team) -> None:
    origin = team.origin
    pipeline(origin, "old: {script: [x]}\n")
    first = origin.push(a="1", b="1")
    team.add()
    pipeline(
        origin,
        """
workflow: {rules: [{if: $CI_COMMIT_BRANCH != "quiet"}]}
a: {script: [x], rules: [{changes: [a]}]}
b: {script: [x], rules: [{changes: [b]}]}
api: {script: [x], rules: [{if: $CI_PIPELINE_SOURCE == "api" && $DEEP == "yes"}]}
tag: {script: [x], rules: [{if: $CI_COMMIT_TAG == "v1" && $CI_COMMIT_REF_PROTECTED == "false"}]}
always: {script: [x]}
""",
    )
    second = origin.push(a="2")
    origin.git("tag", "-a", "v1", "-m", "One")
    origin.git("push", "-q", str(origin.bare), "v1")
    changed = team.trigger(sha=second, before_sha=first)
    tagged = team.trigger(ref="v1", tag=True, sha=origin.git("rev-parse", "v1"))
    skipped = team.trigger(sha=origin.push("Nothing [CI-SKIP]\n\nreally [ci skip]"))
    quiet = team.trigger(ref="quiet", sha=origin.push(ref="HEAD:quiet"))
    deleted = team.trigger(ref="gone", sha="0" * 40)
    unknown = team.trigger(sha="1" * 40)
    (origin.clone / ".gitlab-ci.yml").unlink()
    none = team.trigger(sha=origin.push())
    pipeline(origin, "a: {scrip: [x]}\n")
    bad = team.trigger(sha=origin.push())
    (origin.clone / ".gitlab-ci.yml").unlink()
    (origin.clone / ".gitlab-ci.yml").symlink_to("/etc/passwd")
    outside = team.trigger(sha=origin.push())
    ended = {
        skipped: ("skipped", "[ci skip]"), quiet: ("skipped", "exclude the pipeline"), deleted: ("skipped", "deleted"),
        unknown: ("refused", "forced push"), none: ("skipped", "no .gitlab-ci.yml"), bad: ("refused", "scrip"),
        outside: ("refused", "outside the project"),
    }  # fmt: skip
    for trigger, (state, reason) in ended.items():
        found = team.settled(trigger)
        assert found.state == state, found
        assert reason in found.reason, found
    assert statuses(team.system.show(team.run(changed))).keys() == {"a", "always"}
    assert statuses(team.system.show(team.run(tagged))).keys() == {"a", "b", "tag", "always"}
    assert {run.sha for run in map(team.system.view, (team.run(changed), team.run(tagged)))} == {second}
    done = team.system.command("project", "run", NAME, "--ref", "v1", "--var", "DEEP=yes", "--json")
    assert done.status == 0, done.err
    assert statuses(done.json).keys() == {"a", "b", "api", "tag", "always"}
    assert team.system.command("project", "run", NAME, "--ref", "nowhere").err.endswith("no branch or tag 'nowhere'\n")
    shown = team.system.command("project", "show", NAME)
    assert "merge request" not in shown.out
    assert "refused: the repository has no branch or tag 'nowhere'" in shown.out


def test_each_trigger_has_one_run_whoever_is_killed_and_a_newer_commit_cancels_the_older_run(team: Team) -> None:
    origin, system = team.origin, team.system
    pipeline(origin, "one: {script: [x], interruptible: true, tags: [nobody]}\n")
    origin.push()
    team.add()
    triggers: list[int] = []
    victims = ["launcher", "coordinator", "launcher", "coordinator"]
    for number, victim in enumerate(victims):
        sha = origin.push(f"Commit {number}")
        triggers += [team.trigger(f"{number}", sha=sha), team.trigger(f"{number}b", sha=sha, ref=f"b{number}")]
        assert team.trigger(f"{number}", sha=sha) == triggers[-2]
        if victim == "launcher":
            with contextlib.suppress(ProcessLookupError):
                os.kill(team.launcher, signal.SIGKILL)
        else:
            next(each for each in system.processes if each.popen.poll() is None and each.name == "coordinator").kill()
            system.start_coordinator()
    runs = [team.run(trigger) for trigger in triggers]
    assert len(set(runs)) == len(triggers)
    with team.web() as client:
        listed = client.list_runs()
        assert {run.id for run in listed} == set(runs)
        assert {run.trigger for run in listed} == set(triggers)
    of_main = sorted(runs[0::2])
    eventually(lambda: [str(system.view(run).status) for run in of_main[:-1]], so=lambda all: set(all) == {"canceled"})
    assert system.view(of_main[-1]).finished_at is None
    assert {str(system.view(run).status) for run in runs[1::2]} == {"pending"}


def test_a_polled_repository_starts_runs_of_what_is_new_and_of_nothing_else(team: Team) -> None:
    pipeline(team.origin, "one: {script: [x]}\n")
    first = team.origin.push()
    team.add("--poll", "5s")
    polls = team.system.folder / "state" / "launcher" / "polls"
    eventually(lambda: polls.is_dir() and list(polls.glob("*.json")))
    second = team.origin.push("Second")
    team.origin.git("push", "-q", str(team.origin.bare), "HEAD:other")

    def listed() -> list[TriggerView]:
        with team.web() as client:
            return client.request(m.ListTriggers, m.TriggerList).triggers

    found = eventually(listed, so=lambda found: len(found) == 2 and all(each.run for each in found))
    assert {(each.ref, each.sha) for each in found} == {("main", second), ("other", second)}
    assert first not in repr(found)


@pytest.fixture(autouse=True)
def needs_images(images: Images) -> None:
    """The tests' images are there."""
