"""The launcher at a real coordinator, in threads of the test: retries, order, pushes, children, and its other parts."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from protocol import messages as m
from protocol.client import Client
from protocol.errors import UsageError
from protocol.keys import credentials_beside
from protocol.places import pushes_directory
from protocol.plan import Variable
from protocol.projects import MergeRequest, ProjectSpec, TriggerSpec, TriggerView
from protocol.workspace import GitWorkspace
from team import launcher as launching
from team.launcher import Launcher
from tests.support.coordinator_process import Running
from tests.support.eventually import DEADLINE, eventually
from tests.system.test_projects import Origin, pipeline

PROJECT = "group/app"


class Part:
    """A part of the launcher that counts its steps; a `bad` one fails in each."""

    def __init__(self, *, bad: bool = False) -> None:
        self.steps, self.bad = 0, bad

    def step(self, client: Client, now: float) -> None:
        self.steps += 1
        if self.bad:
            raise RuntimeError("a defect")


class World:
    """A coordinator and its launcher."""

    def __init__(self, folder: Path) -> None:
        self.state = folder / "state"
        self.running = Running(self.state)
        self.parts = [Part(bad=True), Part()]
        self.launcher = self.make()
        self.thread = threading.Thread(target=self.launcher.run)
        self.client = self.running.client(timeout=DEADLINE)

    def make(self) -> Launcher:
        keys = credentials_beside(self.state, "launcher", self.running.address)
        client = Client(self.running.address, timeout=DEADLINE, credentials=keys)
        return Launcher(client, self.state / "launcher", parts=self.parts)

    def close(self) -> None:
        self.launcher.stop()
        self.thread.join(DEADLINE)
        self.client.close()
        self.running.close()

    def add(self, url: str, **settings: Any) -> None:
        project = ProjectSpec(name=PROJECT, url=url, **settings)
        self.client.request(m.AddProject, m.Done, project=project)

    def trigger(self, key: str, **fields: Any) -> int:
        spec = TriggerSpec(project=PROJECT, key=key, **{"source": "push", "ref": "main", **fields})
        return self.client.request(m.AddTrigger, m.TriggerAdded, trigger=spec).trigger

    def settled(self, trigger: int) -> TriggerView:
        def view() -> TriggerView:
            return self.client.request(m.GetTrigger, m.TriggerDetail, trigger=trigger).trigger

        return eventually(view, so=lambda found: found.state != "pending")

    def workspace(self, run: int) -> GitWorkspace:
        found = self.running.coordinator.engine.unfinished()[run].workspace
        assert isinstance(found, GitWorkspace)
        return found


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setenv("LONGSHORE_STATE", str(tmp_path / "state"))
    made = World(tmp_path)
    yield made
    made.close()


def test_a_repository_that_is_away_is_tried_again_and_then_refused_with_git_s_words(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launching, "FIRST_PAUSE", 0.05)
    monkeypatch.setattr(launching, "LONGEST_PAUSE", 0.05)
    world.add(str(tmp_path / "origin" / "app.git"))
    monkeypatch.setattr(launching, "MOST_ATTEMPTS", 2)
    first = world.trigger("away")
    world.thread.start()
    found = world.settled(first)
    assert (found.state, "does not appear to be a git repository" in found.reason) == ("refused", True), found
    monkeypatch.setattr(launching, "MOST_ATTEMPTS", 10**6)
    second = world.trigger("later")
    eventually(lambda: world.launcher._works[PROJECT].attempts.get(second, 0) > 2)
    origin = Origin(tmp_path / "made")
    pipeline(origin, "one: {script: [x]}\n")
    origin.push()
    (tmp_path / "made").rename(tmp_path / "origin")  # all at once: without a branch it would be refused
    assert world.settled(second).state == "launched"
    eventually(lambda: world.parts[1].steps > 1)
    assert world.parts[0].steps >= world.parts[1].steps
    monkeypatch.setattr(launching, "TAKEOVER_SECONDS", 0.0)
    with pytest.raises(UsageError, match="another launcher"):
        world.make().run()


def test_a_run_has_its_files_its_children_and_builds_on_the_packs_of_the_one_before(
    world: World, tmp_path: Path
) -> None:
    origin = Origin(tmp_path / "origin")
    pipeline(
        origin,
        """
include: [{local: more.yml}]
child: {trigger: {include: [{local: child.yml}]}, rules: [{changes: [more.yml]}]}
""",
    )
    first = origin.push("One", **{
        "more.yml": "one: {script: [x], tags: [nobody]}\n", "large": "x" * 100_000,
        "child.yml": "two: {script: [x], rules: [{changes: [more.yml]}]}\nno: {script: [x], rules: [{changes: [a]}]}",
        ".gitlab-ci-local-variables.yml": "OWN: of the project\n",
    })  # fmt: skip
    origin.git("tag", "v1")
    origin.git("push", "-q", str(origin.bare), "v1")
    second = origin.push("Two", **{"more.yml": "one: {script: [y], tags: [nobody]}\n"})
    world.add(str(origin.bare))
    world.thread.start()
    one = world.settled(world.trigger("1", sha=first)).run
    two = world.settled(world.trigger("2", sha=second, before_sha=first)).run
    assert one
    assert two
    assert world.client.get_run(two).sha == second
    assert world.workspace(one).packs[0] == world.workspace(two).packs[0]  # their common history
    assert len(world.workspace(two).packs) == 3
    run = world.running.coordinator.engine.unfinished()[two]
    assert Variable(key="OWN", value="of the project") in run.plan.run_variables[: run.plan.project_variables]

    def child() -> list[str]:
        found = [each.id for each in world.client.list_runs() if each.parent and each.parent.run == two]
        return [job.name for stage in world.client.get_run(found[0]).stages for job in stage.jobs] if found else []

    assert eventually(child) == ["two"]


def test_a_push_to_longshore_needs_no_other_repository_and_a_fork_is_one_whoever_says_otherwise(
    world: World, tmp_path: Path
) -> None:
    origin = Origin(tmp_path / "origin")
    pipeline(origin, "one: {script: [x], tags: [nobody], rules: [{when: always}]}\n")
    pushes = pushes_directory() / f"{PROJECT}.git"
    pushes.parent.mkdir(parents=True)
    subprocess.run(["git", "init", "-q", "--bare", str(pushes)], check=True)
    sha = origin.push()
    origin.git("push", "-q", str(pushes), f"HEAD:refs/pushes/{sha}")
    world.add("")
    world.thread.start()
    found = world.settled(world.trigger("1", sha=sha, pushed=True))
    assert found.run is not None, found
    request = MergeRequest(iid="3", source_branch="main", target_branch="main", source_project="eve/app")
    event: dict[str, Any] = {"source": "merge_request_event", "merge_request": request}
    forked = world.settled(world.trigger("2", sha=sha, from_fork=True, **event)).run
    assert forked is not None
    assert world.client.get_run(forked).fork
    assert world.running.coordinator.engine.unfinished()[forked].source.protected is False
